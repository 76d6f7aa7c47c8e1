#ifndef SESSION_H
#define SESSION_H

/* Runs the one command that the host asks for on this connection, and does not come back. `shell` is what takes its
 * line, behind `-c`. */
_Noreturn void serve_command(int socket, char **shell, char **environment);

/* A new process, on a copy of this one's memory: zero in it. */
long fork(void);

void set_signal(int number, void (*handler)(int), unsigned long flags);

#endif
