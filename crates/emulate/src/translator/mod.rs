//! The translator: guest code into the host's own, for x86-64.
//!
//! [`unit`] finds what to translate, [`emit`] translates it, [`pages`] remembers it, [`thunks`] and
//! [`runtime`] are the ways between generated code and Rust. Code is keyed by physical address and
//! knows virtual ones only relative to its page, so all harts and address spaces share it.
//!
//! Jumps within a page are direct. Jumps to other pages and indirect ones go by the hart's cache of
//! jumps, which belongs to the address space as the TLB does: whatever changes the meaning of
//! virtual addresses, or the code, empties it.

mod assembler;
mod assembler_float;
mod code_memory;
mod emit;
mod emit_atomic;
mod emit_control;
mod emit_csr;
mod emit_float;
mod emit_float_convert;
mod emit_integer;
mod emit_memory;
mod float_registers;
mod host;
mod integer_registers;
mod layout;
mod pages;
mod perf_map;
mod persisted;
mod reading;
mod runtime;
mod thunks;
mod unit;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assembler::CodeOffset;
use clade_engine::{Exit, PAGE_SIZE};
use clade_riscv::isa::Op;
use code_memory::{CodeMemory, CodeWriter};
use emit::Options;
pub(crate) use host::lacks;
use pages::{Pages, Span, read_page};
use perf_map::PerfMap;
use persisted::{CODE_START, Identity, Persisted};
pub(crate) use reading::for_reading;
use thunks::{Reason, Thunks};

use crate::core::Core;
use crate::memory::{GuestMemory, HostAddress};
use crate::port::{Port, request};
use crate::tuning::Tuning;

/// Parts of the code memory, of which the oldest is given up as a whole.
const SEGMENTS: u32 = 8;
/// What the smallest code memory has.
const MIN_SEGMENT: usize = 128 << 10;
/// What a clone of Debian enters until it is idle takes half of it; most that a distribution's boot leaves is never
/// run again.
const MAX_SAVED: usize = 64 << 20;
/// So little new code is not worth a file of its own.
const MIN_SAVED: usize = 512 << 10;
/// More than any unit of a real program needs; one that is made to need more is interpreted.
const MAX_UNIT_BYTES: usize = 64 << 10;

/// Translates the code of one machine, for all its harts.
pub(crate) struct Translator {
    cache: Mutex<Cache>,
    memory: Arc<CodeMemory>,
    thunks: Thunks,
    options: Options,
    ports: Vec<Arc<Port>>,
    /// Counts the `fence.i` of all harts.
    fences: AtomicU64,
    perf_map: Option<PerfMap>,
    /// Who can use its translations.
    identity: Option<Identity>,
}

struct Cache {
    writer: CodeWriter,
    pages: Pages,
    segments: Segments,
    /// Bytes that were translated since others could have them.
    unsaved: usize,
}

/// The code memory's parts, filled in turn.
struct Segments {
    /// Where the first one begins.
    start: usize,
    size: usize,
    /// The one that is being filled, and how far.
    current: u32,
    used: usize,
    /// Whether the one after it was emptied already.
    next_retired: bool,
}

/// How a run of generated code ended, for [`crate::executor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// `hart.pc` is where to go on.
    Continue,
    /// There is no budget for the next block.
    Budget,
    /// The instruction at `hart.pc` is for the interpreter.
    Interpret,
    /// `hart.pc` is to be translated, and the link given to it.
    Unlinked(Link),
    /// `run` must return.
    Exit(Exit),
}

/// A jump that waits for its target's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    /// The virtual address that it leads to.
    pc: u64,
    site: CodeOffset,
    /// The number of the page that it stands in.
    page: u32,
}

impl Link {
    pub(crate) fn pc(&self) -> u64 {
        self.pc
    }
}

/// Whether a unit may begin with this operation.
pub(crate) fn is_translatable(op: Op) -> bool {
    !unit::must_interpret(op)
}

/// Code that a hart may enter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code(CodeOffset);

