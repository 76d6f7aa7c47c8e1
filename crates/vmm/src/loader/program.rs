//! A program as the file formats describe it, before it is placed in memory.

use std::ops::Range;

use clade_engine::{Arch, GuestRam};

use super::error::Problem;
use super::format::{Format, recognise};
use super::{Loaded, Role, elf, image, space};

/// What a program's file was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Linux `Image`, flat or with an EFI stub.
    Image,
    /// A Linux `bzImage`.
    BzImage,
    /// An ELF file.
    Elf,
    /// A flat binary without any header; firmware only.
    Flat,
}

/// A program: where its parts belong, and where it starts. All addresses are physical.
pub(super) struct Program<'a> {
    pub(super) kind: Kind,
    pub(super) entry: u64,
    /// At least one.
    pub(super) segments: Vec<Segment<'a>>,
}

/// A part of a program.
pub(super) struct Segment<'a> {
    /// The memory it takes; never empty.
    pub(super) range: Range<u64>,
    /// Its first bytes; the rest is zeros. Never longer than the range.
    pub(super) bytes: &'a [u8],
}

impl<'a> Program<'a> {
    /// Reads the headers of `file`, which is not compressed. The segments of the result are not
    /// checked against the machine's memory `ram`.
    pub(super) fn parse(file: &'a [u8], role: Role, ram: &Range<u64>) -> Result<Self, Problem> {
        match (recognise(file), role) {
            (Format::Elf, Role::Kernel) => elf::parse(
                file,
                Arch::Riscv64,
                ram,
                ram.start.saturating_add(image::TEXT_OFFSET),
            ),
            (Format::Elf, Role::Firmware) => elf::parse(file, Arch::Riscv64, ram, ram.start),
            (Format::Image, Role::Kernel) => image::parse(file, ram.start),
            (Format::Image | Format::Unknown, Role::Firmware) => Self::flat(file, ram.start),
            (Format::Unknown, Role::Kernel) => Err(Problem::Unrecognised),
            (Format::Refused(problem), _) => Err(problem),
            (Format::Gzip | Format::Zstd | Format::Zboot, _) => {
                Err(Problem::Damaged("compressed more than once"))
            }
        }
    }

    fn flat(file: &'a [u8], start: u64) -> Result<Self, Problem> {
        let segment = Segment::new(start, file.len() as u64, file)?;
        Ok(Self {
            kind: Kind::Flat,
            entry: start,
            segments: vec![segment],
        })
    }

    /// Puts the segments, which lie in `ram`, there.
    pub(super) fn write(&self, ram: &GuestRam) -> Result<(), Problem> {
        for Segment { range, bytes } in &self.segments {
            space::write(ram, range.start, bytes)?;
            space::zero(ram, range.start + bytes.len() as u64..range.end)?;
        }
        Ok(())
    }

    /// What the owner of the machine wants to know about it.
    pub(super) fn loaded(&self) -> Loaded {
        let starts = self.segments.iter().map(|segment| segment.range.start);
        let ends = self.segments.iter().map(|segment| segment.range.end);
        Loaded {
            kind: self.kind,
            entry: self.entry,
            range: starts.min().unwrap_or(0)..ends.max().unwrap_or(0),
        }
    }
}

impl<'a> Segment<'a> {
    /// The segment of `size` bytes from `start` that begins with `bytes`.
    pub(super) fn new(start: u64, size: u64, bytes: &'a [u8]) -> Result<Self, Problem> {
        if (bytes.len() as u64) > size {
            return Err(Problem::Damaged(
                "a segment larger in the file than in memory",
            ));
        }
        let end = start
            .checked_add(size)
            .ok_or(Problem::Damaged("a segment beyond the address space"))?;
        let range = start..end;
        Ok(Self { range, bytes })
    }

    /// The same segment, `distance` bytes (modulo 2^64) higher.
    pub(super) fn moved(&self, distance: u64) -> Result<Self, Problem> {
        let Range { start, end } = self.range;
        Self::new(start.wrapping_add(distance), end - start, self.bytes)
    }
}
