//! A guest that does nothing but exit: firmware for a PC, run from its reset vector.

/// Its size in bytes; it ends at 4 GiB.
pub(super) const SIZE: usize = 64 << 10;

/// Where each phase tells that it is over, by its letter.
pub(super) const REPORTS: u16 = 0xe9;

/// A port with nothing behind it, written and read.
pub(super) const PORT: u16 = 0x80;

/// An address with nothing behind it, written and read.
pub(super) const ADDRESS: u64 = 0xd000_0000;

/// The letter before the first phase.
pub(super) const BEGINNING: u8 = b's';

/// Each phase's letter, and what it does so many times.
pub(super) const PHASES: [(u8, &str); 5] = [
    (b'o', "port write"),
    (b'i', "port read"),
    (b'w', "memory-mapped write"),
    (b'r', "memory-mapped read"),
    (b'c', "cpuid (answered in KVM)"),
];

/// The code, at the image's beginning: 16 bits wide up to its jump, then 32.
#[rustfmt::skip]
const CODE: &[u8] = &[
    0xfa,                                     //       cli
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x88, 0x00, //       lgdt cs:[0x88]
    0x0f, 0x20, 0xc0,                         //       mov eax, cr0
    0x0c, 0x01,                               //       or al, 1
    0x0f, 0x22, 0xc0,                         //       mov cr0, eax
    0x66, 0xea, 0x18, 0, 0xff, 0xff, 0x08, 0, //       jmp 8:0xffff0018
    0xb8, 0x10, 0x00, 0x00, 0x00,             //       mov eax, 0x10
    0x8e, 0xd8,                               //       mov ds, eax
    0xbb, 0x00, 0x00, 0x00, 0xd0,             //       mov ebx, 0xd0000000
    0xb0, b's',                               //       mov al, 's'
    0xe6, 0xe9,                               //       out 0xe9, al
    0x2e, 0x8b, 0x35, 0x8e, 0, 0xff, 0xff,    //       mov esi, cs:[0xffff008e]
    0x89, 0xf1,                               //       mov ecx, esi
    0xe6, 0x80,                               // o:    out 0x80, al
    0x49,                                     //       dec ecx
    0x75, 0xfb,                               //       jnz o
    0xb0, b'o',                               //       mov al, 'o'
    0xe6, 0xe9,                               //       out 0xe9, al
    0x89, 0xf1,                               //       mov ecx, esi
    0xe4, 0x80,                               // i:    in al, 0x80
    0x49,                                     //       dec ecx
    0x75, 0xfb,                               //       jnz i
    0xb0, b'i',                               //       mov al, 'i'
    0xe6, 0xe9,                               //       out 0xe9, al
    0x89, 0xf1,                               //       mov ecx, esi
    0x89, 0x03,                               // w:    mov [ebx], eax
    0x49,                                     //       dec ecx
    0x75, 0xfb,                               //       jnz w
    0xb0, b'w',                               //       mov al, 'w'
    0xe6, 0xe9,                               //       out 0xe9, al
    0x89, 0xf1,                               //       mov ecx, esi
    0x8b, 0x03,                               // r:    mov eax, [ebx]
    0x49,                                     //       dec ecx
    0x75, 0xfb,                               //       jnz r
    0xb0, b'r',                               //       mov al, 'r'
    0xe6, 0xe9,                               //       out 0xe9, al
    0x89, 0xf7,                               //       mov edi, esi
    0x31, 0xc0,                               // c:    xor eax, eax
    0x0f, 0xa2,                               //       cpuid
    0x4f,                                     //       dec edi
    0x75, 0xf9,                               //       jnz c
    0xb0, b'c',                               //       mov al, 'c'
    0xe6, 0xe9,                               //       out 0xe9, al
    0xf4,                                     // halt: hlt
    0xeb, 0xfd,                               //       jmp halt
];

/// Null, flat 32-bit code, flat data.
const DESCRIPTORS: [u64; 3] = [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
const DESCRIPTORS_AT: usize = 0x70;
/// What goes into `gdtr`: limit and address.
const DESCRIPTOR_REGISTER: [u8; 6] = [23, 0, 0x70, 0x00, 0xff, 0xff];
const DESCRIPTOR_REGISTER_AT: usize = 0x88;
const COUNT_AT: usize = 0x8e;
/// `jmp 0`, at the reset vector.
const RESET: [u8; 3] = [0xe9, 0x0d, 0x00];
const RESET_AT: usize = 0xfff0;

/// What a kernel does that only says that it runs, at COM1, in 64-bit mode.
const HELLO: [u8; 10] = [
    0x66, 0xba, 0xf8, 0x03, //       mov dx, 0x3f8
    0xb0, BEGINNING, //       mov al, 's'
    0xee,      //       out dx, al
    0xf4,      // halt: hlt
    0xeb, 0xfd, //       jmp halt
];
/// Where it is loaded to, and begins.
const HELLO_AT: u64 = 0x10_0000;

/// That kernel: an ELF file with one program header, all of which is loaded.
pub(super) fn hello() -> Vec<u8> {
    const EXECUTABLE: u16 = 2;
    const X86_64: u16 = 62;
    const HEADER: u16 = 64;
    const PROGRAM_HEADER: u16 = 56;
    const LOADED: u32 = 1;
    const READ_EXECUTE: u32 = 5;
    let start = u64::from(HEADER + PROGRAM_HEADER);
    let size = HELLO.len() as u64;
    // Of 64 bits, little-endian, of version 1.
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        values
            .iter()
            .for_each(|value| file.extend(value.to_le_bytes()));
    };
    halves(&mut file, &[EXECUTABLE, X86_64, 1, 0]);
    for value in [HELLO_AT, HEADER.into(), 0] {
        file.extend(value.to_le_bytes());
    }
    halves(&mut file, &[0, 0, HEADER, PROGRAM_HEADER, 1, 0, 0, 0]);
    file.extend(LOADED.to_le_bytes());
    file.extend(READ_EXECUTE.to_le_bytes());
    for value in [start, HELLO_AT, HELLO_AT, size, size, 8] {
        file.extend(value.to_le_bytes());
    }
    file.extend(HELLO);
    file
}

/// The image, in which each phase does what it does `count` times.
pub(super) fn image(count: u32) -> Vec<u8> {
    let mut image = vec![0; SIZE];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, CODE);
    for (index, descriptor) in DESCRIPTORS.iter().enumerate() {
        put(DESCRIPTORS_AT + index * 8, &descriptor.to_le_bytes());
    }
    put(DESCRIPTOR_REGISTER_AT, &DESCRIPTOR_REGISTER);
    put(COUNT_AT, &count.to_le_bytes());
    put(RESET_AT, &RESET);
    image
}
