//! Translations that outlive their process: a file, from which others that go on with the same memory
//! map them, so that machines share what was translated once.
//!
//! Like everything else that is known of guest code, a page of it is used only where it is what memory
//! holds. It is for the very executable that wrote it, as it is full of that one's offsets, and host
//! code that is trusted as the executable itself is: it never travels to another host. What the
//! host has damaged shows in checksums, piece by piece as it is first used.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use clade_engine::PAGE_SIZE;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::assembler::CodeOffset;
use super::code_memory::CodeMemory;
use super::emit::Options;
use super::pages::{Entry, Line, Span};
use super::thunks::Thunks;
use super::unit::Offsets;

const PAGE: usize = PAGE_SIZE as usize;
const MAGIC: [u8; 8] = *b"cladeCC1";
/// Where the code begins in code memory: behind the thunks.
pub(super) const CODE_START: usize = PAGE;
/// No more code memory than this is inherited; a machine that has more begins anew.
const MAX_CODE: usize = 128 << 20;
const WRITTEN_AT_ONCE: usize = 256 << 10;

/// Who can use translations: the same executable, translating alike for as much memory.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub(super) struct Identity([u8; 512]);

impl Identity {
    pub(super) fn of(options: Options, thunks: Thunks, guest_pages: usize) -> Option<Self> {
        let text = format!(
            "{} {options:?} {thunks:?} {guest_pages}",
            executable().as_ref()?
        );
        let mut identity = [0; 512];
        identity
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        Some(Self(identity))
    }
}

/// This process's executable, by what nobody else's file has. Asked once, before the process is confined.
fn executable() -> &'static Option<String> {
    static EXECUTABLE: OnceLock<Option<String>> = OnceLock::new();
    EXECUTABLE.get_or_init(|| {
        let stat = rustix::fs::stat("/proc/self/exe").ok()?;
        Some(format!(
            "{}:{} {} {}.{} {}.{}",
            stat.st_dev,
            stat.st_ino,
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec
        ))
    })
}

/// What the file begins with. Behind it are the index, ordered by pages; the checksums of all pages of
/// code; the records; and from the next whole page on the code.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    identity: Identity,
    pages: u64,
    records_bytes: u64,
    code_bytes: u64,
    /// CRC-32 of the index and the checksums.
    index_checksum: u32,
    /// Of this header, with zero here.
    checksum: u32,
}

/// Where the record of a page of the guest's is.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct IndexEntry {
    page: u32,
    checksum: u32,
    start: u64,
    bytes: u64,
}

/// What a record begins with. Behind it are the lines of the page that were translated, the entries, and
/// where the code is.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RecordHead {
    covered: Offsets,
    entries: u64,
    spans: u64,
}

/// What is known of a page.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) covered: &'a Offsets,
    pub(super) source: &'a [Line],
    pub(super) entries: &'a [Entry],
    pub(super) spans: &'a [Span],
}

/// Translations of another process, mapped for as long as this one lives: confined, it could not map
/// them again.
pub(super) struct Persisted {
    file: File,
    index: &'static [IndexEntry],
    checksums: &'static [u32],
    records: &'static [u8],
    code: &'static [u8],
    code_start: u64,
    /// Pages of code whose checksum was right, as bits.
    checked: Box<[AtomicU64]>,
}

