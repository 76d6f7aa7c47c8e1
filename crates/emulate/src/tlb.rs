//! The software TLB: from guest virtual page to host address, by what the page allows, and from
//! guest virtual address to translated code.
//!
//! Translations of several address spaces are kept side by side: a write to `satp` chooses another
//! set, and a trap or a change of `mstatus.SUM` another of the set's members. What supervisors
//! reach through global pages is one member that all sets share.

use clade_engine::PAGE_SIZE;
use clade_riscv::csr::satp;
use clade_riscv::hart::Mode;
use zerocopy::FromZeros;

use crate::memory::HostAddress;
use crate::table::Table;

/// Whose rules apply to an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    User,
    Supervisor,
    /// S-mode with `mstatus.SUM` set; fetches are [`Context::Supervisor`]'s, SUM or not.
    SupervisorUserMemory,
    Machine,
}

impl Context {
    /// That of a mode by itself.
    pub(crate) fn of(mode: Mode) -> Self {
        match mode {
            Mode::User => Self::User,
            Mode::Supervisor => Self::Supervisor,
            Mode::Machine => Self::Machine,
        }
    }

    /// The privilege mode whose rules apply.
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::User => Mode::User,
            Self::Supervisor | Self::SupervisorUserMemory => Mode::Supervisor,
            Self::Machine => Mode::Machine,
        }
    }
}

/// Address spaces that are kept at once.
const SPACES: usize = 8;
const PAGE_SHIFT: u32 = PAGE_SIZE.trailing_zeros();

/// A tag that no virtual page number equals.
const NEVER: u64 = u64::MAX;

/// One page. A tag is the page's virtual page number, or [`NEVER`], or 0 where that page is not
/// looked for: then an unused entry is all zeros, as memory is that nobody has touched. Generated
/// code reads this.
#[derive(Clone, Copy, FromZeros)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) read: u64,
    pub(crate) write: u64,
    /// Host address minus virtual address, modulo 2^64.
    pub(crate) addend: usize,
    execute: u64,
}

const UNUSED: Entry = Entry {
    read: 0,
    write: 0,
    addend: 0,
    execute: 0,
};

/// An unused entry where page 0 is looked for.
const BARRED: Entry = Entry {
    read: NEVER,
    write: NEVER,
    addend: 0,
    execute: NEVER,
};

/// Where the code for one virtual address was translated to. Generated code reads this.
#[derive(Clone, Copy, FromZeros)]
#[repr(C)]
pub(crate) struct Jump {
    /// The virtual address, an even one; in an unused slot one that belongs to another slot.
    pub(crate) pc: u64,
    /// The address of the translated code.
    pub(crate) code: usize,
}

/// What an unused slot holds: an address that belongs to another one.
fn no_jump(slot: usize) -> Jump {
    Jump {
        pc: if slot == 0 { 2 } else { 0 },
        code: 0,
    }
}

/// The slot of a virtual address among `count`.
fn jump_slot(pc: u64, count: usize) -> usize {
    (pc >> 1) as usize & (count - 1)
}

/// What [`Tlb::insert`] caches of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

/// One context of one address space.
struct Member {
    entries: Table<Entry>,
    /// Which of 64 equal parts of `entries` are in use, as bits: a flush costs what was used.
    used: u64,
    /// Bounds of the addresses with cached pieces of superpages, for the lower and the upper half
    /// of the address space: one `sfence.vma` must drop all pieces of a superpage.
    superpages: [Option<(u64, u64)>; 2],
    jumps: Table<Jump>,
    /// Which of 64 equal parts of `jumps` are in use, as bits: what is not takes up no memory.
    used_jumps: u64,
    /// The pages of `jumps`' addresses, by a hash of their numbers.
    jump_pages: [u64; 16],
}

impl Member {
    fn new(entries: usize, jumps: usize) -> Self {
        let mut member = Self {
            entries: Table::new(entries),
            used: 0,
            superpages: [None; 2],
            jumps: Table::new(jumps),
            used_jumps: 0,
            jump_pages: [0; 16],
        };
        member.clear_page(0);
        member.clear_page(entries - 1);
        if let Some(first) = member.jumps.first_mut() {
            *first = no_jump(0);
        }
        member
    }

