/* Linux's system calls, without a C library: numbers and structures are the kernel's own headers'. */

#ifndef LINUX_H
#define LINUX_H

#include <asm/ioctls.h>
#include <asm/signal.h>
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/sockios.h>
#include <linux/time_types.h>
#include <linux/wait.h>
#include <stddef.h>
#include <stdint.h>

/* What the kernel has in headers that are not for programs. */
#define AF_INET 2
#define AF_UNIX 1
#define AF_VSOCK 40
#define MSG_NOSIGNAL 0x4000
#define P_PIDFD 3
#define SHUT_WR 1
#define SHUT_RDWR 2
#define SOCK_CLOEXEC O_CLOEXEC
#define SOCK_DGRAM 2
#define SOCK_STREAM 1

#define VMADDR_CID_ANY ((uint32_t)-1)
#define VMADDR_CID_HOST 2

/* linux/if_arp.h, linux/ethtool.h and linux/vm_sockets.h want a C library's sys/socket.h. */
#define ARPHRD_ETHER 1
#define ETHTOOL_GDRVINFO 3

struct sockaddr_vm {
	uint16_t family;
	uint16_t reserved;
	uint32_t port;
	uint32_t cid;
	uint32_t zero;
};

struct window_size {
	uint16_t rows, columns, width, height;
};

#if defined(__riscv)

static inline long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long a0 asm("a0") = a;
	register long a1 asm("a1") = b;
	register long a2 asm("a2") = c;
	register long a3 asm("a3") = d;
	register long a4 asm("a4") = e;
	register long a5 asm("a5") = f;
	register long a7 asm("a7") = number;
	asm volatile("ecall"
		     : "+r"(a0)
		     : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7)
		     : "memory");
	return a0;
}

#elif defined(__x86_64__)

static inline long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 asm("r10") = d;
	register long r8 asm("r8") = e;
	register long r9 asm("r9") = f;
	long result;
	asm volatile("syscall"
		     : "=a"(result)
		     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return result;
}

#endif

#define ARGUMENT(value) ((long)(value))
#define CALL0(name) call(__NR_##name, 0, 0, 0, 0, 0, 0)
#define CALL1(name, a) call(__NR_##name, ARGUMENT(a), 0, 0, 0, 0, 0)
#define CALL2(name, a, b) call(__NR_##name, ARGUMENT(a), ARGUMENT(b), 0, 0, 0, 0)
#define CALL3(name, a, b, c) call(__NR_##name, ARGUMENT(a), ARGUMENT(b), ARGUMENT(c), 0, 0, 0)
#define CALL4(name, a, b, c, d) \
	call(__NR_##name, ARGUMENT(a), ARGUMENT(b), ARGUMENT(c), ARGUMENT(d), 0, 0)
#define CALL5(name, a, b, c, d, e) \
	call(__NR_##name, ARGUMENT(a), ARGUMENT(b), ARGUMENT(c), ARGUMENT(d), ARGUMENT(e), 0)

static inline void finish(int status)
{
	for (;;)
		CALL1(exit_group, status);
}

static inline int equal(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

/* The compiler may make calls of these. */
void *memcpy(void *to, const void *from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int byte, size_t count);

#endif