impl Persisted {
    /// Maps what [`save`] has written, if it is whole and for this process.
    pub(super) fn open(file: &File, identity: &Identity) -> Option<&'static Self> {
        let file = file.try_clone().ok()?;
        let size = usize::try_from(file.metadata().ok()?.len()).ok()?;
        if size < size_of::<Header>() {
            return None;
        }
        // SAFETY: a new mapping at an address of the kernel's choice.
        let map = unsafe {
            mmap(
                ptr::null_mut(),
                size,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                &file,
                0,
            )
        };
        // SAFETY: of this size, and never unmapped. Such files are written once, before they have
        // their name, and never again.
        let map: &'static [u8] = unsafe { std::slice::from_raw_parts(map.ok()?.cast(), size) };
        let (header, rest) = Header::ref_from_prefix(map).ok()?;
        if header.magic != MAGIC || header.identity != *identity || !header.is_whole() {
            return None;
        }
        let pages = usize::try_from(header.pages).ok()?;
        let records_bytes = usize::try_from(header.records_bytes).ok()?;
        let code_bytes = usize::try_from(header.code_bytes).ok()?;
        if code_bytes > MAX_CODE || !code_bytes.is_multiple_of(PAGE) {
            return None;
        }
        let (index, behind) = <[IndexEntry]>::ref_from_prefix_with_elems(rest, pages).ok()?;
        let (checksums, records) =
            <[u32]>::ref_from_prefix_with_elems(behind, code_bytes / PAGE).ok()?;
        let indexed = rest.len() - records.len();
        if crc32fast::hash(&rest[..indexed]) != header.index_checksum {
            return None;
        }
        let records = records.get(padding(checksums.len())..)?;
        let before = size - records.len();
        let records = records.get(..records_bytes)?;
        let code_start = (before + records_bytes).next_multiple_of(PAGE);
        Some(Box::leak(Box::new(Self {
            code: map.get(code_start..)?.get(..code_bytes)?,
            code_start: code_start as u64,
            checked: zeros(checksums.len().div_ceil(64)),
            file,
            index,
            checksums,
            records,
        })))
    }

    /// Bytes of host code, whole pages.
    pub(super) fn code_bytes(&self) -> usize {
        self.code.len()
    }

    /// The file, and where in it the code is, to be mapped from [`CODE_START`] of code memory on.
    pub(super) fn code(&self) -> (&File, u64) {
        (&self.file, self.code_start)
    }

    /// The page of code at this offset.
    pub(super) fn code_page(&self, offset: usize) -> [u64; PAGE / 8] {
        <[u64; PAGE / 8]>::read_from_prefix(&self.code[offset..])
            .map_or([0; PAGE / 8], |(page, _)| page)
    }

    /// The numbers of the guest's pages of which something is known.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.index.iter().map(|entry| entry.page)
    }

    /// What is known of the guest's page of this number, and undamaged.
    pub(super) fn page(&self, number: u32) -> Option<Record<'static>> {
        let entry = self.index.binary_search_by_key(&number, |entry| entry.page);
        let entry = &self.index[entry.ok()?];
        let bytes: &'static [u8] = self.records.get(usize::try_from(entry.start).ok()?..)?;
        let bytes = bytes.get(..usize::try_from(entry.bytes).ok()?)?;
        if crc32fast::hash(bytes) != entry.checksum {
            return None;
        }
        let (head, rest) = RecordHead::ref_from_prefix(bytes).ok()?;
        let lines = head.covered.lines().count();
        let (source, rest) = <[Line]>::ref_from_prefix_with_elems(rest, lines).ok()?;
        let entries = usize::try_from(head.entries).ok()?;
        let (entries, rest) = <[Entry]>::ref_from_prefix_with_elems(rest, entries).ok()?;
        let spans = usize::try_from(head.spans).ok()?;
        let (spans, _) = <[Span]>::ref_from_prefix_with_elems(rest, spans).ok()?;
        let undamaged = spans.iter().all(|span| self.is_undamaged(span));
        undamaged.then_some(Record {
            covered: &head.covered,
            source,
            entries,
            spans,
        })
    }

    /// Whether the code there is what was written.
    fn is_undamaged(&self, span: &Span) -> bool {
        span.code_pages().all(|page| {
            let Some(&checksum) = self.checksums.get(page) else {
                return false;
            };
            let bit = 1 << (page % 64);
            let checked = &self.checked[page / 64];
            if checked.load(Ordering::Relaxed) & bit != 0 {
                return true;
            }
            let right = crc32fast::hash(&self.code[page * PAGE..][..PAGE]) == checksum;
            if right {
                checked.fetch_or(bit, Ordering::Relaxed);
            }
            right
        })
    }
}

impl Header {
    fn is_whole(&self) -> bool {
        self.sum() == self.checksum
    }

