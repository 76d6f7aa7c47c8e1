//! Where things are in a test program's memory.

/// Where memory and the program begin.
pub const BASE: u64 = 0x8000_0000;
/// Size of memory in bytes.
pub const RAM_SIZE: u64 = 1 << 20;
/// Constants that random instructions load: [`POOL_ENTRIES`] doublewords.
pub const POOL: u64 = 0x8000_c000;
pub const POOL_ENTRIES: u64 = 256;
/// A store here ends the program. Spike polls the doubleword (HTIF); under Clade it is a device.
/// Below 2 GiB, so that `lui` reaches it.
pub const TO_HOST: u64 = 0x7000_0000;

/// What is compared after a run begins here, with the frame.
pub const SIGNATURE: u64 = 0x8001_0000;
/// What random loads and stores reach. A page boundary lies in the middle.
pub const SCRATCH: u64 = SIGNATURE + 0xe00;
pub const SCRATCH_SIZE: u64 = 0x400;
/// What is compared ends here.
pub const SIGNATURE_END: u64 = SCRATCH + SCRATCH_SIZE;

/// Offsets in the frame, to which `mscratch` points while random instructions run.
pub mod frame {
    /// The integer registers, first as the program begins, then as it ends.
    pub const X: i32 = 0;
    /// The floating-point registers, likewise.
    pub const F: i32 = 0x100;
    pub const FCSR: i32 = 0x200;
    pub const INSTRET: i32 = 0x208;
    /// Number of traps taken.
    pub const TRAPS: i32 = 0x210;
    /// How often the random instructions are still to be run.
    pub const LOOPS: i32 = 0x218;
    /// Where the handler keeps registers.
    pub const SAVED: i32 = 0x220;
    /// The traps taken, the last [`LOG_ENTRIES`] of them in a ring.
    pub const LOG: i32 = 0x400;
    pub const LOG_ENTRIES: i32 = 64;
    /// Each has `mcause`, `mtval`, `mepc` and `mstatus`.
    pub const LOG_ENTRY_SHIFT: i32 = 5;
}

/// What a human calls the doubleword at this offset in the signature.
pub fn describe(offset: usize) -> String {
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
        at => {
            let address = SIGNATURE + at as u64;
            format!("memory at {address:#x}")
        }
    }
}
