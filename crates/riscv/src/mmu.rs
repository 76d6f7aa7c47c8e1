//! Address translation: Sv39, Sv48 and Sv57 with Svadu, Svnapot and Svpbmt (privileged spec 12.3 to
//! 12.6, chapters on Svnapot, Svpbmt and Svadu).

use crate::csr::{Csrs, envcfg, satp, status};
use crate::hart::Mode;
use crate::pmp::{Pmp, Verdict};
use crate::trap::{Exception, Trap};

/// What an instruction does with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Loads, LR and cache-block management.
    Read,
    /// Stores, SC and AMOs.
    Write,
    /// Instruction fetch.
    Execute,
}

impl Access {
    /// The trap of an access that no page-table entry allows.
    pub fn page_fault(self, address: u64) -> Trap {
        let cause = match self {
            Self::Read => Exception::LoadPageFault,
            Self::Write => Exception::StorePageFault,
            Self::Execute => Exception::InstructionPageFault,
        };
        Trap::new(cause, address)
    }

    /// The trap of an access that physical memory refuses.
    pub fn access_fault(self, address: u64) -> Trap {
        let cause = match self {
            Self::Read => Exception::LoadAccessFault,
            Self::Write => Exception::StoreAccessFault,
            Self::Execute => Exception::InstructionAccessFault,
        };
        Trap::new(cause, address)
    }

    /// The trap of an access whose alignment is not supported.
    pub fn misaligned(self, address: u64) -> Trap {
        let cause = match self {
            Self::Read => Exception::LoadAddressMisaligned,
            Self::Write => Exception::StoreAddressMisaligned,
            Self::Execute => Exception::InstructionAddressMisaligned,
        };
        Trap::new(cause, address)
    }
}

/// Memory that holds page tables.
pub trait PageTableMemory {
    /// Loads the entry at physical address `address`, a multiple of 8, in one piece; `None` when
    /// there is no memory there.
    fn load_entry(&self, address: u64) -> Option<u64>;

    /// Replaces `old` by `new` at `address` in one piece; `Some(false)` when the entry is no
    /// longer `old`, `None` when there is no writable memory there.
    fn replace_entry(&self, address: u64, old: u64, new: u64) -> Option<bool>;
}

/// The registers that a translation depends on, besides the page tables.
#[derive(Debug, Clone, Copy)]
pub struct Space<'a> {
    /// The mode whose rules apply.
    pub mode: Mode,
    /// The hart's CSRs: `satp`, `mstatus`, `menvcfg` and the PMP entries count.
    pub csrs: &'a Csrs,
}

/// Where a virtual page is, and what may be done there without asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// The physical address of the translated byte.
    pub physical: u64,
    /// The size in bytes of the naturally aligned range that the same leaf maps.
    pub page_size: u64,
    /// All address spaces share the leaf.
    pub global: bool,
    /// Loads are allowed.
    pub readable: bool,
    /// Stores are allowed, and the dirty bit is set already.
    pub writable: bool,
    /// Fetches are allowed.
    pub executable: bool,
}

const V: u64 = 1 << 0;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const G: u64 = 1 << 5;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;
const PPN_SHIFT: u32 = 10;
const RESERVED: u64 = 0x7f << 54;
const PBMT_SHIFT: u32 = 61;
const PBMT: u64 = 3 << PBMT_SHIFT;
const N: u64 = 1 << 63;
const PAGE_SHIFT: u32 = 12;
const BITS_PER_LEVEL: u32 = 9;

/// Translates `address` for `access`, setting A and D bits when the hardware is to do so.
///
/// # Errors
/// The page or access fault that the instruction must take, with `address` in `xtval`.
pub fn translate(
    space: Space<'_>,
    memory: &impl PageTableMemory,
    address: u64,
    access: Access,
) -> Result<Translation, Trap> {
    let levels = match space.csrs.satp >> satp::MODE_SHIFT {
        _ if space.mode == Mode::Machine => return Ok(identity(address)),
        satp::SV39 => 3,
        satp::SV48 => 4,
        satp::SV57 => 5,
        _ => return Ok(identity(address)),
    };
    let width = PAGE_SHIFT + BITS_PER_LEVEL * levels;
    let unused = 64 - width;
    if ((address << unused) as i64 >> unused) as u64 != address {
        return Err(access.page_fault(address));
    }
    // The walk restarts when another hart changed the leaf between our load and our update.
    loop {
        let leaf = walk(space, memory, address, access, levels)?;
        if let Some(translation) = use_leaf(space, memory, address, access, leaf)? {
            return Ok(translation);
        }
    }
}

fn identity(address: u64) -> Translation {
    Translation {
        physical: address,
        page_size: 1 << PAGE_SHIFT,
        global: false,
        readable: true,
        writable: true,
        executable: true,
    }
}

struct Leaf {
    entry: u64,
    /// The entry, or one on the way to it, has G set.
    global: bool,
    entry_address: u64,
    page_size: u64,
}

