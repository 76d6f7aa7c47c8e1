//! One hart with what it runs on: registers, TLB, memory, buses, time.

use std::sync::Arc;
use std::time::Duration;

use clade_engine::{Exit, IoBus};
use clade_riscv::csr::{self, Csrs, envcfg, status};
use clade_riscv::hart::{Hart, Mode};
use clade_riscv::imsic::InterruptFile;
use clade_riscv::trap::{self, Trap, interrupt};

use crate::found_code::FoundCode;
use crate::hsm::{Entry, HsmState};
use crate::memory::GuestMemory;
use crate::native::JitState;
use crate::port::{Port, request};
use crate::sbi::Sbi;
use crate::time::Timebase;
use crate::tlb::{Context, MemberIndex, Tlb};
use crate::translator::Translator;
use crate::tuning::Tuning;

/// A hart that has slept for so long gives back the memory of what it can find again, which takes it a
/// fraction of a millisecond.
const DOZE: Duration = Duration::from_millis(200);

/// What LR saw; SC succeeds when memory still holds it. Generated code reads and writes this.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reservation {
    /// The reserved memory's address in this process, or 0 for none.
    pub(crate) host: usize,
    /// In bytes, 4 or 8.
    pub(crate) size: u64,
    /// Zero-extended.
    pub(crate) value: u64,
}

/// What all harts of a machine share.
pub(crate) struct Shared {
    pub(crate) memory: GuestMemory,
    pub(crate) bus: Arc<dyn IoBus>,
    pub(crate) time: Timebase,
    pub(crate) ports: Vec<Arc<Port>>,
    /// The built-in SBI, unless real firmware runs in M-mode.
    pub(crate) sbi: Option<Sbi>,
    pub(crate) tuning: Tuning,
    /// Where the host has one and `tuning` wants it.
    pub(crate) translator: Option<Translator>,
}

/// One hart.
pub(crate) struct Core {
    pub(crate) hart: Hart,
    pub(crate) tlb: Tlb,
    pub(crate) shared: Arc<Shared>,
    pub(crate) port: Arc<Port>,
    pub(crate) reservation: Reservation,
    /// Set when decoded instructions must be compared with memory before they run again.
    pub(crate) instructions_stale: bool,
    /// Counts what the SBI's firmware counters report.
    pub(crate) firmware_events: crate::sbi::pmu::Pmu,
    /// How loads and stores translate now.
    pub(crate) data_context: Context,
    /// How fetches translate now.
    pub(crate) fetch_context: Context,
    /// The TLB's member for `data_context`.
    pub(crate) data_member: MemberIndex,
    /// The TLB's member for `fetch_context`.
    pub(crate) fetch_member: MemberIndex,
    /// What generated code keeps and finds.
    pub(crate) jit: JitState,
    /// Look at the clock when `hart.retired` gets here.
    clock_check: u64,
    /// Return to the caller when `hart.retired` gets here.
    pub(crate) stop_at: u64,
    /// Timer bits of `mip` when the clock was last looked at.
    timers: u64,
}

/// Gives CSR reads the time and the wires.
pub(crate) struct Environment<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) port: &'a Port,
}

impl csr::Environment for Environment<'_> {
    fn time(&mut self) -> u64 {
        self.shared.time.now()
    }

    fn pending(&mut self, csrs: &Csrs) -> u64 {
        self.port.interrupts() | expired_timers(self.shared, self.port, csrs)
    }

    fn interrupt_file(&self, level: Mode) -> Option<&InterruptFile> {
        self.port.imsic().map(|files| files.at(level))
    }
}

/// The timer bits of `mip` at this moment.
fn expired_timers(shared: &Shared, port: &Port, csrs: &Csrs) -> u64 {
    let now = shared.time.now();
    let machine = if now >= port.mtimecmp() {
        interrupt::MTI
    } else {
        0
    };
    let supervisor = if csrs.sstc_enabled() && now >= csrs.stimecmp {
        interrupt::STI
    } else {
        0
    };
    machine | supervisor
}

