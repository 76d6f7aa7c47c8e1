/* One command for the host. Nothing here waits but in poll: whatever the host or the command does not take
 * holds up that stream alone, and signals always come through. */

#include "card.h"
#include "linux.h"
#include "protocol.h"
#include "session.h"

/* What a pipe holds: all that a command that has ended can have left in one. */
#define PIPE (64 << 10)

#define NONE (-1)

/* A stream that the command writes. */
struct stream {
	int descriptor;
	enum kind kind;
};

/* A frame on its way. */
struct frame {
	struct header header;
	char content[PIECE];
};

static int host;
/* The command: its process, a descriptor of that, what it reads, and what it writes. */
static long process;
static int handle;
static int input;
static struct stream streams[2] = {{.kind = OUTPUT}, {.kind = ERRORS}};

/* What the command is to read. */
static char held[WINDOW];
static uint32_t held_from, held_to;
/* How much of it was taken, and whether the host is to be told that no more is. */
static uint32_t taken;
static int input_closed, input_closed_told;
/* No more comes from the host. */
static int input_ended;

static struct frame out;
static uint32_t out_from, out_to;

static struct frame in;
static uint32_t in_count;

void *memcpy(void *to, const void *from, size_t count)
{
	char *target = to;
	const char *source = from;
	while (count--)
		*target++ = *source++;
	return to;
}

void *memmove(void *to, const void *from, size_t count)
{
	char *target = to;
	const char *source = from;
	if (target <= source)
		return memcpy(to, from, count);
	while (count--)
		target[count] = source[count];
	return to;
}

void *memset(void *to, int byte, size_t count)
{
	char *target = to;
	while (count--)
		*target++ = byte;
	return to;
}

long fork(void)
{
	return CALL5(clone, SIGCHLD, 0, 0, 0, 0);
}

/* Comes back when the new process is another program, or has ended: from then on it can be sent signals.
 * A descriptor of it that can be polled comes to `handle`. */
static long fork_for_program(int *handle)
{
	return CALL5(clone, SIGCHLD | CLONE_VFORK | CLONE_PIDFD, 0, handle, 0, 0);
}

void set_signal(int number, void (*handler)(int), unsigned long flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
	CALL4(rt_sigaction, number, &action, 0, sizeof action.sa_mask);
}

static void close_at(int *descriptor)
{
	if (*descriptor != NONE)
		CALL1(close, *descriptor);
	*descriptor = NONE;
}

static void do_not_wait(int descriptor)
{
	CALL3(fcntl, descriptor, F_SETFL, CALL2(fcntl, descriptor, F_GETFL) | O_NONBLOCK);
}

/* Waits for the host, which has nothing else to do at either end of a command's time. */
static void read_all(void *into, uint32_t count)
{
	for (char *to = into; count;) {
		long now = CALL3(read, host, to, count);
		if (now <= 0)
			finish(0);
		to += now;
		count -= now;
	}
}

static void write_all(const void *bytes, uint32_t count)
{
	for (const char *from = bytes; count;) {
		long now = call(__NR_sendto, host, ARGUMENT(from), count, MSG_NOSIGNAL, 0, 0);
		if (now == -EAGAIN) {
			struct pollfd room = {.fd = host, .events = POLLOUT};
			CALL4(ppoll, &room, 1, 0, 0);
			continue;
		}
		if (now <= 0)
			finish(0);
		from += now;
		count -= now;
	}
}

/* Says it at once. */
static void say(enum kind kind, const uint32_t *value)
{
	struct {
		struct header header;
		uint32_t value;
	} frame = {{kind, value ? sizeof *value : 0}, value ? *value : 0};
	write_all(&frame, sizeof frame.header + frame.header.length);
}

/* ---- The beginning */

static struct {
	struct request request;
	char text[REQUEST];
} asked;

