//! Where things are in a program's memory.

use super::super::machine::BASE;

/// After the entry point and the handler in M-mode, which have the first page.
pub(super) const CODE: u64 = BASE + 0x1000;
/// Where S-mode takes interrupts.
pub(super) const SUPERVISOR_HANDLER: u64 = CODE + 0x200;
pub(super) const CODE_END: u64 = BASE + 0x3_0000;
/// Doublewords that are worth computing with; only readable where addresses are translated.
pub(super) const POOL: u64 = BASE + 0x3_0000;
pub(super) const POOL_ENTRIES: u64 = 256;
/// Targets of computed jumps: [`TARGETS`] doublewords a function.
pub(super) const JUMP_TABLES: u64 = BASE + 0x3_1000;
pub(super) const TARGETS: u64 = 8;
/// The handler's own.
pub(super) const FRAME: u64 = BASE + 0x3_2000;
/// Pages to read and write.
pub(super) const DATA: u64 = BASE + 0x3_4000;
pub(super) const DATA_SIZE: u64 = 0x4000;
/// Pages whose mappings come and go.
pub(super) const FLIPPING: u64 = DATA + DATA_SIZE;
pub(super) const FLIPPING_PAGES: u64 = 4;
pub(super) const STACK: u64 = BASE + 0x4_0000;
pub(super) const STACK_END: u64 = STACK + 0x4000;
/// Pages of code that are mapped at [`WINDOWS`].
pub(super) const WINDOW_CODE: u64 = BASE + 0x5_0000;
pub(super) const WINDOW_PAGES: u64 = 4;
/// Page tables.
pub(super) const TABLES: u64 = BASE + 0x6_0000;
pub(super) const TABLES_END: u64 = BASE + 0x8_0000;
pub(super) const IMAGE_SIZE: usize = (TABLES_END - BASE) as usize;

/// What is added to a physical address where U-mode finds it.
pub(super) const USER_ALIAS: u64 = 1 << 32;
/// The same for S-mode with one large page that may be read, written and executed.
pub(super) const LARGE_ALIAS: u64 = 2 << 32;
/// A page that nothing maps.
pub(super) const UNMAPPED: u64 = 0x3_c000_0000;
/// Where every address space has other pages of [`WINDOW_CODE`].
pub(super) const WINDOWS: u64 = 0x3_0000_0000;
/// Number of address spaces; each has its index plus one for ASID.
pub(super) const SPACES: u64 = 3;
/// No memory, and no device.
pub(super) const NOWHERE: u64 = 0x600_0000;

/// Offsets in [`FRAME`].
pub(super) mod frame {
    pub(in super::super) const SAVED: i32 = 0;
    /// Number of exceptions.
    pub(in super::super) const TRAPS: i32 = 0x40;
    /// The alias to use in U-mode.
    pub(in super::super) const ALIAS: i32 = 0x48;
    /// From which the time to the next timer interrupt comes.
    pub(in super::super) const DELAY: i32 = 0x50;
}