impl Core {
    pub(crate) fn new(hart: Hart, shared: Arc<Shared>, port: Arc<Port>) -> Self {
        let tlb = Tlb::new(shared.tuning.tlb_entries, shared.tuning.jump_entries);
        let machine = tlb.member(Context::Machine);
        let mut core = Self {
            hart,
            tlb,
            shared,
            port,
            reservation: Reservation::default(),
            instructions_stale: false,
            firmware_events: crate::sbi::pmu::Pmu::default(),
            data_context: Context::Machine,
            fetch_context: Context::Machine,
            data_member: machine,
            fetch_member: machine,
            jit: JitState::default(),
            clock_check: 0,
            stop_at: u64::MAX,
            timers: 0,
        };
        core.update_contexts();
        core
    }

    /// Replaces all registers.
    pub(crate) fn set_hart(&mut self, hart: Hart) {
        self.hart = hart;
        self.reservation = Reservation::default();
        self.instructions_stale = true;
        self.clock_check = self.hart.retired;
        self.tlb.flush();
        self.update_contexts();
    }

    /// Re-reads what the mode, `mstatus` and `satp` say about translation.
    pub(crate) fn update_contexts(&mut self) {
        let mstatus = self.hart.csrs.mstatus;
        let mode = self.hart.mode;
        self.tlb.choose(self.hart.csrs.satp);
        self.fetch_context = Context::of(mode);
        self.data_context = match self.hart.data_mode() {
            Mode::Supervisor if mstatus & status::SUM != 0 => Context::SupervisorUserMemory,
            mode => Context::of(mode),
        };
        self.fetch_member = self.tlb.member(self.fetch_context);
        self.data_member = self.tlb.member(self.data_context);
        self.jit.data_tlb = self.tlb.entries(self.data_context) as usize;
        self.jit.jumps = self.tlb.jumps(self.fetch_context) as usize;
        self.jit.zero_ready = u8::from(self.allows_cache_blocks(envcfg::CBZE));
    }

    /// Whether [`Core::poll`] is due before the next block.
    #[inline(always)]
    pub(crate) fn needs_poll(&self) -> bool {
        self.hart.retired >= self.clock_check || self.port.attention()
    }

    /// Looks at requests, clock and interrupts. `Some` when `run` must return.
    pub(crate) fn poll(&mut self) -> Option<Exit> {
        let kicked = self.serve_requests();
        self.read_clock();
        if kicked {
            return Some(Exit::Kicked);
        }
        self.deliver_interrupt();
        None
    }

    /// Does what other threads asked. True when one wants `run` to return.
    pub(crate) fn serve_requests(&mut self) -> bool {
        let requests = self.port.take_requests();
        if requests & request::SOFTWARE_INTERRUPT != 0 {
            self.hart.csrs.mip |= interrupt::SSI;
        }
        if requests & request::FENCE_I != 0 {
            self.instructions_stale = true;
        }
        if requests & request::FENCE_VMA != 0 {
            self.tlb.flush();
        }
        if requests & request::REVOKE_WRITES != 0 {
            self.tlb.revoke_writes();
        }
        if requests & request::FORGET_CODE != 0 {
            self.forget_code();
        }
        requests & request::KICK != 0
    }

    /// Forgets where translated code is.
    pub(crate) fn forget_code(&mut self) {
        self.tlb.flush_jumps();
        self.jit.found.forget();
        self.jit.link = None;
    }

    /// Brings the timers' interrupt bits up to date.
    pub(crate) fn read_clock(&mut self) {
        self.timers = expired_timers(&self.shared, &self.port, &self.hart.csrs);
        self.clock_check = self
            .hart
            .retired
            .saturating_add(self.shared.tuning.poll_interval);
    }

    /// `mip` as it stands, timers as of the last look at the clock.
    fn pending(&self) -> u64 {
        self.hart.csrs.mip | self.port.interrupts() | self.timers
    }

    /// Takes the interrupt that is due, if any.
    pub(crate) fn deliver_interrupt(&mut self) {
        let pending = self.pending();
        if let Some(bit) = trap::next_interrupt(self.hart.mode, &self.hart.csrs, pending) {
            trap::take_interrupt(&mut self.hart, bit);
            self.update_contexts();
        }
    }

    /// Looks at interrupts once an enable has changed, unless the hart is about to look at
    /// everything: a timer that was just set anew is seen then, not as it was before.
    pub(crate) fn recheck(&mut self) {
        if !self.port.attention() {
            self.deliver_interrupt();
        }
    }

    /// The count of retired instructions that no block should run beyond.
    pub(crate) fn horizon(&self) -> u64 {
        self.clock_check.min(self.stop_at)
    }

