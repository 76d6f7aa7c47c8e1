//! What can be wrong with the files that a machine starts from.

use std::fmt;
use std::ops::Range;

use clade_engine::Arch;

/// A file that a machine cannot start from.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct LoadError {
    /// The file's name as the user gave it, or what else the problem is with.
    pub file: String,
    /// What is wrong, and what to do.
    pub problem: Problem,
}

/// What is wrong with a file, or with the machine that it should run on.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Neither a kernel nor firmware was given.
    #[error("there is nothing to run: give it a kernel or firmware")]
    NothingToRun,
    /// The file does not exist.
    #[error("no such file: check its name")]
    Missing,
    /// It is a directory.
    #[error("this is a directory: name the file in it")]
    Directory,
    /// The host did not let us read it.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// It has no bytes.
    #[error("the file is empty: fetch or build it again")]
    Empty,
    /// It ends before what it announces.
    #[error("the file is cut off: {need} bytes announced, {have} there; fetch or build it again")]
    Truncated {
        /// The length that its headers announce, in bytes.
        need: u64,
        /// Its length in bytes.
        have: u64,
    },
    /// Its headers contradict themselves.
    #[error("the file is damaged ({0}): fetch or build it again")]
    Damaged(&'static str),
    /// Its compressed contents are damaged or cut off.
    #[error("its {format} data is damaged or cut off ({reason}): fetch or build it again")]
    BadCompression {
        /// How it is compressed.
        format: &'static str,
        /// What the decompressor says.
        reason: String,
    },
    /// It is compressed in a way that is not read here.
    #[error(
        "it is compressed with {format}, which is not supported: unpack it first, with `{tool}`"
    )]
    Compressed {
        /// How it is compressed.
        format: &'static str,
        /// The command that unpacks it.
        tool: &'static str,
    },
    /// It is well known, but not something to start a machine from.
    #[error("this is {what}, which a machine cannot start from: {remedy}")]
    NotAKernel {
        /// What it is, with article.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Nothing known.
    #[error(
        "not recognised as a kernel: it is neither a Linux `Image` for 64-bit RISC-V (plain, gzip, \
         zstd or EFI zboot) nor an ELF file"
    )]
    Unrecognised,
    /// Nothing known, for a PC.
    #[error(
        "not recognised as a kernel: it is neither a Linux `bzImage` for x86-64 nor an ELF file"
    )]
    UnrecognisedOnPc,
    /// It is for another instruction set than the machine's.
    #[error(
        "it is for {0}, and this machine is {machine}: use {build} build",
        machine = machine_name(*.1), build = build_name(*.1)
    )]
    Architecture(String, Arch),
    /// It is 32-bit code.
    #[error("it is 32-bit code, and this machine is {machine}: use {build} build", machine = machine_name(*.0), build = build_name(*.0))]
    Bits32(Arch),
    /// It is of the time before 64-bit kernels could be started as such.
    #[error("it is a kernel from before Linux 3.8, which cannot be started here: use a newer one")]
    OldKernel,
    /// It is big-endian.
    #[error("it is big-endian, and this machine is little-endian: use a little-endian build")]
    BigEndian,
    /// An ELF file that cannot be started.
    #[error(
        "this ELF file is {0}, which cannot be started: link it to an executable for bare metal"
    )]
    NotExecutable(&'static str),
    /// An ELF file without anything to load.
    #[error("this ELF file has no loadable segments: link it to an executable for bare metal")]
    NoSegments,
    /// It does not fit into memory.
    #[error(
        "it needs {} of memory and the machine has {}: give the machine more memory",
        Size(*need),
        Size(*have)
    )]
    TooLarge {
        /// Memory it takes, from the start of RAM, in bytes.
        need: u64,
        /// The machine's RAM in bytes.
        have: u64,
    },
    /// It wants to be where there is no RAM.
    #[error(
        "its segment at {} lies outside the machine's memory at {}: link it to an address there",
        Span(segment),
        Span(ram)
    )]
    OutsideRam {
        /// Where it wants to be.
        segment: Range<u64>,
        /// Where RAM is.
        ram: Range<u64>,
    },
    /// Its first instruction is not part of it.
    #[error("its entry point {0:#x} lies in none of its segments: check its linker script")]
    EntryOutside(u64),
    /// It wants to be where something else is already.
    #[error(
        "its segment at {} overlaps what is at {} already: link it to another address",
        Span(segment),
        Span(other)
    )]
    Overlap {
        /// Where it wants to be.
        segment: Range<u64>,
        /// What is there already.
        other: Range<u64>,
    },
    /// The command line is too long.
    #[error(
        "its kernel's command line has {need} bytes, and the kernel takes {have}: make it shorter"
    )]
    CommandLine {
        /// Its length in bytes.
        need: u64,
        /// The longest that there may be.
        have: u64,
    },
    /// There is no gap large enough left in memory.
    #[error(
        "it takes {} and only {} of the machine's memory are free in one piece: give the machine more \
         memory",
        Size(*need),
        Size(*have)
    )]
    NoRoom {
        /// Its size in bytes.
        need: u64,
        /// The largest usable gap in bytes.
        have: u64,
    },
}

impl Problem {
    /// This problem, of the file called `file`.
    pub(crate) fn of(self, file: impl Into<String>) -> LoadError {
        LoadError {
            file: file.into(),
            problem: self,
        }
    }
}

/// A machine's instruction set, for people.
fn machine_name(arch: Arch) -> &'static str {
    match arch {
        Arch::Riscv64 => "64-bit RISC-V",
        Arch::X86_64 => "x86-64",
    }
}

/// What distributions call builds for it.
fn build_name(arch: Arch) -> &'static str {
    match arch {
        Arch::Riscv64 => "a riscv64",
        Arch::X86_64 => "an amd64",
    }
}

/// A number of bytes, for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(unit, _)| self.0 >= *unit) {
            Some((unit, name)) if self.0.is_multiple_of(*unit) => {
                write!(f, "{} {name}", self.0 / unit)
            }
            Some((unit, name)) => write!(f, "{:.1} {name}", self.0 as f64 / *unit as f64),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// A half-open address range, for people.
struct Span<'a>(&'a Range<u64>);

impl fmt::Display for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.0.start, self.0.end)
    }
}
