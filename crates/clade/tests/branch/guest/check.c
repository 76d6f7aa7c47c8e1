/* A guest's check of itself: processes that compute, each in its own way, what they can tell to be
 * right. A machine that is frozen, copied and let go on anywhere must not show in any of them.
 *
 *   check run      works until it is killed, or finds something wrong
 *   check report   prints what it has come to: a line "NAME VALUE" for each figure
 *
 * Linux's system calls for riscv64 and x86-64, nothing else. Made from this text into `check-riscv64` and
 * `check-amd64` with:
 *   flags="-O2 -ffreestanding -fno-builtin -nostdlib -static -fno-pie -no-pie -fno-stack-protector \
 *     -Wl,--build-id=none -Wl,-n -s"
 *   riscv64-linux-gnu-gcc -march=rv64gc -mabi=lp64d $flags -o check-riscv64 check.c
 *   x86_64-linux-gnu-gcc -march=x86-64 -ffp-contract=off $flags -o check-amd64 check.c
 */

typedef unsigned long u64;
typedef long i64;

#ifdef __riscv
enum {
	SYS_ftruncate = 46, SYS_openat = 56, SYS_close = 57, SYS_pipe2 = 59, SYS_read = 63, SYS_write = 64,
	SYS_exit = 93, SYS_nanosleep = 101, SYS_clock_gettime = 113, SYS_sched_yield = 124, SYS_socket = 198,
	SYS_bind = 200, SYS_listen = 201, SYS_accept = 202, SYS_connect = 203, SYS_getsockname = 204,
	SYS_clone = 220, SYS_mmap = 222,
};

static i64 call(i64 number, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f)
{
	register i64 a7 asm("a7") = number;
	register i64 a0 asm("a0") = a;
	register i64 a1 asm("a1") = b;
	register i64 a2 asm("a2") = c;
	register i64 a3 asm("a3") = d;
	register i64 a4 asm("a4") = e;
	register i64 a5 asm("a5") = f;
	asm volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
	return a0;
}

/* From now on down. */
static void round_down(void)
{
	asm volatile("fsrmi 2");
}

/* The rounding mode: 0 to the nearest, 2 down. */
static u64 rounding(void)
{
	u64 mode;
	asm volatile("frrm %0" : "=r"(mode));
	return mode;
}
enum { DOWN = 2 };

asm(".globl _start\n_start:\n\t.option push\n\t.option norelax\n\tla gp, __global_pointer$\n\t.option pop\n\t"
    "mv a0, sp\n\ttail start");
#else
enum {
	SYS_ftruncate = 77, SYS_openat = 257, SYS_pipe2 = 293, SYS_read = 0, SYS_write = 1, SYS_exit = 60,
	SYS_nanosleep = 35, SYS_clock_gettime = 228, SYS_sched_yield = 24, SYS_socket = 41, SYS_bind = 49,
	SYS_listen = 50, SYS_accept = 43, SYS_connect = 42, SYS_getsockname = 51, SYS_clone = 56, SYS_mmap = 9,
};

static i64 call(i64 number, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f)
{
	register i64 r10 asm("r10") = d;
	register i64 r8 asm("r8") = e;
	register i64 r9 asm("r9") = f;
	asm volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return number;
}

/* From now on down. */
static void round_down(void)
{
	unsigned control;
	asm volatile("stmxcsr %0" : "=m"(control));
	control = (control & ~0x6000u) | 0x2000;
	asm volatile("ldmxcsr %0" : : "m"(control));
}

/* The rounding mode: 0 to the nearest, 1 down. */
static u64 rounding(void)
{
	unsigned control;
	asm volatile("stmxcsr %0" : "=m"(control));
	return control >> 13 & 3;
}
enum { DOWN = 1 };