impl Translator {
    /// A translator, or `None` where the host lacks something. It begins with what `code_cache` has, if
    /// that is for it.
    pub(crate) fn new(
        tuning: &Tuning,
        guest: &GuestMemory,
        ports: &[Arc<Port>],
        code_cache: Option<&File>,
    ) -> Option<Self> {
        if !host::lacking_features().is_empty() {
            return None;
        }
        let page = PAGE_SIZE as usize;
        let segment = (tuning.code_bytes / SEGMENTS as usize)
            .clamp(MIN_SEGMENT, 128 << 20)
            .next_multiple_of(page);
        let (thunks, code) = thunks::assemble();
        assert!(code.len() <= CODE_START);
        let options = Options::of(tuning);
        let identity = Identity::of(options, thunks, guest.pages());
        let inherited = code_cache
            .zip(identity.as_ref())
            .and_then(|(file, identity)| Persisted::open(file, identity));
        let room = CODE_START + SEGMENTS as usize * segment;
        let (memory, mut writer) = CodeMemory::new(room, inherited).ok()?;
        // Not if the host did not let it be executed. What is there of a translator before, for whom the
        // guest's memory was another, is left alone.
        let inherited = inherited.and(memory.inherited());
        let start = CODE_START + memory.inherited().map_or(0, Persisted::code_bytes);
        writer.write(0, &code);
        let perf_map = PerfMap::of_this_process();
        if let Some(map) = perf_map {
            map.add(memory.address(0), code.len(), "clade thunks");
            let inherited = start - CODE_START;
            map.add(memory.address(CODE_START as u32), inherited, "inherited");
        }
        Some(Self {
            cache: Mutex::new(Cache {
                writer,
                pages: Pages::new(inherited),
                unsaved: 0,
                segments: Segments {
                    start,
                    size: segment,
                    current: 0,
                    used: 0,
                    next_retired: true,
                },
            }),
            memory,
            thunks,
            options,
            identity,
            ports: ports.to_vec(),
            fences: AtomicU64::new(0),
            perf_map,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self, code: CodeOffset) -> usize {
        self.memory.address(code)
    }

    /// A hart executes `fence.i`: returns its number, from which on the hart sees all code anew.
    pub(crate) fn fence(&self) -> u64 {
        self.fences.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How many pages' translations were dropped because memory held something else.
    pub(crate) fn pages_changed(&self) -> u64 {
        self.lock().pages.changed()
    }

    /// How many pages' translations were taken over from another process.
    pub(crate) fn pages_inherited(&self) -> u64 {
        self.lock().pages.taken_over()
    }

    /// Writes what was translated to `file`, which is empty, for another process of this executable that
    /// goes on with the same memory. Returns whether it did: not if there is little that others do
    /// not have already, unless that counts for nothing `anyway`.
    pub(crate) fn save(&self, file: &File, anyway: bool) -> io::Result<bool> {
        let Some(identity) = &self.identity else {
            return Ok(false);
        };
        let mut cache = self.lock();
        let all = cache.segments.used_in_all().min(MAX_SAVED);
        let little = cache.unsaved < MIN_SAVED || cache.unsaved < all / 8;
        if little && !anyway {
            return Ok(false);
        }
        let saved = persisted::save(
            file,
            identity,
            &cache.pages.records(MAX_SAVED),
            &self.memory,
        )?;
        if saved {
            cache.unsaved = 0;
        }
        Ok(saved)
    }

    /// The code for the instruction at `at`, for this hart.
    fn lookup(&self, core: &Core, at: HostAddress) -> Option<CodeOffset> {
        let number = core.shared.memory.page_number(at)?;
        let now = self.fences.load(Ordering::SeqCst);
        let mut cache = self.lock();
        let page = cache.pages.get((number, at), core.jit.fence, now)?;
        page.find(offset_in_page(at))
    }

    /// As [`Translator::lookup`], for the executor.
    pub(crate) fn find(&self, core: &Core, at: HostAddress) -> Option<Code> {
        self.lookup(core, at).map(Code)
    }

    /// Lets a jump lead straight to `to` from now on, which is the code of the instruction at `at`.
    /// Only within one physical page: what the hart found at the jump's virtual address may be
    /// another one by now.
    pub(crate) fn link(&self, core: &mut Core, link: Link, to: Code, at: HostAddress) {
        if core.shared.memory.page_number(at) != Some(link.page) {
            return;
        }
        if !self.memory.is_inherited(link.site) {
            self.memory
                .patch(link.site, to.0.wrapping_sub(link.site + 4));
        } else if self.lock().pages.count_detour(link.page) {
            self.all_forget(core);
        }
    }

    /// Has all harts forget where code is.
    fn all_forget(&self, core: &mut Core) {
        // This hart does so at once: asking itself would be a reason to look at the clock.
        core.forget_code();
        for port in &self.ports {
            if !Arc::ptr_eq(port, &core.port) {
                port.request(request::FORGET_CODE);
            }
        }
    }

    /// Runs `code`, which is that of `hart.pc`.
    pub(crate) fn run(&self, core: &mut Core, code: Code) -> Left {
        let address = self.address(code.0);
        core.tlb
            .insert_jump(core.fetch_context, core.hart.pc, address);
        core.jit.stats.entries += 1;
        let reason = runtime::enter(self, core, code.0);
        let stats = &mut core.jit.stats;
        match reason {
            Reason::Continue => {
                stats.exits_other += 1;
                core.jit.exit.take().map_or(Left::Continue, Left::Exit)
            }
            Reason::Budget => {
                stats.exits_budget += 1;
                Left::Budget
            }
            Reason::Interpret => {
                stats.exits_system += 1;
                Left::Interpret
            }
            Reason::Unlinked => {
                stats.exits_unlinked += 1;
                Left::Unlinked(Link {
                    pc: core.hart.pc,
                    site: core.jit.link_site,
                    page: core.jit.link_page,
                })
            }
        }
    }

    /// Translates the code at `at`. `None` when its first instruction is for the interpreter, or
    /// there is no room at the moment.
    pub(crate) fn translate(&self, core: &mut Core, at: HostAddress) -> Option<Code> {
        let now = self.fences.load(Ordering::SeqCst);
        let mut cache = self.lock();
        let cache = &mut *cache;
        let source = read_page(at);
        let parcels = parcels(&source);
        let entry = offset_in_page(at);
        let number = core.shared.memory.page_number(at)?;
        let room = cache.segments.reserve(&mut cache.pages, self, core)?;
        let page = cache.pages.claim(number, &source, now);
        if let Some(code) = page.find(entry) {
            return Some(Code(code));
        }
        let blocks = unit::discover(&parcels, entry, &|offset| page.find(offset).is_some());
        if blocks.is_empty() {
            return None;
        }
        let emitted = emit::emit(
            &blocks,
            (room, number),
            self.thunks,
            self.options,
            &|offset| page.find(offset),
        );
        if emitted.code.len() > MAX_UNIT_BYTES {
            return None;
        }
        cache.writer.write(room, &emitted.code);
        let covered = blocks
            .iter()
            .flat_map(|block| &block.instructions)
            .flat_map(|placed| (placed.offset..placed.end()).step_by(2));
        let span = Span {
            start: room,
            bytes: emitted.code.len() as u32,
        };
        let place = (cache.segments.current, span);
        page.add(&source, &emitted.entries, covered, place);
        if let (Some(map), Some(physical)) = (self.perf_map, core.shared.memory.physical(at)) {
            let name = format_args!("guest 0x{physical:x}");
            map.add(self.address(room), emitted.code.len(), name);
        }
        cache.segments.used += emitted.code.len().next_multiple_of(16);
        cache.unsaved += emitted.code.len();
        let stats = &mut core.jit.stats;
        stats.translations += 1;
        stats.translated_instructions += emitted.instructions.len() as u64;
        stats.translated_bytes += emitted.code.len() as u64;
        page.find(entry).map(Code)
    }

    /// Whether no hart can be in code, or find code, that it saw before its last request.
    fn all_forgot(&self) -> bool {
        self.ports
            .iter()
            .all(|port| !port.is_pending(request::FORGET_CODE))
    }
}

impl Segments {
    /// Where the next unit goes. Gives up the oldest segment in good time: harts forget it at
    /// their next look at their requests, and only then it is written to again.
    fn reserve(
        &mut self,
        pages: &mut Pages,
        translator: &Translator,
        core: &mut Core,
    ) -> Option<CodeOffset> {
        let next = (self.current + 1) % SEGMENTS;
        if !self.next_retired && self.used >= self.size / 2 {
            pages.forget_segment(next);
            self.next_retired = true;
            core.jit.stats.evictions += 1;
            translator.all_forget(core);
        }
        if self.size - self.used < MAX_UNIT_BYTES {
            if !translator.all_forgot() {
                return None;
            }
            self.current = next;
            self.used = 0;
            self.next_retired = false;
        }
        Some((self.start + self.current as usize * self.size + self.used) as CodeOffset)
    }

    /// Bytes of code there are, about.
    fn used_in_all(&self) -> usize {
        self.start + self.current as usize * self.size + self.used
    }
}

fn offset_in_page(at: HostAddress) -> u16 {
    (at.0 % PAGE_SIZE as usize) as u16
}

/// A page as 16-bit parcels.
fn parcels(page: &[u64; PAGE_SIZE as usize / 8]) -> [u16; PAGE_SIZE as usize / 2] {
    std::array::from_fn(|index| (page[index / 4] >> (index % 4 * 16)) as u16)
}
