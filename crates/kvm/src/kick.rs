//! Interrupting `KVM_RUN`.
//!
//! A kick sets `immediate_exit` in the vCPU's shared page and then sends its thread a signal. Whether
//! the signal comes before the thread enters the kernel or after, `KVM_RUN` fails with `EINTR`: it
//! looks at the field first. Before it fails it completes an access whose answer was still to be taken
//! over, so a vCPU that was kicked is between two instructions.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use clade_engine::VcpuHandle;

use crate::vcpu::Shared;

/// A vCPU's part in it.
#[derive(Default)]
pub(crate) struct Kick {
    wanted: AtomicBool,
    /// The thread that runs the vCPU, 0 if none does.
    thread: AtomicI32,
}

impl Kick {
    /// From here on the calling thread is the one to interrupt.
    pub(crate) fn enter(&self) -> Inside<'_> {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        self.thread.store(thread, Ordering::SeqCst);
        Inside(self)
    }

    /// Whether somebody kicked since this was last asked.
    pub(crate) fn take(&self, shared: &Shared) -> bool {
        // The flag last: a kick between the two is then seen at the next exit.
        shared.page.immediate_exit().store(0, Ordering::SeqCst);
        self.wanted.swap(false, Ordering::SeqCst)
    }
}

/// While a thread runs the vCPU.
pub(crate) struct Inside<'a>(&'a Kick);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.thread.store(0, Ordering::SeqCst);
    }
}

impl VcpuHandle for Shared {
    fn kick(&self) {
        self.kick.wanted.store(true, Ordering::SeqCst);
        self.page.immediate_exit().store(1, Ordering::SeqCst);
        let thread = self.kick.thread.load(Ordering::SeqCst);
        if thread != 0 {
            // A thread that has ended meanwhile cannot be interrupted, nor need it be.
            // SAFETY: no memory is passed; the signal has a handler that does nothing.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal()) };
        }
    }
}

/// The signal that does nothing but interrupt.
fn signal() -> libc::c_int {
    libc::SIGRTMIN()
}

/// Gives the signal its handler, once in a process: by default it would end it.
pub(crate) fn prepare() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    static RESULT: OnceLock<Result<(), i32>> = OnceLock::new();
    let result = RESULT.get_or_init(|| {
        // SAFETY: an all-zero `sigaction` is valid: no flags (not SA_RESTART, which would undo the
        // interruption), an empty mask. The handler touches nothing, so it may run anywhere.
        let failed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(signal(), &action, std::ptr::null_mut())
        };
        match failed {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        }
    });
    result.map_err(io::Error::from_raw_os_error)
}
