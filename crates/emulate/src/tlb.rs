//! The software TLB: from guest virtual page to host address, by what the page allows, and from
//! guest virtual address to translated code.
//!
//! Translations of several address spaces are kept side by side: a write to `satp` chooses another
//! set, and a trap or a change of `mstatus.SUM` another of the set's members. What supervisors
//! reach through global pages is one member that all sets share.

use clade_engine::PAGE_SIZE;
use clade_riscv::csr::satp;
use clade_riscv::hart::Mode;

use crate::memory::HostAddress;

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

/// One page. A tag is the page's virtual page number, or [`NEVER`]. Generated code reads this.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) read: u64,
    pub(crate) write: u64,
    /// Host address minus virtual address, modulo 2^64.
    pub(crate) addend: usize,
    execute: u64,
}

const EMPTY: Entry = Entry {
    read: NEVER,
    write: NEVER,
    addend: 0,
    execute: NEVER,
};

/// Where the code for one virtual address was translated to. Generated code reads this.
#[derive(Clone, Copy)]
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
    entries: Box<[Entry]>,
    /// Which of 64 equal parts of `entries` are in use, as bits: a flush costs what was used.
    used: u64,
    /// Bounds of the addresses with cached pieces of superpages, for the lower and the upper half
    /// of the address space: one `sfence.vma` must drop all pieces of a superpage.
    superpages: [Option<(u64, u64)>; 2],
    jumps: Box<[Jump]>,
    /// The pages of `jumps`' addresses, by a hash of their numbers.
    jump_pages: [u64; 16],
}

impl Member {
    fn new(entries: usize, jumps: usize) -> Self {
        Self {
            entries: vec![EMPTY; entries].into(),
            used: 0,
            superpages: [None; 2],
            jumps: (0..jumps).map(no_jump).collect(),
            jump_pages: [0; 16],
        }
    }

    fn clear_jumps(&mut self) {
        for (slot, jump) in self.jumps.iter_mut().enumerate() {
            *jump = no_jump(slot);
        }
        self.jump_pages = [0; 16];
    }

    fn flush(&mut self) {
        let part = part_size(&self.entries);
        while self.used != 0 {
            let index = self.used.trailing_zeros() as usize;
            self.used &= self.used - 1;
            self.entries[index * part..][..part].fill(EMPTY);
        }
        self.superpages = [None; 2];
        self.flush_jumps();
    }

    fn flush_jumps(&mut self) {
        if self.jump_pages != [0; 16] {
            self.clear_jumps();
        }
    }

    fn flush_page(&mut self, address: u64) {
        if self.superpages[half(address)].is_some_and(|(l, h)| (l..=h).contains(&address)) {
            self.flush();
            return;
        }
        let page = address >> PAGE_SHIFT;
        let index = page as usize & (self.entries.len() - 1);
        self.entries[index] = EMPTY;
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

/// How many entries have a bit of [`Member::used`] in common.
fn part_size(entries: &[Entry]) -> usize {
    entries.len().div_ceil(u64::BITS as usize)
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
    spaces: [AddressSpace; SPACES],
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
        let with_jumps = || Member::new(entries, jumps);
        let mut members = vec![with_jumps(), with_jumps()];
        let spaces = std::array::from_fn(|index| {
            members.push(with_jumps());
            members.push(Member::new(entries, 0));
            AddressSpace {
                // No legal value until it is chosen, but for the one that harts start with.
                satp: if index == 0 { 0 } else { u64::MAX },
                chosen: 0,
                user: members.len() - 2,
                supervisor_user_memory: members.len() - 1,
            }
        });
        Self {
            members,
            spaces,
            current: 0,
            choices: 0,
            supervisor_private: false,
            changes: 0,
        }
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
        self.current = known.unwrap_or_else(|| {
            let oldest = (0..SPACES)
                .min_by_key(|&index| self.spaces[index].chosen)
                .unwrap_or(0);
            self.flush_space(oldest);
            self.spaces[oldest].satp = satp;
            oldest
        });
        self.spaces[self.current].chosen = self.choices;
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

    /// Forgets the pages of the address spaces with identifier `asid`, but need not forget
    /// global ones.
    pub(crate) fn flush_asid(&mut self, asid: u64) {
        for index in 0..SPACES {
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
        let entries = self.members.iter_mut().filter(|member| member.used != 0);
        for entry in entries.flat_map(|member| member.entries.iter_mut()) {
            entry.write = NEVER;
        }
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