    /// Page 0 is looked for in the first slot, and, by an access that goes beyond the end of the
    /// address space, in the last.
    fn clear_page(&mut self, slot: usize) {
        let barred = slot == 0 || slot == self.entries.len() - 1;
        self.entries[slot] = if barred { BARRED } else { UNUSED };
    }

    fn flush(&mut self) {
        if self.used != 0 {
            let last = self.entries.len() - 1;
            self.used_parts().for_each(|(_, part)| part.fill(UNUSED));
            self.clear_page(0);
            self.clear_page(last);
            self.used = 0;
        }
        self.superpages = [None; 2];
        self.flush_jumps();
    }

    /// The parts of `entries` that are in use, each with the slot that it begins with.
    fn used_parts(&mut self) -> impl Iterator<Item = (usize, &mut [Entry])> {
        used_parts(&mut self.entries, self.used)
    }

    fn flush_jumps(&mut self) {
        for (first, part) in used_parts(&mut self.jumps, self.used_jumps) {
            for (index, jump) in part.iter_mut().enumerate() {
                *jump = no_jump(first + index);
            }
        }
        self.used_jumps = 0;
        self.jump_pages = [0; 16];
    }

    fn flush_page(&mut self, address: u64) {
        if self.superpages[half(address)].is_some_and(|(l, h)| (l..=h).contains(&address)) {
            self.flush();
            return;
        }
        let page = address >> PAGE_SHIFT;
        let index = page as usize & (self.entries.len() - 1);
        // What was never used is left alone, to take up no memory.
        if self.used >> (index / part_size(&self.entries)) & 1 != 0 {
            self.clear_page(index);
        }
        let (word, bit) = jump_page(page);
        if self.jump_pages[word] & bit != 0 {
            self.flush_jumps_of(page);
        }
    }

    /// Forgets the jumps to one page: the addresses in a page are those of neighbouring slots.
    fn flush_jumps_of(&mut self, page: u64) {
        const ADDRESSES: usize = PAGE_SIZE as usize / 2;
        let count = ADDRESSES.min(self.jumps.len());
        let first = jump_slot(page << PAGE_SHIFT, self.jumps.len());
        for (slot, jump) in self.jumps.iter_mut().enumerate().skip(first).take(count) {
            if jump.pc >> PAGE_SHIFT == page {
                *jump = no_jump(slot);
            }
        }
    }
}

/// How many slots of a table have a bit in common that says that they are in use.
fn part_size<T>(table: &[T]) -> usize {
    table.len().div_ceil(u64::BITS as usize).max(1)
}

/// The parts of a table whose bits are set in `used`, each with the slot that it begins with.
fn used_parts<T>(table: &mut [T], used: u64) -> impl Iterator<Item = (usize, &mut [T])> {
    let size = part_size(table);
    let parts = table.chunks_mut(size).enumerate();
    parts.filter_map(move |(index, part)| (used >> index & 1 != 0).then_some((index * size, part)))
}

fn jump_page(page: u64) -> (usize, u64) {
    ((page >> 6) as usize & 15, 1 << (page & 63))
}

/// What is kept of one address space.
struct AddressSpace {
    /// The value of `satp` that names it.
    satp: u64,
    /// When it was last chosen.
    chosen: u64,
    user: usize,
    supervisor_user_memory: usize,
}

/// The members that all address spaces share.
const MACHINE: usize = 0;
const SUPERVISOR: usize = 1;

/// The TLB of one hart.
pub(crate) struct Tlb {
    members: Vec<Member>,
    /// Those that were chosen, [`SPACES`] at most.
    spaces: Vec<AddressSpace>,
    /// How many entries and jumps a member has.
    sizes: (usize, usize),
    current: usize,
    choices: u64,
    /// Whether the supervisor's member holds pages of the current address space alone.
    supervisor_private: bool,
    /// Counts what may have changed how code is fetched.
    changes: u64,
}

