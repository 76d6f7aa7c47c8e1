# vsock-serve PORT PROGRAM [ARGUMENT...]
#
# The same as vsock-serve-riscv64.s, which says what it does, in Linux's system calls for x86-64. Made from
# this text into `vsock-serve-x86-64` with:
#   x86_64-linux-gnu-as -mx86-used-note=no -o vsock-serve.o vsock-serve-x86-64.s
#   x86_64-linux-gnu-ld -z noseparate-code -n -s --build-id=none -o vsock-serve-x86-64 vsock-serve.o

        .intel_syntax noprefix

        .equ    SYS_READ, 0
        .equ    SYS_WRITE, 1
        .equ    SYS_CLOSE, 3
        .equ    SYS_RT_SIGACTION, 13
        .equ    SYS_NANOSLEEP, 35
        .equ    SYS_SOCKET, 41
        .equ    SYS_CONNECT, 42
        .equ    SYS_SHUTDOWN, 48
        .equ    SYS_BIND, 49
        .equ    SYS_LISTEN, 50
        .equ    SYS_SOCKETPAIR, 53
        .equ    SYS_FORK, 57
        .equ    SYS_EXECVE, 59
        .equ    SYS_EXIT, 60
        .equ    SYS_ACCEPT4, 288
        .equ    SYS_DUP3, 292

        .equ    AF_UNIX, 1
        .equ    AF_VSOCK, 40
        .equ    SOCK_STREAM_CLOEXEC, 0x80001
        .equ    SOCK_CLOEXEC, 0x80000
        .equ    VMADDR_CID_ANY, -1
        .equ    VMADDR_CID_HOST, 2
        .equ    NOTIFY_PORT, 8          # crates/vmm/src/vsock
        .equ    SIGCHLD, 17
        .equ    SA_NOCLDWAIT, 2
        .equ    SHUT_WR, 1
        .equ    SHUT_RDWR, 2
        .equ    BUFFER, 65536

        # The kernel leaves all registers as they are but rax, rcx and r11.
        .macro  call_kernel number
        mov     eax, \number
        syscall
        .endm

        .globl  _start
_start:
        mov     rax, [rsp]
        cmp     rax, 3
        jl      fail
        lea     r13, [rsp + rax*8 + 16] # r13: the environment
        lea     r12, [rsp + 24]         # r12: PROGRAM and its arguments

        mov     rsi, [rsp + 16]
        xor     r14d, r14d              # r14: the port
1:      movzx   eax, byte ptr [rsi]
        test    eax, eax
        jz      2f
        imul    r14d, r14d, 10
        lea     r14d, [r14 + rax - '0']
        inc     rsi
        jmp     1b

2:      mov     edi, AF_VSOCK
        mov     esi, SOCK_STREAM_CLOEXEC
        xor     edx, edx
        call_kernel SYS_SOCKET
        test    eax, eax
        js      fail
        mov     r15d, eax               # r15: what listens

        sub     rsp, 32
        mov     dword ptr [rsp], AF_VSOCK       # struct sockaddr_vm
        mov     [rsp + 4], r14d
        mov     dword ptr [rsp + 8], VMADDR_CID_ANY
        mov     dword ptr [rsp + 12], 0
        mov     edi, r15d
        mov     rsi, rsp
        mov     edx, 16
        call_kernel SYS_BIND
        test    eax, eax
        jnz     fail
        mov     edi, r15d
        mov     esi, 128
        call_kernel SYS_LISTEN
        test    eax, eax
        jnz     fail

        # Tells the host, if it wants to know, that connections are taken.
        mov     edi, AF_VSOCK
        mov     esi, SOCK_STREAM_CLOEXEC
        xor     edx, edx
        call_kernel SYS_SOCKET
        mov     ebx, eax
        mov     dword ptr [rsp + 4], NOTIFY_PORT
        mov     dword ptr [rsp + 8], VMADDR_CID_HOST
        mov     edi, ebx
        mov     rsi, rsp
        mov     edx, 16
        call_kernel SYS_CONNECT
        test    eax, eax
        jnz     1f
        mov     edi, ebx
        lea     rsi, [rip + ready]
        mov     edx, 8
        call_kernel SYS_WRITE