    fn sum(&self) -> u32 {
        let bytes = self.as_bytes();
        crc32fast::hash(&bytes[..bytes.len() - size_of::<u32>()])
    }
}

/// Bytes behind so many checksums, so that the records are aligned.
fn padding(checksums: usize) -> usize {
    checksums % 2 * size_of::<u32>()
}

fn zeros(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// Records to be written, pages in order.
#[derive(Default)]
pub(super) struct Records {
    index: Vec<IndexEntry>,
    bytes: Vec<u8>,
    /// Which pages of code memory they need, from [`CODE_START`] on.
    needed: Vec<bool>,
}

impl Records {
    /// Adds the guest's page of this number, behind those that were added.
    pub(super) fn add(&mut self, page: u32, record: &Record<'_>) {
        let start = self.bytes.len();
        let head = RecordHead {
            covered: record.covered.clone(),
            entries: record.entries.len() as u64,
            spans: record.spans.len() as u64,
        };
        for piece in [
            head.as_bytes(),
            record.source.as_bytes(),
            record.entries.as_bytes(),
            record.spans.as_bytes(),
        ] {
            self.bytes.extend_from_slice(piece);
        }
        let bytes = &self.bytes[start..];
        self.index.push(IndexEntry {
            page,
            checksum: crc32fast::hash(bytes),
            start: start as u64,
            bytes: bytes.len() as u64,
        });
        for span in record.spans {
            let pages = span.code_pages();
            self.needed.resize(self.needed.len().max(pages.end), false);
            self.needed[pages].fill(true);
        }
    }
}

impl Span {
    /// The pages of code memory that it is in, from [`CODE_START`] on.
    fn code_pages(&self) -> Range<usize> {
        let start = (self.start as usize).saturating_sub(CODE_START);
        start / PAGE..(start + self.bytes as usize).div_ceil(PAGE)
    }
}

/// Writes translations to `file`, which is empty, and has holes where no code is needed. Returns whether
/// there are any, and not too many. Nobody may translate, or be led to new translations, meanwhile.
pub(super) fn save(
    file: &File,
    identity: &Identity,
    records: &Records,
    memory: &CodeMemory,
) -> io::Result<bool> {
    let pages = records.needed.len();
    if pages == 0 || pages * PAGE > MAX_CODE {
        return Ok(false);
    }
    let indexed = size_of_val(records.index.as_slice()) + pages * size_of::<u32>();
    let records_start = size_of::<Header>() + indexed + padding(pages);
    let code_start = (records_start + records.bytes.len()).next_multiple_of(PAGE);
    let mut index = Vec::with_capacity(indexed + padding(pages));
    index.extend_from_slice(records.index.as_bytes());
    let mut buffer = Vec::new();
    for (number, &needed) in records.needed.iter().enumerate() {
        let mut checksum = 0;
        if needed {
            let page = memory.read_page((CODE_START + number * PAGE) as CodeOffset);
            checksum = crc32fast::hash(page.as_bytes());
            buffer.extend_from_slice(page.as_bytes());
        }
        index.extend_from_slice(checksum.as_bytes());
        let ends = records.needed.get(number + 1) != Some(&true);
        if ends || buffer.len() >= WRITTEN_AT_ONCE {
            let end = code_start + (number + 1) * PAGE;
            file.write_all_at(&buffer, (end - buffer.len()) as u64)?;
            buffer.clear();
        }
    }
    let mut header = Header::new_zeroed();
    header.magic = MAGIC;
    header.identity = *identity;
    header.pages = records.index.len() as u64;
    header.records_bytes = records.bytes.len() as u64;
    header.code_bytes = (pages * PAGE) as u64;
    header.index_checksum = crc32fast::hash(&index);
    header.checksum = header.sum();
    index.resize(indexed + padding(pages), 0);
    file.write_all_at(&records.bytes, records_start as u64)?;
    file.write_all_at(&index, size_of::<Header>() as u64)?;
    // Last: without it, it is nothing.
    file.write_all_at(header.as_bytes(), 0)?;
    Ok(true)
}
