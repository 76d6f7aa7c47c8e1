//! Makers of small files, as the formats' documents say.

use std::io::Write as _;

/// An ELF executable made by GNU binutils, linked to run where it is loaded.
pub(super) const LOW_ELF: &[u8] = include_bytes!("fixtures/low.elf");
/// The same with virtual addresses that differ from the physical ones.
pub(super) const HIGH_ELF: &[u8] = include_bytes!("fixtures/high.elf");

const MACHINE_AT: usize = 0x44;

/// A flat Linux `Image` of `len` bytes that takes `image_size` in memory.
pub(super) fn image(len: usize, text_offset: u64, image_size: u64) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..4].copy_from_slice(&0x0000_006f_u32.to_le_bytes());
    file[8..16].copy_from_slice(&text_offset.to_le_bytes());
    file[16..24].copy_from_slice(&image_size.to_le_bytes());
    file[32..36].copy_from_slice(&2_u32.to_le_bytes());
    file[0x30..0x35].copy_from_slice(b"RISCV");
    file[0x38..0x3c].copy_from_slice(b"RSC\x05");
    file.extend((64..len).map(|at| (at % 251) as u8));
    file
}

/// An `Image` with an EFI stub whose only section ends with the file.
pub(super) fn efi_image(len: usize, machine: u16) -> Vec<u8> {
    let mut file = image(len, 0x20_0000, 2 * len as u64);
    put_pe(&mut file, machine);
    file
}

/// Puts PE headers at 0x40, with one section from 0x1000 to the end of the file.
fn put_pe(file: &mut [u8], machine: u16) {
    const OPTIONAL_LEN: usize = 112;
    let section_len = (file.len() - 0x1000) as u32;
    file[..2].copy_from_slice(b"MZ");
    file[0x3c..0x40].copy_from_slice(&0x40_u32.to_le_bytes());
    file[0x40..0x40 + 24 + OPTIONAL_LEN + 40].fill(0);
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    file[MACHINE_AT..MACHINE_AT + 2].copy_from_slice(&machine.to_le_bytes());
    file[0x46..0x48].copy_from_slice(&1_u16.to_le_bytes());
    file[0x54..0x56].copy_from_slice(&(OPTIONAL_LEN as u16).to_le_bytes());
    file[0x58..0x5a].copy_from_slice(&0x20b_u16.to_le_bytes());
    let section = 0x58 + OPTIONAL_LEN;
    file[section + 16..section + 20].copy_from_slice(&section_len.to_le_bytes());
    file[section + 20..section + 24].copy_from_slice(&0x1000_u32.to_le_bytes());
}

/// An EFI zboot image around `payload`.
pub(super) fn zboot(payload: &[u8], compression: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 0x1000];
    file.extend(payload);
    put_pe(&mut file, 0x5064);
    file[4..8].copy_from_slice(b"zimg");
    file[8..12].copy_from_slice(&0x1000_u32.to_le_bytes());
    file[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file[24..24 + compression.len()].copy_from_slice(compression);
    file[0x38..0x3c].copy_from_slice(b"\xcd\x23\x82\x81");
    file
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// An ELF file under construction: a 64-bit little-endian executable for RISC-V unless changed.
#[derive(Clone)]
pub(super) struct Elf {
    pub(super) class: u8,
    pub(super) data: u8,
    pub(super) kind: u16,
    pub(super) machine: u16,
    pub(super) entry: u64,
    pub(super) segments: Vec<Segment>,
}

#[derive(Clone)]
pub(super) struct Segment {
    pub(super) kind: u32,
    pub(super) virt: u64,
    pub(super) phys: u64,
    pub(super) memory: u64,
    pub(super) bytes: Vec<u8>,
}

impl Elf {
    pub(super) fn new(entry: u64, segments: &[Segment]) -> Self {
        Self {
            class: 2,
            data: 1,
            kind: 2,
            machine: 243,
            entry,
            segments: segments.to_vec(),
        }
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let mut file = b"\x7fELF".to_vec();
        file.extend([self.class, self.data, 1]);
        file.resize(16, 0);
        if self.data == 2 {
            file.extend(self.kind.to_be_bytes());
            file.extend(self.machine.to_be_bytes());
        } else {
            file.extend(self.kind.to_le_bytes());
            file.extend(self.machine.to_le_bytes());
        }
        file.extend(1_u32.to_le_bytes());
        file.extend(self.entry.to_le_bytes());
        file.extend(64_u64.to_le_bytes());
        file.extend([0; 12]);
        for half in [64, 56, self.segments.len() as u16, 0, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut offset = 64 + 56 * self.segments.len() as u64;
        for segment in &self.segments {
            file.extend(segment.kind.to_le_bytes());
            file.extend(7_u32.to_le_bytes());
            let len = segment.bytes.len() as u64;
            for word in [offset, segment.virt, segment.phys, len, segment.memory, 8] {
                file.extend(word.to_le_bytes());
            }
            offset += len;
        }
        for segment in &self.segments {
            file.extend(&segment.bytes);
        }
        file
    }
}

impl Segment {
    /// Loaded at `phys` with `bytes`, and zeros up to `memory` bytes.
    pub(super) fn new(phys: u64, bytes: &[u8], memory: u64) -> Self {
        Self {
            kind: 1,
            virt: phys,
            phys,
            memory,
            bytes: bytes.to_vec(),
        }
    }
}