1:      mov     edi, ebx
        call_kernel SYS_CLOSE

        # Nobody waits for the children. PROGRAM finds SIGCHLD as it always is.
        mov     qword ptr [rsp], 0      # struct sigaction
        mov     qword ptr [rsp + 8], SA_NOCLDWAIT
        mov     qword ptr [rsp + 16], 0
        mov     qword ptr [rsp + 24], 0
        mov     edi, SIGCHLD
        mov     rsi, rsp
        xor     edx, edx
        mov     r10d, 8
        call_kernel SYS_RT_SIGACTION

accept:
        mov     edi, r15d
        xor     esi, esi
        xor     edx, edx
        mov     r10d, SOCK_CLOEXEC
        call_kernel SYS_ACCEPT4
        test    eax, eax
        js      short_of
        mov     ebx, eax                # rbx: the connection
        call_kernel SYS_FORK
        test    eax, eax
        jz      serve
        mov     edi, ebx
        call_kernel SYS_CLOSE
        jmp     accept

        # Short of descriptors or memory: others have to end first.
short_of:
        mov     qword ptr [rsp], 0      # struct timespec
        mov     qword ptr [rsp + 8], 100000000
        mov     rdi, rsp
        xor     esi, esi
        call_kernel SYS_NANOSLEEP
        jmp     accept

serve:
        mov     edi, AF_UNIX
        mov     esi, SOCK_STREAM_CLOEXEC
        xor     edx, edx
        mov     r10, rsp
        call_kernel SYS_SOCKETPAIR
        test    eax, eax
        jnz     fail
        mov     ebp, [rsp]              # rbp: our end
        mov     r9d, [rsp + 4]          # r9: the program's

        # Names of the kernel's choice, without which there is no address to be asked for.
        mov     word ptr [rsp + 8], AF_UNIX
        mov     edi, ebp
        lea     rsi, [rsp + 8]
        mov     edx, 2
        call_kernel SYS_BIND
        mov     edi, r9d
        call_kernel SYS_BIND

        call_kernel SYS_FORK
        test    eax, eax
        js      fail
        jz      program
        mov     edi, r9d
        call_kernel SYS_CLOSE
        call_kernel SYS_FORK
        test    eax, eax
        js      fail
        jz      to_program

        mov     r12d, ebp
        mov     r13d, ebx
        mov     r14d, SHUT_RDWR
        jmp     copy
to_program:
        mov     r12d, ebx
        mov     r13d, ebp
        mov     r14d, SHUT_WR

        # Carries bytes from r12 to r13 until there are no more, and says so as r14 tells.
copy:
        sub     rsp, BUFFER
1:      mov     edi, r12d
        mov     rsi, rsp
        mov     edx, BUFFER
        call_kernel SYS_READ
        test    rax, rax
        jle     3f
        mov     rdx, rax
        mov     rsi, rsp
2:      mov     edi, r13d
        call_kernel SYS_WRITE
        test    rax, rax
        jle     3f
        add     rsi, rax
        sub     rdx, rax
        jnz     2b
        jmp     1b
3:      mov     edi, r13d
        mov     esi, r14d
        call_kernel SYS_SHUTDOWN
        xor     edi, edi
        call_kernel SYS_EXIT

program:
        mov     edi, r9d
        xor     esi, esi
        xor     edx, edx
        call_kernel SYS_DUP3
        mov     esi, 1
        call_kernel SYS_DUP3
        mov     rdi, [r12]
        mov     rsi, r12
        mov     rdx, r13
        call_kernel SYS_EXECVE

fail:
        mov     edi, 127
        call_kernel SYS_EXIT

ready:  .ascii  "READY=1\n"