impl Tlb {
    /// A TLB with so many entries for pages and for jumps in each member.
    pub(crate) fn new(entries: usize, jumps: usize) -> Self {
        let fits = |count: usize| count.is_power_of_two() && (2..=4096).contains(&count);
        assert!(fits(entries) && fits(jumps), "sizes are powers of two");
        // Code is fetched by User, Supervisor and Machine only.
        let member = || Member::new(entries, jumps);
        let mut tlb = Self {
            members: vec![member(), member()],
            spaces: Vec::with_capacity(SPACES),
            sizes: (entries, jumps),
            current: 0,
            choices: 0,
            supervisor_private: false,
            changes: 0,
        };
        // The one that harts start with.
        tlb.add_space(0);
        tlb
    }

    fn add_space(&mut self, satp: u64) -> usize {
        let (entries, jumps) = self.sizes;
        let user = self.members.len();
        self.members.push(Member::new(entries, jumps));
        self.members.push(Member::new(entries, 0));
        self.spaces.push(AddressSpace {
            satp,
            chosen: 0,
            user,
            supervisor_user_memory: user + 1,
        });
        self.spaces.len() - 1
    }

    /// A number that changes when pages were flushed or another address space was chosen.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    fn index(&self, context: Context) -> usize {
        let space = &self.spaces[self.current];
        match context {
            Context::User => space.user,
            Context::Supervisor => SUPERVISOR,
            Context::SupervisorUserMemory => space.supervisor_user_memory,
            Context::Machine => MACHINE,
        }
    }

    /// What [`Tlb::read`] and its like take: a context of the address space that is chosen now.
    pub(crate) fn member(&self, context: Context) -> MemberIndex {
        MemberIndex(self.index(context))
    }

    /// The entries that generated code looks up for `context`.
    pub(crate) fn entries(&self, context: Context) -> *const Entry {
        self.members[self.index(context)].entries.as_ptr()
    }

    /// The jumps that generated code looks up for `context`.
    pub(crate) fn jumps(&self, context: Context) -> *const Jump {
        self.members[self.index(context)].jumps.as_ptr()
    }

    #[inline(always)]
    fn entry(&self, member: MemberIndex, address: u64) -> &Entry {
        let entries = &self.members[member.0].entries;
        &entries[(address >> PAGE_SHIFT) as usize & (entries.len() - 1)]
    }

    /// Where to load `size` bytes (a power of two) at `address`; `None` when the page is not
    /// cached or the access is misaligned.
    #[inline(always)]
    pub(crate) fn read(&self, member: MemberIndex, address: u64, size: u64) -> Option<HostAddress> {
        let entry = self.entry(member, address);
        (address >> PAGE_SHIFT == entry.read && address & (size - 1) == 0)
            .then(|| entry.host(address))
    }

    /// Where to store, as [`Tlb::read`].
    #[inline(always)]
    pub(crate) fn write(
        &self,
        member: MemberIndex,
        address: u64,
        size: u64,
    ) -> Option<HostAddress> {
        let entry = self.entry(member, address);
        (address >> PAGE_SHIFT == entry.write && address & (size - 1) == 0)
            .then(|| entry.host(address))
    }

    /// Where to fetch an instruction.
    #[inline(always)]
    pub(crate) fn execute(&self, member: MemberIndex, address: u64) -> Option<HostAddress> {
        let entry = self.entry(member, address);
        (address >> PAGE_SHIFT == entry.execute).then(|| entry.host(address))
    }

    /// Caches the page of `address`, which is at `host`. `page_size` is that of the leaf in the
    /// page table, and `global` says whether all address spaces share it.
    pub(crate) fn insert(
        &mut self,
        member: MemberIndex,
        address: u64,
        host: HostAddress,
        (page_size, global): (u64, bool),
        rights: Rights,
    ) {
        if member.0 == SUPERVISOR && !global {
            self.supervisor_private = true;
        }
        let page = address >> PAGE_SHIFT;
        let member = &mut self.members[member.0];
        if page_size > PAGE_SIZE {
            let low = address & !(page_size - 1);
            let high = low | (page_size - 1);
            let bounds = &mut member.superpages[half(address)];
            *bounds = Some(bounds.map_or((low, high), |(l, h)| (l.min(low), h.max(high))));
        }
        let tag = |allowed| if allowed { page } else { NEVER };
        let index = page as usize & (member.entries.len() - 1);
        member.used |= 1 << (index / part_size(&member.entries));
        member.entries[index] = Entry {
            read: tag(rights.read),
            write: tag(rights.write),
            addend: host.0.wrapping_sub(address as usize),
            execute: tag(rights.execute),
        };
    }

    /// Remembers where the instruction at `pc` was translated to, for the context that fetches it.
    pub(crate) fn insert_jump(&mut self, context: Context, pc: u64, code: usize) {
        let index = self.index(context);
        let member = &mut self.members[index];
        let (word, bit) = jump_page(pc >> PAGE_SHIFT);
        member.jump_pages[word] |= bit;
        let slot = jump_slot(pc, member.jumps.len());
        member.used_jumps |= 1 << (slot / part_size(&member.jumps));
        member.jumps[slot] = Jump { pc, code };
    }

    /// Goes over to the address space of this value of `satp`. What was kept of it is still there.
    pub(crate) fn choose(&mut self, satp: u64) {
        if self.spaces[self.current].satp == satp {
            return;
        }
        if self.supervisor_private {
            self.members[SUPERVISOR].flush();
            self.supervisor_private = false;
        }
        self.choices += 1;
        self.changes += 1;
        let known = self.spaces.iter().position(|space| space.satp == satp);
        self.current = known.unwrap_or_else(|| match self.spaces.len() {
            ..SPACES => self.add_space(satp),
            _ => self.replace_oldest_space(satp),
        });
        self.spaces[self.current].chosen = self.choices;
    }

    fn replace_oldest_space(&mut self, satp: u64) -> usize {
        let oldest = (0..self.spaces.len())
            .min_by_key(|&index| self.spaces[index].chosen)
            .unwrap_or(0);
        self.flush_space(oldest);
        self.spaces[oldest].satp = satp;
        oldest
    }

    fn flush_space(&mut self, index: usize) {
        let space = &self.spaces[index];
        let (user, supervisor) = (space.user, space.supervisor_user_memory);
        self.members[user].flush();
        self.members[supervisor].flush();
    }

    /// Forgets everything.
    pub(crate) fn flush(&mut self) {
        self.changes += 1;
        self.members.iter_mut().for_each(Member::flush);
        self.supervisor_private = false;
    }

    /// Forgets everything, and gives the memory back that it took.
    pub(crate) fn shrink(&mut self) {
        let (entries, jumps) = self.sizes;
        let satp = self.spaces[self.current].satp;
        let changes = self.changes + 1;
        *self = Self::new(entries, jumps);
        self.spaces[self.current].satp = satp;
        self.changes = changes;
    }

    /// Forgets the pages of the address spaces with identifier `asid`, but need not forget
    /// global ones.
    pub(crate) fn flush_asid(&mut self, asid: u64) {
        for index in 0..self.spaces.len() {
            if satp::asid(self.spaces[index].satp) == asid {
                self.flush_space(index);
            }
        }
        if self.supervisor_private && satp::asid(self.spaces[self.current].satp) == asid {
            self.members[SUPERVISOR].flush();
            self.supervisor_private = false;
        }
    }

    /// Forgets the page of `address`: in the address spaces with identifier `asid`, or in all.
    pub(crate) fn flush_page(&mut self, address: u64, asid: Option<u64>) {
        self.members[MACHINE].flush_page(address);
        self.members[SUPERVISOR].flush_page(address);
        for space in &self.spaces {
            if asid.is_none_or(|asid| satp::asid(space.satp) == asid) {
                self.members[space.user].flush_page(address);
                self.members[space.supervisor_user_memory].flush_page(address);
            }
        }
    }

    /// Forgets the right to write, so that the next write to each page is seen.
    pub(crate) fn revoke_writes(&mut self) {
        let parts = self.members.iter_mut().flat_map(Member::used_parts);
        let entries = parts.flat_map(|(_, part)| part);
        entries.for_each(|entry| entry.write = NEVER);
    }

    /// Forgets where code was translated to.
    pub(crate) fn flush_jumps(&mut self) {
        self.members.iter_mut().for_each(Member::flush_jumps);
    }
}

/// A context of the address space that was current when this was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemberIndex(usize);

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

#[cfg(test)]
mod tests;