/* Reads what is to be run: TERM and, behind its zero, the line. */
static const char *read_request(void)
{
	struct header header;
	read_all(&header, sizeof header);
	if (header.kind != RUN || header.length < sizeof asked.request ||
	    header.length >= sizeof asked)
		finish(1);
	read_all(&asked, header.length); /* a zero is behind it whatever it says */
	const char *line = asked.text;
	while (*line)
		line++;
	return line + 1;
}

static void set_clock(void)
{
	struct __kernel_timespec now, then = {asked.request.seconds, asked.request.nanoseconds};
	CALL2(clock_gettime, 0, &now);
	int64_t ahead = now.tv_sec - then.tv_sec;
	if (ahead < -1 || ahead > 1)
		CALL2(clock_settime, 0, &then);
}

static int has_terminal(void)
{
	return asked.request.flags & TERMINAL;
}

/* Whether `name=`, at its beginning, is `variable`'s. */
static int is_named(const char *variable, const char *name)
{
	while (*name != '=' && *variable == *name)
		variable++, name++;
	return *name == '=' && *variable == '=';
}

/* The agent's own, but for who and where the command is. */
static char **environment_of_command(char **own)
{
	static char term[128] = "TERM=dumb";
	static char *given[] = {"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", term};
	enum { GIVEN = sizeof given / sizeof *given, MOST = 256 };
	static char *variables[MOST];
	if (has_terminal())
		for (size_t i = 0; i < sizeof term - sizeof "TERM="; i++)
			if (!(term[sizeof "TERM" + i] = asked.text[i]))
				break;
	/* Without a terminal there is no TERM. */
	int count = has_terminal() ? GIVEN : GIVEN - 1;
	char **next = variables;
	for (int i = 0; i < count; i++)
		*next++ = given[i];
	for (; *own && next < variables + MOST - 1; own++) {
		int is_given = 0;
		for (int i = 0; i < GIVEN; i++)
			is_given |= is_named(*own, given[i]);
		if (!is_given)
			*next++ = *own;
	}
	return variables;
}

/* In the new process: becomes the command. */
static void become(const int ends[3], char **shell, const char *line, char **environment)
{
	static char *outer[] = {"/bin/sh", NULL};
	static const uint32_t root = 0;
	char *arguments[64];
	int count = 0;
	if (asked.request.flags & OUTER)
		shell = outer;
	for (; shell[count] && count < 60; count++)
		arguments[count] = shell[count];
	arguments[count++] = "-c";
	arguments[count++] = (char *)line;
	arguments[count] = NULL;

	CALL0(setsid);
	if (has_terminal())
		CALL3(ioctl, ends[0], TIOCSCTTY, 0);
	for (int i = 0; i < 3; i++)
		CALL3(dup3, ends[i], i, 0);
	/* Whoever started the agent may have ignored some. */
	for (int number = 1; number < SIGRTMIN; number++)
		set_signal(number, SIG_DFL, 0);
	CALL2(setgroups, 1, &root);
	CALL1(chdir, "/root");
	CALL3(execve, arguments[0], arguments, environment_of_command(environment));
	finish(127);
}

