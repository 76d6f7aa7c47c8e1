//! What the rest of the machine sees of a hart: its wires, its timer comparator and its mailbox.
//!
//! Everything here may be called from any thread. The hart looks at [`Port::attention`] between
//! blocks; whoever changes something sets it and wakes the hart if it sleeps.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use clade_engine::{IrqLine, VcpuHandle};
use clade_riscv::hart::Mode;
use clade_riscv::imsic::InterruptFile;
use clade_riscv::trap::interrupt;

use crate::hsm::HsmState;
use crate::stats::Stats;

/// What other threads ask of a hart, as bits.
pub(crate) mod request {
    /// Return from `run`.
    pub(crate) const KICK: u32 = 1 << 0;
    /// Raise the supervisor software interrupt.
    pub(crate) const SOFTWARE_INTERRUPT: u32 = 1 << 1;
    /// Forget decoded instructions.
    pub(crate) const FENCE_I: u32 = 1 << 2;
    /// Forget translations.
    pub(crate) const FENCE_VMA: u32 = 1 << 3;
    /// Forget cached rights to write.
    pub(crate) const REVOKE_WRITES: u32 = 1 << 4;
    /// Forget where translated code is.
    pub(crate) const FORGET_CODE: u32 = 1 << 5;
}

/// A hart's IMSIC.
#[derive(Default)]
pub(crate) struct InterruptFiles {
    machine: InterruptFile,
    supervisor: InterruptFile,
}

impl InterruptFiles {
    /// Their signals, as bits of `mip`.
    fn signals(&self) -> u64 {
        let signal = |file: &InterruptFile, bit| if file.signals() { bit } else { 0 };
        signal(&self.machine, interrupt::MEI) | signal(&self.supervisor, interrupt::SEI)
    }

    /// The interrupt file of a level; U-mode has none, so that S-mode's is as good.
    pub(crate) fn at(&self, level: Mode) -> &InterruptFile {
        match level {
            Mode::Machine => &self.machine,
            Mode::Supervisor | Mode::User => &self.supervisor,
        }
    }
}

/// One hart, seen from outside.
pub(crate) struct Port {
    attention: AtomicBool,
    requests: AtomicU32,
    /// Levels of the wires into `mip`.
    lines: AtomicU64,
    imsic: Option<InterruptFiles>,
    /// The CLINT's comparator, in ticks.
    mtimecmp: AtomicU64,
    /// The hart executes guest instructions, or is about to without looking at `requests` first.
    executing: AtomicBool,
    sleeping: AtomicBool,
    thread: Mutex<Option<Thread>>,
    hsm: Mutex<HsmState>,
    /// What the hart had done when it last stopped executing.
    stats: Mutex<Stats>,
}

impl Port {
    pub(crate) fn new(hsm: HsmState, imsic: Option<InterruptFiles>) -> Self {
        Self {
            attention: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            lines: AtomicU64::new(0),
            imsic,
            mtimecmp: AtomicU64::new(u64::MAX),
            executing: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            thread: Mutex::new(None),
            hsm: Mutex::new(hsm),
            stats: Mutex::default(),
        }
    }

    /// Whether there is something for the hart to look at.
    #[inline(always)]
    pub(crate) fn attention(&self) -> bool {
        self.attention.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Takes all requests. What is asked from here on sets `attention` anew.
    pub(crate) fn take_requests(&self) -> u32 {
        self.attention.store(false, SeqCst);
        self.requests.swap(0, SeqCst)
    }

    /// Asks the hart for something.
    pub(crate) fn request(&self, bits: u32) {
        self.requests.fetch_or(bits, SeqCst);
        self.notify();
    }

    /// Whether any of `bits` was asked and not yet done.
    pub(crate) fn is_requested(&self, bits: u32) -> bool {
        self.requests.load(SeqCst) & bits != 0
    }

    /// Takes back what was asked.
    pub(crate) fn withdraw(&self, bits: u32) {
        self.requests.fetch_and(!bits, SeqCst);
    }

    /// Makes the hart look up soon.
    pub(crate) fn notify(&self) {
        self.attention.store(true, SeqCst);
        if self.sleeping.load(SeqCst)
            && let Some(thread) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner)
        {
            thread.unpark();
        }
    }

    /// Whether the hart may still execute instructions under the state that `bits` change. Once
    /// false, it will see the request before its next instruction.
    pub(crate) fn is_pending(&self, bits: u32) -> bool {
        self.requests.load(SeqCst) & bits != 0 && self.executing.load(SeqCst)
    }

    /// Called by the hart's thread when it begins to execute, before it takes its requests.
    pub(crate) fn set_executing(&self, executing: bool) {
        self.executing.store(executing, SeqCst);
    }

    /// The calling thread is the hart's from now on.
    pub(crate) fn adopt_current_thread(&self) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
    }

    /// Sleeps until something needs attention, or for `timeout` at the longest. May wake early.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) {
        self.sleeping.store(true, SeqCst);
        if !self.attention.load(SeqCst) {
            match timeout {
                Some(timeout) => thread::park_timeout(timeout),
                None => thread::park(),
            }
        }
        self.sleeping.store(false, SeqCst);
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(SeqCst)
    }

    /// The bits of `mip` that come from outside: wires, and the IMSIC's signals.
    pub(crate) fn interrupts(&self) -> u64 {
        self.lines() | self.imsic.as_ref().map_or(0, InterruptFiles::signals)
    }

    /// The interrupt files, if the hart has an IMSIC.
    pub(crate) fn imsic(&self) -> Option<&InterruptFiles> {
        self.imsic.as_ref()
    }

    /// Makes an interrupt pending at a level.
    pub(crate) fn signal(&self, level: Mode, identity: u32) {
        if let Some(files) = &self.imsic
            && files.at(level).set_pending(identity)
        {
            self.notify();
        }
    }

    pub(crate) fn set_line(&self, bit: u64, asserted: bool) {
        let old = if asserted {
            self.lines.fetch_or(bit, SeqCst)
        } else {
            self.lines.fetch_and(!bit, SeqCst)
        };
        if asserted && old & bit == 0 {
            self.notify();
        }
    }

    pub(crate) fn set_lines(&self, lines: u64) {
        self.lines.store(lines, SeqCst);
        self.notify();
    }

    pub(crate) fn mtimecmp(&self) -> u64 {
        self.mtimecmp.load(SeqCst)
    }

    pub(crate) fn set_mtimecmp(&self, ticks: u64) {
        self.mtimecmp.store(ticks, SeqCst);
        self.notify();
    }

    /// What the hart had done when it last stopped executing.
    pub(crate) fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells others what the hart has done.
    pub(crate) fn publish_stats(&self, stats: Stats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    /// Runs `f` on the hart's state of life, alone.
    pub(crate) fn with_hsm<T>(&self, f: impl FnOnce(&mut HsmState) -> T) -> T {
        f(&mut self.hsm.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl VcpuHandle for Port {
    fn kick(&self) {
        self.request(request::KICK);
    }
}

/// A wire into one bit of a hart's `mip`.
pub(crate) struct HartLine {
    pub(crate) port: Arc<Port>,
    pub(crate) bit: u64,
}

impl IrqLine for HartLine {
    fn set_level(&self, asserted: bool) {
        self.port.set_line(self.bit, asserted);
    }
}
