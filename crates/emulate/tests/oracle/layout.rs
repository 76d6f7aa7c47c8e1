//! Where things are in a test program's memory.

/// Where memory and the program begin.
pub(crate) const BASE: u64 = 0x8000_0000;
/// Size of memory in bytes.
pub(crate) const RAM_SIZE: u64 = 1 << 20;
/// Constants that random instructions load: [`POOL_ENTRIES`] doublewords.
pub(crate) const POOL: u64 = 0x8000_c000;
pub(crate) const POOL_ENTRIES: u64 = 256;
/// A store here ends the program. Spike polls the doubleword (HTIF); under Clade it is a device.
/// Below 2 GiB, so that `lui` reaches it.
pub(crate) const TO_HOST: u64 = 0x7000_0000;

/// The core-local interruptor, where both have it.
pub(crate) const CLINT: u64 = 0x200_0000;

/// What is compared after a run begins here, with the frame.
pub(crate) const SIGNATURE: u64 = 0x8001_0000;
/// What random loads and stores reach. A page boundary lies in the middle.
pub(crate) const SCRATCH: u64 = SIGNATURE + 0xe00;
pub(crate) const SCRATCH_SIZE: u64 = 0x400;
/// What is compared ends here.
pub(crate) const SIGNATURE_END: u64 = SIGNATURE + 0x4000;

/// Offsets in the frame, to which `mscratch` points while random instructions run.
pub(crate) mod frame {
    /// The integer registers, first as the program begins, then as it ends.
    pub(crate) const X: i32 = 0;
    /// The floating-point registers, likewise.
    pub(crate) const F: i32 = 0x100;
    pub(crate) const FCSR: i32 = 0x200;
    pub(crate) const INSTRET: i32 = 0x208;
    /// Number of traps taken.
    pub(crate) const TRAPS: i32 = 0x210;
    /// How often the random instructions are still to be run.
    pub(crate) const LOOPS: i32 = 0x218;
    /// Where the handler keeps registers.
    pub(crate) const SAVED: i32 = 0x220;
    /// The traps taken, the last [`LOG_ENTRIES`] of them in a ring.
    pub(crate) const LOG: i32 = 0x400;
    pub(crate) const LOG_ENTRIES: i32 = 64;
    /// Each has `mcause`, `mtval`, `mepc` and `mstatus`.
    pub(crate) const LOG_ENTRY_SHIFT: i32 = 5;
}

/// The memory of programs that probe the privileged architecture.
pub(crate) mod privileged {
    use clade_riscv::csr::address::*;

    use super::{BASE, SIGNATURE};

    /// Probes: code of S-mode and M-mode. The first is S-mode's trap handler.
    pub(crate) const SUPERVISOR_CODE: u64 = BASE + 0x4000;
    /// The same probes, for U-mode.
    pub(crate) const USER_CODE: u64 = BASE + 0x5000;
    /// Size of a probe in bytes.
    pub(crate) const SLOT: u64 = 16;
    /// The root page table, and the tables that map the probes.
    pub(crate) const OWN_TABLES: u64 = BASE + 0x6000;
    /// The records that say what to do.
    pub(crate) const RECORDS_AT: u64 = BASE + 0x1_8000;
    /// What always stays accessible, whatever the records do.
    pub(crate) const OWN_MEMORY: u64 = BASE;
    pub(crate) const OWN_MEMORY_SIZE: u64 = 0x4_0000;

    /// What random page tables map.
    pub(crate) const DATA: u64 = BASE + 0x4_0000;
    pub(crate) const DATA_SIZE: u64 = 0x1_0000;
    /// Random page tables.
    pub(crate) const TABLES: u64 = BASE + 0x5_0000;
    pub(crate) const TABLE_PAGES: u64 = 128;
    /// What random PMP entries protect.
    pub(crate) const TESTED_MEMORY: u64 = DATA;
    pub(crate) const TESTED_MEMORY_SIZE: u64 = 0x4_0000;

    /// The log: an entry for each probe, with `a0`, `a1` and the CSRs in [`LOG_CSRS`].
    pub(crate) const LOG_AT: u64 = SIGNATURE + 0x1200;
    pub(crate) const LOG_ENTRY: u64 = 80;
    pub(crate) const LOG_CSRS: [u16; 8] =
        [MCAUSE, MTVAL, MEPC, MSTATUS, SCAUSE, STVAL, SEPC, MINSTRET];
}

/// Whether the doubleword at this offset in the signature is the cause of a trap.
pub(crate) fn is_trap_cause(offset: usize) -> bool {
    let log = frame::LOG as usize;
    let size = (frame::LOG_ENTRIES as usize) << frame::LOG_ENTRY_SHIFT;
    (log..log + size).contains(&offset) && offset % (1 << frame::LOG_ENTRY_SHIFT) == log % 32
}

/// What a human calls the doubleword at this offset in the signature.
pub(crate) fn describe(offset: usize) -> String {
    let index = |start: i32| (offset as i32 - start) / 8;
    match offset as i32 {
        at if at < frame::F => format!("x{}", index(frame::X)),
        at if at < frame::FCSR => format!("f{}", index(frame::F)),
        frame::FCSR => "fcsr".into(),
        frame::INSTRET => "minstret".into(),
        frame::TRAPS => "the number of traps".into(),
        at if (frame::LOG..frame::LOG + 2048).contains(&at) => {
            let names = ["mcause", "mtval", "mepc", "mstatus"];
            let index = index(frame::LOG);
            let field = names[index as usize % 4];
            format!("{field} of trap {}", index / 4)
        }
        at if at as u64 >= privileged::LOG_AT - SIGNATURE => {
            let words = privileged::LOG_ENTRY as usize / 8;
            let index = (offset - (privileged::LOG_AT - SIGNATURE) as usize) / 8;
            let field = match index % words {
                at @ 0..2 => format!("a{at}"),
                at => clade_riscv::isa::csr_name(privileged::LOG_CSRS[at - 2]).unwrap_or_default(),
            };
            format!("{field} of probe {}", index / words)
        }
        at => {
            let address = SIGNATURE + at as u64;
            format!("memory at {address:#x}")
        }
    }
}
