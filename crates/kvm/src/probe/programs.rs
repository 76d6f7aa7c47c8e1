//! What the guests of an examination do: 64-bit code in ring 0, without interrupts, assembled. Each
//! tells by a write to port 0xf4 that it got so far.

/// The port.
pub(super) const PORT: u64 = 0xf4;

/// How many instructions [`LOOP`] executes before its report number `index`, counted from 0, since the
/// one before.
pub(super) fn loop_instructions(index: usize) -> u64 {
    4 * (1024 << index) + 4
}

/// Adds and stores, for ever, in rounds of which each is twice as long as the one before.
#[rustfmt::skip]
pub(super) const LOOP: &[u8] = &[
    0xbb, 0x00, 0x04, 0x00, 0x00,                   //        mov ebx, 1024
    0x89, 0xd9,                                     // outer: mov ecx, ebx
    0x48, 0x01, 0xc8,                               // inner: add rax, rcx
    0x48, 0x89, 0x04, 0x25, 0x00, 0x30, 0x00, 0x00, //        mov [0x3000], rax
    0xff, 0xc9,                                     //        dec ecx
    0x75, 0xf1,                                     //        jnz inner
    0xe6, 0xf4,                                     //        out 0xf4, al
    0x01, 0xdb,                                     //        add ebx, ebx
    0xeb, 0xe9,                                     //        jmp outer
];

/// Compares and exchanges sixteen bytes, as Linux's memory allocator does.
#[rustfmt::skip]
pub(super) const CMPXCHG16B: &[u8] = &[
    0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25, 0x00, 0x30, 0x00, 0x00, // lock cmpxchg16b [0x3000]
    0xe6, 0xf4,                                                 // out 0xf4, al
    0xf4,                                                       // hlt
];

/// Saves and loads vector registers, as Linux does when it changes tasks.
#[rustfmt::skip]
pub(super) const XSAVE: &[u8] = &[
    0x0f, 0x20, 0xe0,                               // mov rax, cr4
    0x0d, 0x00, 0x06, 0x04, 0x00,                   // or eax, OSFXSR | OSXMMEXCPT | OSXSAVE
    0x0f, 0x22, 0xe0,                               // mov cr4, rax
    0x31, 0xc9,                                     // xor ecx, ecx
    0x31, 0xd2,                                     // xor edx, edx
    0xb8, 0x03, 0x00, 0x00, 0x00,                   // mov eax, 3: x87 and SSE
    0x0f, 0x01, 0xd1,                               // xsetbv
    0x0f, 0xae, 0x24, 0x25, 0x00, 0x30, 0x00, 0x00, // xsave [0x3000]
    0x0f, 0xae, 0x2c, 0x25, 0x00, 0x30, 0x00, 0x00, // xrstor [0x3000]
    0xe6, 0xf4,                                     // out 0xf4, al
    0xf4,                                           // hlt
];

/// Enters ring 3 and comes back by a system call, which may then do what ring 0 may.
#[rustfmt::skip]
pub(super) const SYSCALL: &[u8] = &[
    0xb9, 0x80, 0x00, 0x00, 0xc0,             // mov ecx, EFER
    0x0f, 0x32,                               // rdmsr
    0x83, 0xc8, 0x01,                         // or eax, SCE
    0x0f, 0x30,                               // wrmsr
    0xb9, 0x81, 0x00, 0x00, 0xc0,             // mov ecx, STAR
    0x31, 0xc0,                               // xor eax, eax
    0xba, 0x10, 0x00, 0x18, 0x00,             // mov edx, 0x180010
    0x0f, 0x30,                               // wrmsr
    0xb9, 0x82, 0x00, 0x00, 0xc0,             // mov ecx, LSTAR
    0x48, 0x8d, 0x05, 0x16, 0x00, 0x00, 0x00, // lea rax, [kernel]
    0x31, 0xd2,                               // xor edx, edx
    0x0f, 0x30,                               // wrmsr
    0x48, 0x8d, 0x0d, 0x09, 0x00, 0x00, 0x00, // lea rcx, [user]
    0x41, 0xbb, 0x02, 0x00, 0x00, 0x00,       // mov r11d, 2
    0x48, 0x0f, 0x07,                         // sysretq
    0x0f, 0x05,                               // user: syscall
    0x0f, 0x20, 0xc0,                         // kernel: mov rax, cr0
    0xe6, 0xf4,                               // out 0xf4, al
    0xf4,                                     // hlt
];
