#ifndef CARD_H
#define CARD_H

#include <stdint.h>

/* Gives the machine's network card, if it has one, this Ethernet address. Its network is told. */
void set_address(const uint8_t address[6]);

#endif