/* Makes the command's streams: its own ends come into `ends`. An errno if that fails. */
static long open_terminal(int ends[3])
{
	long master = CALL4(openat, AT_FDCWD, "/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
	if (master < 0)
		return -master;
	int locked = 0;
	CALL3(ioctl, master, TIOCSPTLCK, &locked);
	struct window_size size = {.rows = asked.request.rows, .columns = asked.request.columns};
	CALL3(ioctl, master, TIOCSWINSZ, &size);
	long slave = CALL3(ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -slave;
	ends[0] = ends[1] = ends[2] = slave;
	do_not_wait(master);
	input = master;
	streams[0].descriptor = master;
	streams[1].descriptor = NONE;
	return 0;
}

static long open_pipes(int ends[3])
{
	int pipes[3][2];
	for (int i = 0; i < 3; i++) {
		long result = CALL2(pipe2, pipes[i], O_CLOEXEC);
		if (result)
			return -result;
	}
	ends[0] = pipes[0][0];
	ends[1] = pipes[1][1];
	ends[2] = pipes[2][1];
	input = pipes[0][1];
	streams[0].descriptor = pipes[1][0];
	streams[1].descriptor = pipes[2][0];
	do_not_wait(input);
	do_not_wait(streams[0].descriptor);
	do_not_wait(streams[1].descriptor);
	return 0;
}

static long start_command(char **shell, const char *line, char **environment)
{
	int ends[3];
	long failed = has_terminal() ? open_terminal(ends) : open_pipes(ends);
	if (failed)
		return failed;
	process = fork_for_program(&handle);
	if (process < 0)
		return -process;
	if (process == 0)
		become(ends, shell, line, environment);
	for (int i = 0; i < (has_terminal() ? 1 : 3); i++)
		CALL1(close, ends[i]);
	return 0;
}

/* ---- What comes from the host */

static void close_input(void)
{
	if (!has_terminal())
		close_at(&input);
	input = NONE;
}

static void hold(const char *bytes, uint32_t count)
{
	if (count == 0) {
		input_ended = 1;
		return;
	}
	if (count > WINDOW - held_to) {
		memmove(held, held + held_from, held_to - held_from);
		held_to -= held_from;
		held_from = 0;
	}
	if (count > WINDOW - held_to)
		finish(1); /* more than it may send */
	memcpy(held + held_to, bytes, count);
	held_to += count;
}

static void resize(const uint16_t *size)
{
	struct window_size now = {.rows = size[0], .columns = size[1]};
	CALL3(ioctl, streams[0].descriptor, TIOCSWINSZ, &now);
}

static void obey(void)
{
	switch (in.header.kind) {
	case INPUT:
		hold(in.content, in.header.length);
		break;
	case SIGNAL:
		CALL2(kill, -process, *(uint32_t *)in.content);
		break;
	case SIZE:
		if (has_terminal())
			resize((uint16_t *)in.content);
		break;
	default:
		finish(1);
	}
	in_count = 0;
}

/* Takes the rest of a frame, or of its header, as far as it is there. */
static void hear(void)
{
	if (in_count < sizeof in.header || in_count < sizeof in.header + in.header.length) {
		uint32_t wanted = sizeof in.header;
		if (in_count >= wanted)
			wanted += in.header.length;
		long now = CALL3(read, host, (char *)&in + in_count, wanted - in_count);
		if (now == -EAGAIN || now == -EINTR)
			return;
		if (now <= 0)
			finish(0); /* nobody wants to know: its streams end */
		in_count += now;
	}
	if (in_count == sizeof in.header && in.header.length > PIECE)
		finish(1);
	if (in_count >= sizeof in.header && in_count == sizeof in.header + in.header.length)
		obey();
}

/* ---- What goes to the command and comes from it */

static void feed(void)
{
	if (held_from < held_to) {
		long now = CALL3(write, input, held + held_from, held_to - held_from);
		if (now == -EAGAIN || now == -EINTR)
			return;
		if (now < 0) {
			input_closed = 1;
			held_from = held_to;
			close_input();
			return;
		}
		held_from += now;
		taken += now;
	}
	if (held_from == held_to) {
		held_from = held_to = 0;
		if (input_ended)
			close_input();
	}
}

static void compose(enum kind kind, uint32_t length)
{
	out.header = (struct header){kind, length};
	out_from = 0;
	out_to = sizeof out.header + length;
}

/* Puts what a stream has into a frame, if there is anything; returns how much. */
static uint32_t collect(struct stream *stream)
{
	long now = CALL3(read, stream->descriptor, out.content, PIECE);
	if (now == -EAGAIN || now == -EINTR)
		return 0;
	if (now <= 0) {
		/* A terminal's end is EIO, when nobody has it any more. */
		close_at(&stream->descriptor);
		return 0;
	}
	compose(stream->kind, now);
	return now;
}

/* What the host must know before more of the command's output. */
static void collect_news(void)
{
	if (taken) {
		memcpy(out.content, &taken, sizeof taken);
		compose(TAKEN, sizeof taken);
		taken = 0;
	} else if (input_closed && !input_closed_told) {
		compose(CLOSED, 0);
		input_closed_told = 1;
	}
}

static void send_out(void)
{
	long now = call(__NR_sendto, host, ARGUMENT((char *)&out + out_from), out_to - out_from,
			MSG_NOSIGNAL, 0, 0);
	if (now == -EAGAIN || now == -EINTR)
		return;
	if (now <= 0)
		finish(0);
	out_from += now;
}

/* ---- All of it */

static int is_sending(void)
{
	return out_from < out_to;
}

/* Carries until the command has ended; returns its status. */
static uint32_t carry(void)
{
	enum { HOST, HANDLE, INPUT_END, FIRST, SECOND, COUNT };
	for (;;) {
		if (!is_sending())
			collect_news();
		int wants_input = input != NONE && (held_from < held_to || input_ended);
		struct pollfd polled[COUNT] = {
			[HOST] = {.fd = host, .events = POLLIN | (is_sending() ? POLLOUT : 0)},
			[HANDLE] = {.fd = handle, .events = POLLIN},
			[INPUT_END] = {.fd = wants_input ? input : NONE, .events = POLLOUT},
		};
		for (int i = 0; i < 2; i++)
			polled[FIRST + i] = (struct pollfd){
				.fd = is_sending() ? NONE : streams[i].descriptor,
				.events = POLLIN,
			};
		CALL4(ppoll, polled, COUNT, 0, 0);
		if (polled[HOST].revents & ~POLLOUT)
			hear();
		if (polled[HOST].revents & POLLOUT)
			send_out();
		if (polled[INPUT_END].revents)
			feed();
		for (int i = 0; i < 2; i++)
			if (polled[FIRST + i].revents && !is_sending())
				collect(&streams[i]);
		if (polled[HANDLE].revents) {
			int status = 0;
			CALL4(wait4, process, &status, 0, 0);
			return status;
		}
	}
}

/* What the command wrote last, and no more than it can have left: what it started may write for ever. */
static void carry_rest(void)
{
	write_all((char *)&out + out_from, out_to - out_from);
	for (int i = 0; i < 2; i++) {
		struct stream *stream = &streams[i];
		uint32_t now, rest = PIPE;
		while (stream->descriptor != NONE && rest && (now = collect(stream))) {
			write_all(&out, out_to);
			rest -= now < rest ? now : rest;
		}
	}
}

/* What the command left in the background may write on: a pipe that nobody reads would end it. */
static void drain(void)
{
	for (;;) {
		struct pollfd polled[2];
		for (int i = 0; i < 2; i++)
			polled[i] = (struct pollfd){.fd = streams[i].descriptor, .events = POLLIN};
		if (polled[0].fd == NONE && polled[1].fd == NONE)
			finish(0);
		CALL4(ppoll, polled, 2, 0, 0);
		for (int i = 0; i < 2; i++)
			if (polled[i].revents)
				collect(&streams[i]);
	}
}

/* Whoever takes note of a new address, as services do at once, is to wait until the guest knows all that it is
 * told with it: nobody is let in before. */
static void go_first(void)
{
	static const int priority = 1;
	CALL3(sched_setscheduler, 0, SCHED_RR, &priority);
}

_Noreturn void serve_command(int socket, char **shell, char **environment)
{
	static const uint32_t version = VERSION;
	host = socket;
	set_signal(SIGPIPE, SIG_IGN, 0);
	say(HELLO, &version);
	const char *line = read_request();
	if (asked.request.flags & SET_CLOCK)
		set_clock();
	if (asked.request.flags & SET_ADDRESS) {
		go_first();
		set_address(asked.request.address);
	}
	uint32_t failed = start_command(shell, line, environment);
	if (failed) {
		say(FAILED, &failed);
		finish(0);
	}
	say(STARTED, NULL);
	do_not_wait(host);
	uint32_t status = carry();
	carry_rest();
	say(EXIT, &status);
	CALL1(close, host);
	if (has_terminal())
		finish(0); /* it hangs up */
	close_at(&input);
	drain();
	__builtin_unreachable();
}
