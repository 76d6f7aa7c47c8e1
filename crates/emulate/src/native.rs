//! What a hart keeps for generated code, and generated code for the hart.
//!
//! Between two runs of generated code nothing here is part of the guest's state: it is made anew
//! from the hart before every run.

use clade_engine::Exit;

/// Everything that generated code reads and writes beside the hart's registers.
#[derive(Default)]
pub(crate) struct JitState {
    /// Address of the TLB's entries for loads and stores.
    pub(crate) data_tlb: usize,
    /// Address of the cache of jumps for the current mode and address space.
    pub(crate) jumps: usize,
    /// Virtual address of the page whose code is executed.
    pub(crate) pc_page: u64,
    /// What `hart.retired` may come to before the run ends.
    pub(crate) limit: u64,
    /// `limit` minus the instructions retired, when generated code is left.
    pub(crate) budget: i64,
    /// 1 when floating-point instructions may run as they are: `mstatus.FS` is dirty already, and
    /// `frm` is a mode that the host has.
    pub(crate) float_ready: u8,
    /// 1 when `cbo.zero` is allowed in the current mode.
    pub(crate) zero_ready: u8,
    /// The host's MXCSR while generated code runs.
    pub(crate) host_mxcsr: u32,
    /// The guest's rounding mode and accrued flags, as an MXCSR.
    pub(crate) guest_mxcsr: u32,
    /// The displacement to patch once the code that a jump leads to exists.
    pub(crate) link_site: u32,
    /// The page that it stands in.
    pub(crate) link_page: u32,
    /// Code that was found by its place in guest memory.
    pub(crate) found: crate::found_code::FoundCode,
    /// What `run` must return.
    pub(crate) exit: Option<Exit>,
    /// When this hart last executed `fence.i`, in the translator's count.
    pub(crate) fence: u64,
    /// The jump that brought the hart to `hart.pc`, to be linked.
    pub(crate) link: Option<crate::translator::Link>,
    /// What happened.
    pub(crate) stats: crate::stats::Stats,
}