/// Steps 1 to 4 of the algorithm in 12.3.2: down to a well-formed leaf.
fn walk(
    space: Space<'_>,
    memory: &impl PageTableMemory,
    address: u64,
    access: Access,
    levels: u32,
) -> Result<Leaf, Trap> {
    let pbmt_enabled = space.csrs.menvcfg & envcfg::PBMTE != 0;
    let mut table = (space.csrs.satp & satp::PPN) << PAGE_SHIFT;
    let mut global = false;
    for level in (0..levels).rev() {
        let shift = PAGE_SHIFT + BITS_PER_LEVEL * level;
        let entry_address = table + (address >> shift & 0x1ff) * 8;
        check_pmp(
            &space.csrs.pmp,
            entry_address,
            Access::Read,
            access,
            address,
        )?;
        let entry = memory
            .load_entry(entry_address)
            .ok_or_else(|| access.access_fault(address))?;
        if entry & V == 0 || entry & (R | W) == W || entry & RESERVED != 0 {
            return Err(access.page_fault(address));
        }
        let ppn = entry >> PPN_SHIFT & satp::PPN;
        global |= entry & G != 0;
        if entry & (R | X) == 0 {
            if entry & (D | A | U | PBMT | N) != 0 {
                return Err(access.page_fault(address));
            }
            table = ppn << PAGE_SHIFT;
            continue;
        }
        let pbmt = entry >> PBMT_SHIFT & 3;
        if pbmt == 3 || pbmt != 0 && !pbmt_enabled {
            return Err(access.page_fault(address));
        }
        let page_size = if entry & N != 0 {
            // The only encoding so far: 64 KiB, level 0, PPN[3:0] = 8.
            if level != 0 || ppn & 0xf != 8 {
                return Err(access.page_fault(address));
            }
            1 << 16
        } else {
            1 << shift
        };
        let misplaced = entry & N == 0 && (ppn << PAGE_SHIFT) & (page_size - 1) != 0;
        if misplaced {
            return Err(access.page_fault(address));
        }
        return Ok(Leaf {
            entry,
            global,
            entry_address,
            page_size,
        });
    }
    Err(access.page_fault(address))
}

/// Steps 5 to 9: permissions, A and D. `None` when the entry changed meanwhile.
fn use_leaf(
    space: Space<'_>,
    memory: &impl PageTableMemory,
    address: u64,
    access: Access,
    leaf: Leaf,
) -> Result<Option<Translation>, Trap> {
    let Leaf {
        mut entry,
        global,
        entry_address,
        page_size,
    } = leaf;
    let (readable, writable, executable) = permissions(space, entry);
    let allowed = match access {
        Access::Read => readable,
        Access::Write => writable,
        Access::Execute => executable,
    };
    if !allowed {
        return Err(access.page_fault(address));
    }
    let needed = if access == Access::Write { A | D } else { A };
    if entry & needed != needed {
        if space.csrs.menvcfg & envcfg::ADUE == 0 {
            return Err(access.page_fault(address));
        }
        check_pmp(
            &space.csrs.pmp,
            entry_address,
            Access::Write,
            access,
            address,
        )?;
        match memory.replace_entry(entry_address, entry, entry | needed) {
            Some(true) => entry |= needed,
            Some(false) => return Ok(None),
            None => return Err(access.access_fault(address)),
        }
    }
    let frame = (entry >> PPN_SHIFT & satp::PPN) << PAGE_SHIFT;
    let offset_mask = page_size - 1;
    Ok(Some(Translation {
        physical: frame & !offset_mask | address & offset_mask,
        page_size,
        global,
        readable,
        writable: writable && entry & D != 0,
        executable,
    }))
}

/// What the leaf allows in this space: U, SUM and MXR applied.
fn permissions(space: Space<'_>, entry: u64) -> (bool, bool, bool) {
    let mstatus = space.csrs.mstatus;
    let user_page = entry & U != 0;
    let supervisor = space.mode != Mode::User;
    let reachable = if supervisor {
        !user_page || mstatus & status::SUM != 0
    } else {
        user_page
    };
    let readable = entry & R != 0 || mstatus & status::MXR != 0 && entry & X != 0;
    // S-mode never executes a user page, whatever SUM says.
    let executable = entry & X != 0 && user_page != supervisor;
    (
        reachable && readable,
        reachable && entry & W != 0,
        executable,
    )
}

/// Page tables are accessed as S-mode would; a refusal is reported for the original access.
fn check_pmp(
    pmp: &Pmp,
    entry_address: u64,
    entry_access: Access,
    access: Access,
    address: u64,
) -> Result<(), Trap> {
    match pmp.check(entry_address, 8, entry_access, Mode::Supervisor) {
        Verdict::Allowed => Ok(()),
        Verdict::Denied => Err(access.access_fault(address)),
    }
}
