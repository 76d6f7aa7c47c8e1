/* The host's way into a guest, by the guest's socket device (AF_VSOCK). Programs in one:
 *
 *   agent commands [--ready] SHELL [ARGUMENT...]
 *     Runs commands for the host (protocol.h), each as `SHELL ARGUMENT... -c LINE`. Comes back when it
 *     listens, and goes on in the background; with --ready it has told the host so.
 *   agent serve SHELL [ARGUMENT...]
 *     The same for one connection, which is its standard input.
 *   agent relay PORT PROGRAM [ARGUMENT...]
 *     Gives each connection to the port a PROGRAM of its own, with a Unix socket as its standard input
 *     and output: servers of the internet kind ask for their peer's address, and do not know what to
 *     make of this family's.
 *
 * Whoever runs on this machine can connect to it, too; only the host's connections are served. */

#include "linux.h"
#include "protocol.h"
#include "session.h"

#define BACKLOG 128
#define NOTIFY_PORT 8 /* crates/vmm/src/vsock */

/* Short of descriptors or memory: others have to end first. */
static const struct __kernel_timespec a_moment = {.tv_nsec = 100000000};

static int vsock(uint32_t cid, uint32_t port, struct sockaddr_vm *address)
{
	*address = (struct sockaddr_vm){.family = AF_VSOCK, .port = port, .cid = cid};
	return CALL3(socket, AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int listen_at(uint32_t port)
{
	struct sockaddr_vm address;
	int listener = vsock(VMADDR_CID_ANY, port, &address);
	if (listener < 0 || CALL3(bind, listener, &address, sizeof address) ||
	    CALL2(listen, listener, BACKLOG))
		finish(127);
	return listener;
}

/* Tells the host, if it wants to know, that the guest is up. */
static void notify(void)
{
	static const char ready[] = "READY=1\n";
	struct sockaddr_vm address;
	int socket = vsock(VMADDR_CID_HOST, NOTIFY_PORT, &address);
	if (!CALL3(connect, socket, &address, sizeof address))
		CALL3(write, socket, ready, sizeof ready - 1);
	CALL1(close, socket);
}

/* Comes back in a process of its own for each connection of the host. */
static int accept_from_host(int listener)
{
	/* Nobody waits for these. */
	set_signal(SIGCHLD, SIG_DFL, SA_NOCLDWAIT);
	for (;;) {
		struct sockaddr_vm peer;
		int length = sizeof peer;
		int socket = CALL4(accept4, listener, &peer, &length, SOCK_CLOEXEC);
		if (socket < 0) {
			CALL2(nanosleep, &a_moment, 0);
			continue;
		}
		if (peer.cid == VMADDR_CID_HOST && fork() == 0) {
			CALL1(close, listener);
			set_signal(SIGCHLD, SIG_DFL, 0);
			return socket;
		}
		CALL1(close, socket);
	}
}

static void serve_commands(int ready, char **shell, char **environment)
{
	int listener = listen_at(AGENT_PORT);
	if (ready)
		notify();
	if (fork())
		finish(0);
	CALL0(setsid);
	serve_command(accept_from_host(listener), shell, environment);
}

/* Carries bytes until there are no more, and says so. */
static void copy(int from, int to, int how)
{
	static char bytes[64 << 10];
	long count;
	while ((count = CALL3(read, from, bytes, sizeof bytes)) > 0)
		for (long sent = 0, now; sent < count; sent += now)
			if ((now = CALL3(write, to, bytes + sent, count - sent)) <= 0)
				goto over;
over:
	CALL2(shutdown, to, how);
	finish(0);
}

static void relay(uint32_t port, char **program, char **environment)
{
	int socket = accept_from_host(listen_at(port));
	int ends[2];
	if (CALL4(socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		finish(127);
	/* Names of the kernel's choice, without which there is no address to be asked for. */
	uint16_t unnamed = AF_UNIX;
	CALL3(bind, ends[0], &unnamed, sizeof unnamed);
	CALL3(bind, ends[1], &unnamed, sizeof unnamed);
	if (fork() == 0) {
		CALL3(dup3, ends[1], 0, 0);
		CALL3(dup3, ends[1], 1, 0);
		CALL3(execve, program[0], program, environment);
		finish(127);
	}
	CALL1(close, ends[1]);
	if (fork() == 0)
		copy(socket, ends[0], SHUT_WR);
	copy(ends[0], socket, SHUT_RDWR);
}

static uint32_t number(const char *digits)
{
	uint32_t value = 0;
	while (*digits >= '0' && *digits <= '9')
		value = value * 10 + (*digits++ - '0');
	return value;
}

/* Hands the stack, on which the kernel has put arguments and environment, to `start`. */
#if defined(__riscv)
asm(".globl _start\n"
    "_start:\n"
    "	.option push\n"
    "	.option norelax\n"
    "	la gp, __global_pointer$\n"
    "	.option pop\n"
    "	mv a0, sp\n"
    "	andi sp, sp, -16\n"
    "	tail start\n");
#elif defined(__x86_64__)
asm(".globl _start\n"
    "_start:\n"
    "	mov %rsp, %rdi\n"
    "	and $-16, %rsp\n"
    "	call start\n");
#endif

void start(long *stack)
{
	long count = stack[0];
	char **arguments = (char **)stack + 1;
	char **environment = arguments + count + 1;
	if (count >= 3 && equal(arguments[1], "commands")) {
		int ready = equal(arguments[2], "--ready");
		if (count >= 3 + ready)
			serve_commands(ready, arguments + 2 + ready, environment);
	}
	if (count >= 3 && equal(arguments[1], "serve"))
		serve_command(0, arguments + 2, environment);
	if (count >= 4 && equal(arguments[1], "relay"))
		relay(number(arguments[2]), arguments + 3, environment);
	finish(127);
}
