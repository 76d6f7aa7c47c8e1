# vsock-serve PORT PROGRAM [ARGUMENT...]
#
# Listens on a port of this machine's socket device (AF_VSOCK). Each connection gets a PROGRAM of its
# own (an absolute path), with the connection as its standard input and output. The program sees a
# Unix socket, and two copies of this one carry the bytes: servers of the internet kind ask for their
# peer's address, and do not know what to make of this family's. As soon as it listens, it says
# READY=1 to the host.
#
# Linux's system calls for riscv64, nothing else. Made from this text into `vsock-serve-riscv64` with:
#   riscv64-linux-gnu-as -march=rv64imac -o vsock-serve.o vsock-serve-riscv64.s
#   riscv64-linux-gnu-ld -n -s --build-id=none -o vsock-serve-riscv64 vsock-serve.o

        .equ    SYS_DUP3, 24
        .equ    SYS_CLOSE, 57
        .equ    SYS_READ, 63
        .equ    SYS_WRITE, 64
        .equ    SYS_EXIT, 93
        .equ    SYS_NANOSLEEP, 101
        .equ    SYS_RT_SIGACTION, 134
        .equ    SYS_SOCKET, 198
        .equ    SYS_SOCKETPAIR, 199
        .equ    SYS_BIND, 200
        .equ    SYS_LISTEN, 201
        .equ    SYS_CONNECT, 203
        .equ    SYS_SHUTDOWN, 210
        .equ    SYS_CLONE, 220
        .equ    SYS_EXECVE, 221
        .equ    SYS_ACCEPT4, 242

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

        .macro  call number
        li      a7, \number
        ecall
        .endm

        # Leaves zero in a0 in the new process.
        .macro  fork
        li      a0, SIGCHLD
        li      a1, 0
        li      a2, 0
        li      a3, 0
        li      a4, 0
        call    SYS_CLONE
        .endm

        .globl  _start
_start:
        ld      t0, 0(sp)
        li      t1, 3
        blt     t0, t1, fail
        slli    t0, t0, 3
        add     s2, sp, t0
        addi    s2, s2, 16              # s2: the environment
        addi    s1, sp, 24              # s1: PROGRAM and its arguments

        ld      a0, 16(sp)
        li      s3, 0                   # s3: the port
        li      t1, 10
1:      lbu     t0, 0(a0)
        beqz    t0, 2f
        addi    t0, t0, -'0'
        mul     s3, s3, t1
        add     s3, s3, t0
        addi    a0, a0, 1
        j       1b

2:      li      a0, AF_VSOCK
        li      a1, SOCK_STREAM_CLOEXEC
        li      a2, 0
        call    SYS_SOCKET
        bltz    a0, fail
        mv      s4, a0                  # s4: what listens

        addi    sp, sp, -32
        li      t0, AF_VSOCK            # struct sockaddr_vm
        sw      t0, 0(sp)
        sw      s3, 4(sp)
        li      t0, VMADDR_CID_ANY
        sw      t0, 8(sp)
        sw      zero, 12(sp)
        mv      a1, sp
        li      a2, 16
        call    SYS_BIND
        bnez    a0, fail
        mv      a0, s4
        li      a1, 128
        call    SYS_LISTEN
        bnez    a0, fail

        # Tells the host, if it wants to know, that connections are taken.
        li      a0, AF_VSOCK
        li      a1, SOCK_STREAM_CLOEXEC
        li      a2, 0
        call    SYS_SOCKET
        mv      s5, a0
        li      t0, NOTIFY_PORT
        sw      t0, 4(sp)
        li      t0, VMADDR_CID_HOST
        sw      t0, 8(sp)
        mv      a1, sp
        li      a2, 16
        call    SYS_CONNECT
        bnez    a0, 1f
        mv      a0, s5
        la      a1, ready
        li      a2, 8
        call    SYS_WRITE
1:      mv      a0, s5
        call    SYS_CLOSE

        # Nobody waits for the children. PROGRAM finds SIGCHLD as it always is.
        sd      zero, 0(sp)             # struct sigaction
        li      t0, SA_NOCLDWAIT
        sd      t0, 8(sp)
        sd      zero, 16(sp)
        li      a0, SIGCHLD
        mv      a1, sp
        li      a2, 0
        li      a3, 8
        call    SYS_RT_SIGACTION

accept:
        mv      a0, s4
        li      a1, 0
        li      a2, 0
        li      a3, SOCK_CLOEXEC
        call    SYS_ACCEPT4
        bltz    a0, short
        mv      s5, a0                  # s5: the connection
        fork
        beqz    a0, serve
        mv      a0, s5
        call    SYS_CLOSE
        j       accept

        # Short of descriptors or memory: others have to end first.
short:
        sd      zero, 0(sp)             # struct timespec
        li      t0, 100000000
        sd      t0, 8(sp)
        mv      a0, sp
        li      a1, 0
        call    SYS_NANOSLEEP
        j       accept

serve:
        li      a0, AF_UNIX
        li      a1, SOCK_STREAM_CLOEXEC
        li      a2, 0
        mv      a3, sp
        call    SYS_SOCKETPAIR
        bnez    a0, fail
        lw      s6, 0(sp)               # s6: our end
        lw      s7, 4(sp)               # s7: the program's

        # Names of the kernel's choice, without which there is no address to be asked for.
        li      t0, AF_UNIX
        sh      t0, 8(sp)
        mv      a0, s6
        addi    a1, sp, 8
        li      a2, 2
        call    SYS_BIND
        mv      a0, s7
        addi    a1, sp, 8
        li      a2, 2
        call    SYS_BIND

        fork
        bltz    a0, fail
        beqz    a0, program
        mv      a0, s7
        call    SYS_CLOSE
        fork
        bltz    a0, fail
        beqz    a0, to_program

        mv      s8, s6
        mv      s9, s5
        li      s10, SHUT_RDWR
        j       copy
to_program:
        mv      s8, s5
        mv      s9, s6
        li      s10, SHUT_WR

        # Carries bytes from s8 to s9 until there are no more, and says so as s10 tells.
copy:
        li      t0, BUFFER
        sub     sp, sp, t0
1:      mv      a0, s8
        mv      a1, sp
        li      a2, BUFFER
        call    SYS_READ
        blez    a0, 3f
        mv      s0, a0
        mv      s1, sp
2:      mv      a0, s9
        mv      a1, s1
        mv      a2, s0
        call    SYS_WRITE
        blez    a0, 3f
        add     s1, s1, a0
        sub     s0, s0, a0
        bnez    s0, 2b
        j       1b
3:      mv      a0, s9
        mv      a1, s10
        call    SYS_SHUTDOWN
        li      a0, 0
        call    SYS_EXIT

program:
        mv      a0, s7
        li      a1, 0
        li      a2, 0
        call    SYS_DUP3
        mv      a0, s7
        li      a1, 1
        li      a2, 0
        call    SYS_DUP3
        ld      a0, 0(s1)
        mv      a1, s1
        mv      a2, s2
        call    SYS_EXECVE

fail:
        li      a0, 127
        call    SYS_EXIT

ready:  .ascii  "READY=1\n"
