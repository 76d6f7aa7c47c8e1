//! The software TLB: from guest virtual page to host address, by what the page allows.

use clade_engine::PAGE_SIZE;
use clade_riscv::hart::Mode;

use crate::memory::HostAddress;

/// The translation contexts that are cached side by side, so that a trap or a change of
/// `mstatus.SUM` costs no flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Context {
    User = 0,
    Supervisor = 1,
    /// S-mode with `mstatus.SUM` set.
    SupervisorUserMemory = 2,
    Machine = 3,
}

impl Context {
    /// The privilege mode whose rules apply.
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::User => Mode::User,
            Self::Supervisor | Self::SupervisorUserMemory => Mode::Supervisor,
            Self::Machine => Mode::Machine,
        }
    }
}

const CONTEXTS: usize = 4;
const ENTRIES: usize = 1024;
const PAGE_MASK: u64 = !(PAGE_SIZE - 1);

/// A tag that no address compares equal to: bit 11 lies between the page and the alignment bits.
const NEVER: u64 = 1 << 11;

/// One page. A tag is the page's virtual address, or [`NEVER`].
#[derive(Clone, Copy)]
struct Entry {
    read: u64,
    write: u64,
    execute: u64,
    /// Host address minus virtual address, modulo 2^64.
    addend: usize,
}

const EMPTY: Entry = Entry {
    read: NEVER,
    write: NEVER,
    execute: NEVER,
    addend: 0,
};

/// What [`Tlb::insert`] caches of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

/// The TLB of one hart.
pub(crate) struct Tlb {
    contexts: Box<[[Entry; ENTRIES]; CONTEXTS]>,
    /// Bounds of the addresses with cached pieces of superpages, for the lower and the upper half
    /// of the address space: one `sfence.vma` must drop all pieces of a superpage.
    superpages: [Option<(u64, u64)>; 2],
}

impl Tlb {
    pub(crate) fn new() -> Self {
        let contexts = vec![[EMPTY; ENTRIES]; CONTEXTS]
            .into_boxed_slice()
            .try_into()
            .unwrap_or_else(|_| unreachable!("the vector has CONTEXTS elements"));
        Self {
            contexts,
            superpages: [None; 2],
        }
    }

    #[inline(always)]
    fn entry(&self, context: Context, address: u64) -> &Entry {
        &self.contexts[context as usize & (CONTEXTS - 1)]
            [(address / PAGE_SIZE) as usize & (ENTRIES - 1)]
    }

    /// Where to load `size` bytes (a power of two) at `address`; `None` when the page is not
    /// cached or the access is misaligned.
    #[inline(always)]
    pub(crate) fn read(&self, context: Context, address: u64, size: u64) -> Option<HostAddress> {
        let entry = self.entry(context, address);
        (address & (PAGE_MASK | (size - 1)) == entry.read).then(|| entry.host(address))
    }

    /// Where to store, as [`Tlb::read`].
    #[inline(always)]
    pub(crate) fn write(&self, context: Context, address: u64, size: u64) -> Option<HostAddress> {
        let entry = self.entry(context, address);
        (address & (PAGE_MASK | (size - 1)) == entry.write).then(|| entry.host(address))
    }

    /// Where to fetch an instruction.
    #[inline(always)]
    pub(crate) fn execute(&self, context: Context, address: u64) -> Option<HostAddress> {
        let entry = self.entry(context, address);
        (address & PAGE_MASK == entry.execute).then(|| entry.host(address))
    }

    /// Caches the page of `address`, which is at `host`. `page_size` is that of the leaf in the
    /// page table.
    pub(crate) fn insert(
        &mut self,
        context: Context,
        address: u64,
        host: HostAddress,
        page_size: u64,
        rights: Rights,
    ) {
        let page = address & PAGE_MASK;
        if page_size > PAGE_SIZE {
            let low = address & !(page_size - 1);
            let high = low | (page_size - 1);
            let bounds = &mut self.superpages[half(address)];
            *bounds = Some(bounds.map_or((low, high), |(l, h)| (l.min(low), h.max(high))));
        }
        let tag = |allowed| if allowed { page } else { NEVER };
        let slot =
            &mut self.contexts[context as usize][(address / PAGE_SIZE) as usize & (ENTRIES - 1)];
        *slot = Entry {
            read: tag(rights.read),
            write: tag(rights.write),
            execute: tag(rights.execute),
            addend: host.0.wrapping_sub(address as usize),
        };
    }

    /// Forgets everything.
    pub(crate) fn flush(&mut self) {
        self.contexts
            .iter_mut()
            .flatten()
            .for_each(|entry| *entry = EMPTY);
        self.superpages = [None; 2];
    }

    /// Forgets the right to write, so that the next write to each page is seen.
    pub(crate) fn revoke_writes(&mut self) {
        for entry in self.contexts.iter_mut().flatten() {
            entry.write = NEVER;
        }
    }

    /// Forgets the page of `address` in all contexts.
    pub(crate) fn flush_page(&mut self, address: u64) {
        if self.superpages[half(address)].is_some_and(|(l, h)| (l..=h).contains(&address)) {
            self.flush();
            return;
        }
        for context in self.contexts.iter_mut() {
            context[(address / PAGE_SIZE) as usize & (ENTRIES - 1)] = EMPTY;
        }
    }
}

impl Entry {
    #[inline(always)]
    fn host(&self, address: u64) -> HostAddress {
        HostAddress((address as usize).wrapping_add(self.addend))
    }
}

/// 0 for the lower half of the address space, 1 for the upper.
fn half(address: u64) -> usize {
    (address >> 63) as usize
}