    /// Lets the horizon be here.
    pub(crate) fn cut_short(&mut self) {
        if self.clock_check <= self.stop_at {
            self.clock_check = self.hart.retired;
        } else {
            self.stop_at = self.hart.retired;
        }
    }

    /// Whether a block of `length` instructions may run as a whole before the next look at
    /// anything else.
    #[inline(always)]
    pub(crate) fn allows(&self, length: usize) -> bool {
        !self.shared.tuning.exact_polls || self.hart.retired + length as u64 <= self.horizon()
    }

    /// Takes an exception at `hart.pc`. It counts as an instruction towards the next look at the
    /// clock and towards the end of the run: a hart may do nothing but trap.
    pub(crate) fn take_exception(&mut self, trap: Trap) {
        self.clock_check = self.clock_check.saturating_sub(1);
        if self.stop_at != u64::MAX {
            self.stop_at = self.stop_at.saturating_sub(1);
        }
        trap::take_exception(&mut self.hart, trap);
        self.update_contexts();
    }

    /// Sleeps as WFI does until an enabled interrupt is pending, whether or not it would be taken
    /// (privileged spec 3.3.3), or `Some` when `run` must return.
    pub(crate) fn wait_for_interrupt(&mut self) -> Option<Exit> {
        loop {
            if self.serve_requests() {
                return Some(Exit::Kicked);
            }
            self.read_clock();
            if self.pending() & self.hart.csrs.mie != 0 {
                return None;
            }
            self.sleep(self.next_timer());
        }
    }

    /// Makes the hart live as its state in HSM says: waits while it is stopped or suspended, and
    /// enters where it was told to. `Some` when `run` must return.
    pub(crate) fn settle(&mut self) -> Option<Exit> {
        loop {
            match self.port.with_hsm(|state| *state) {
                HsmState::Started => return None,
                HsmState::Stopped => {
                    if self.serve_requests() {
                        return Some(Exit::Kicked);
                    }
                    // Requests were taken, and with them the word that the state has changed.
                    if self.port.with_hsm(|state| *state == HsmState::Stopped) {
                        self.sleep(None);
                    }
                }
                HsmState::StartPending(entry) => {
                    self.port.with_hsm(|state| *state = HsmState::Started);
                    self.enter_supervisor(entry);
                }
                HsmState::Suspended(entry) => {
                    if let Some(exit) = self.wait_for_interrupt() {
                        return Some(exit);
                    }
                    self.port.with_hsm(|state| *state = HsmState::Started);
                    if let Some(entry) = entry {
                        self.enter_supervisor(entry);
                    }
                }
            }
        }
    }

    /// Begins at `entry` in S-mode, untranslated, interrupts off (SBI spec, table 10).
    fn enter_supervisor(&mut self, entry: Entry) {
        let hart = &mut self.hart;
        hart.mode = Mode::Supervisor;
        hart.pc = entry.address;
        hart.x[10] = hart.csrs.mhartid;
        hart.x[11] = entry.opaque;
        hart.csrs.satp = 0;
        hart.csrs.mstatus &= !(status::SIE | status::MPRV);
        self.tlb.flush();
        self.instructions_stale = true;
        self.update_contexts();
    }

    fn sleep(&mut self, deadline: Option<u64>) {
        let shared = self.shared.clone();
        let timeout = || deadline.map(|at| Timebase::until(shared.time.now(), at));
        self.port.set_executing(false);
        if timeout().is_none_or(|timeout| timeout > DOZE) {
            self.port.sleep(Some(DOZE));
            if !self.port.attention() {
                self.shrink();
            }
        }
        self.port.sleep(timeout());
        self.port.set_executing(true);
    }

    /// Gives the memory back that holds what can be found again: an idle machine needs none.
    fn shrink(&mut self) {
        self.tlb.shrink();
        self.jit.found = FoundCode::default();
        self.update_contexts();
    }

    /// The time of the next timer interrupt that is enabled, in ticks.
    fn next_timer(&self) -> Option<u64> {
        let csrs = &self.hart.csrs;
        let machine = (csrs.mie & interrupt::MTI != 0).then(|| self.port.mtimecmp());
        let supervisor =
            (csrs.mie & interrupt::STI != 0 && csrs.sstc_enabled()).then_some(csrs.stimecmp);
        [machine, supervisor]
            .into_iter()
            .flatten()
            .filter(|&at| at != u64::MAX)
            .min()
    }
}
