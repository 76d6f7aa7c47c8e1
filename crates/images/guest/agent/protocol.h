/* What the agent and the host say to each other; the host's side is crates/guest/src/agent.
 *
 * Everything is a frame: a header and `length` bytes of content. Numbers are little-endian, as the machines
 * are that this runs on. The agent speaks first. A connection is for one command. */

#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdint.h>

/* Privileged, so that only root's programs can listen there (vsock(7)); and low, as systemd takes the highest that is
 * free, from 1023 down, for a moment whenever it tells the host something: a connection to it would be lost. */
#define AGENT_PORT 40
#define VERSION 1

/* The most that INPUT, OUTPUT and ERRORS carry, in bytes. */
#define PIECE (32 << 10)

/* The most that the host may send of INPUT before it is told by TAKEN that the command took some. */
#define WINDOW (64 << 10)

/* The most that RUN carries. */
#define REQUEST (160 << 10)

enum kind {
	/* To the host. */
	HELLO = 1,   /* u32: VERSION */
	STARTED = 2, /* the command runs */
	FAILED = 3,  /* u32: why it could not be started, an errno */
	OUTPUT = 4,
	ERRORS = 5,
	TAKEN = 6,   /* u32: so many bytes of INPUT */
	CLOSED = 7,  /* nobody reads INPUT any more */
	EXIT = 8,    /* u32: its status as wait(2) has it */

	/* To the guest. */
	RUN = 16,    /* struct request and two strings that end with zero: TERM, a shell's command line */
	INPUT = 17,  /* of no bytes: its end */
	SIGNAL = 18, /* u32: for the command's process group */
	SIZE = 19,   /* u16 rows, u16 columns of the terminal */
};

struct header {
	uint32_t kind;
	uint32_t length;
};

struct request {
	uint32_t flags;
	uint16_t rows, columns;
	/* The time, for SET_CLOCK: since 1970. */
	int64_t seconds;
	int64_t nanoseconds;
	/* The network card's Ethernet address, for SET_ADDRESS. */
	uint8_t address[6];
	uint8_t zero[2];
};

enum flags {
	/* The command has a terminal, and one stream for all that it writes. */
	TERMINAL = 1,
	/* The clock is set first, if it is more than a second off. */
	SET_CLOCK = 2,
	/* The line is for the shell of the machine itself, where guests have one within it. */
	OUTER = 4,
	/* The network card is given another Ethernet address first. */
	SET_ADDRESS = 8,
};

#endif