asm(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start");
#endif
#define call3(n, a, b, c) call(n, (i64)(a), (i64)(b), (i64)(c), 0, 0, 0)

/* The figures, in a file that all share. */
enum { MEMORY, FLOAT, PIPE, STREAM, LOCK, TICKS, UPTIME_MS, GAP_MS, ERROR, DETAIL, FIGURES };
static const char *const names[FIGURES] = {
	"memory", "float", "pipe", "stream", "lock", "ticks", "uptime_ms", "gap_ms", "error", "detail",
};
static const char path[] = "/run/check.figures";

struct shared {
	volatile u64 figures[FIGURES];
	volatile unsigned held;
	volatile u64 left, right;
};
static struct shared *shared;

static void wrong(u64 who, u64 detail)
{
	shared->figures[DETAIL] = detail;
	shared->figures[ERROR] = who + 1;
	call3(SYS_exit, 1, 0, 0);
}

static u64 random_of(u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The compiler's wish. */
void *memset(void *place, int byte, u64 count)
{
	volatile unsigned char *bytes = place;
	while (count--)
		*bytes++ = byte;
	return place;
}

static void *map(u64 bytes, i64 flags, i64 file)
{
	return (void *)call(SYS_mmap, 0, bytes, 3, flags, file, 0);
}

/* Processors of the host are few. */
static void rest(u64 microseconds)
{
	i64 pause[2] = { 0, microseconds * 1000 };
	call3(SYS_nanosleep, pause, 0, 0);
}

static u64 uptime_ms(void)
{
	i64 now[2];
	call3(SYS_clock_gettime, 1, now, 0);
	return now[0] * 1000 + now[1] / 1000000;
}

/* Pages with patterns, of which some are verified and written anew all the time. */
static void memory(u64 seed)
{
	enum { PAGES = 3072, WORDS = 512 };
	u64 *pages = map(PAGES * 4096ul, 0x22, -1), *rounds = map(PAGES * 8ul, 0x22, -1);
	for (;;) {
		for (int step = 0; step < 256; step++) {
			u64 page = random_of(&seed) % PAGES, *words = pages + page * WORDS, round = rounds[page];
			u64 was = page * 0x9e3779b97f4a7c15 + round, is = was + 1;
			for (int word = 0; word < WORDS; word++) {
				if (words[word] != (round ? was * (word | 1) : 0))
					wrong(MEMORY, page << 32 | word);
				words[word] = is * (word | 1);
			}
			rounds[page] = round + 1;
		}
		shared->figures[MEMORY]++;
		rest(40000);
	}
}

/* Numbers in floating-point registers, rounded down: eight orbits of a chaotic map. */
static void floats(void)
{
	u64 first = 0;
	round_down();
	for (;;) {
		double x[8];
		for (int i = 0; i < 8; i++)
			x[i] = 0.1 + i / 16.0;
		double a = x[0], b = x[1], c = x[2], d = x[3], e = x[4], f = x[5], g = x[6], h = x[7];
		for (int step = 0; step < 30000; step++) {
			a = 3.9 * a * (1 - a), b = 3.8 * b * (1 - b), c = 3.7 * c * (1 - c), d = 3.95 * d * (1 - d);
			e = 3.9 * e * (1 - e), f = 3.8 * f * (1 - f), g = 3.7 * g * (1 - g), h = 3.95 * h * (1 - h);
		}
		double sum = a + b + c + d + e + f + g + h;
		union { double number; u64 bits; } end = { sum };
		u64 bits = end.bits, mode = rounding();
		if (!first)
			first = bits;
		if (bits != first || mode != DOWN)
			wrong(FLOAT, mode);
		shared->figures[FLOAT]++;
		rest(30000);
	}
}

static void write_all(i64 file, const unsigned char *bytes, u64 count, u64 who)
{
	while (count) {
		i64 done = call3(SYS_write, file, bytes, count);
		if (done <= 0)
			wrong(who, -done);
		bytes += done;
		count -= done;
	}
}

/* Sends numbers, in pieces of any size. */
static void sends(i64 file, u64 who)
{
	unsigned char bytes[4096];
	u64 seed = 88172645463325252, place = 0;
	for (;;) {
		u64 count = 1 + random_of(&seed) % sizeof bytes;
		for (u64 i = 0; i < count; i++, place++)
			bytes[i] = place * 167 >> 3;
		write_all(file, bytes, count, who);
		if (count % 8 == 0)
			rest(20000);
	}
}

static void receives(i64 file, u64 who)
{
	unsigned char bytes[3000];
	u64 place = 0;
	for (;;) {
		i64 count = call3(SYS_read, file, bytes, sizeof bytes);
		if (count <= 0)
			wrong(who, -count);
		for (i64 i = 0; i < count; i++, place++)
			if (bytes[i] != (unsigned char)(place * 167 >> 3))
				wrong(who, place);
		shared->figures[who] = place;
	}
}

/* Two words that are the same whenever the lock is held. */
static void locks(void)
{
	for (;;) {
		while (__atomic_exchange_n(&shared->held, 1, __ATOMIC_ACQUIRE))
			call3(SYS_sched_yield, 0, 0, 0);
		u64 left = shared->left;
		if (left != shared->right)
			wrong(LOCK, left);
		shared->left = left + 1;
		for (volatile int wait = 0; wait < 50; wait++)
			;
		shared->right = left + 1;
		shared->figures[LOCK] = left + 1;
		__atomic_store_n(&shared->held, 0, __ATOMIC_RELEASE);
		if (left % 64 == 0)
			rest(20000);
	}
}

/* Timers, and the clock that never goes back. */
static void ticks(void)
{
	u64 last = uptime_ms();
	for (;;) {
		rest(20000);
		u64 now = uptime_ms();
		if (now < last + 20)
			wrong(TICKS, now);
		if (now - last > shared->figures[GAP_MS])
			shared->figures[GAP_MS] = now - last;
		shared->figures[UPTIME_MS] = last = now;
		shared->figures[TICKS]++;
	}
}

/* True in the child. */
static int fork(void)
{
	return call(SYS_clone, 17, 0, 0, 0, 0, 0) == 0;
}

/* Both ends of a connection with itself over TCP. */
static void stream_ends(i64 ends[2])
{
	unsigned char address[16] = { 2, 0, 0, 0, 127, 0, 0, 1 };
	unsigned length = sizeof address;
	i64 listener = call3(SYS_socket, 2, 1, 0);
	call3(SYS_bind, listener, address, length);
	call3(SYS_getsockname, listener, address, &length);
	call3(SYS_listen, listener, 1, 0);
	ends[0] = call3(SYS_socket, 2, 1, 0);
	if (call3(SYS_connect, ends[0], address, length))
		wrong(STREAM, 0);
	ends[1] = call3(SYS_accept, listener, 0, 0);
}

static void run(void)
{
	int pipe[2];
	i64 stream[2];
	call3(SYS_pipe2, pipe, 0, 0);
	stream_ends(stream);
	if (fork())
		memory(362436069);
	if (fork())
		floats();
	if (fork())
		sends(pipe[1], PIPE);
	if (fork())
		receives(pipe[0], PIPE);
	if (fork())
		sends(stream[0], STREAM);
	if (fork())
		receives(stream[1], STREAM);
	for (int i = 0; i < 3; i++)
		if (fork())
			locks();
	ticks();
}

static void print(const char *text)
{
	u64 length = 0;
	while (text[length])
		length++;
	call3(SYS_write, 1, text, length);
}

static void report(void)
{
	for (int i = 0; i < FIGURES; i++) {
		char digits[24], *at = digits + sizeof digits;
		u64 value = shared->figures[i];
		*--at = 0;
		*--at = '\n';
		do
			*--at = '0' + value % 10;
		while (value /= 10);
		print(names[i]);
		print(" ");
		print(at);
	}
}

__attribute__((used)) static void start(u64 *stack)
{
	char **arguments = (char **)(stack + 1);
	int runs = stack[0] == 2 && arguments[1][2] == 'n';
	i64 file = call(SYS_openat, -100, (i64)path, runs ? 01102 : 0102, 0600, 0, 0);
	call3(SYS_ftruncate, file, sizeof *shared, 0);
	shared = map(sizeof *shared, 1, file);
	if (runs)
		run();
	report();
	call3(SYS_exit, 0, 0, 0);
}
