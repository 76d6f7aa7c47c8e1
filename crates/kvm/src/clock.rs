//! A machine's time on KVM: each vCPU's time-stamp counter, and the clock that KVM tells Linux.
//!
//! They run with the host's. To make them stand still while a machine does, they are read when it
//! stops and set back when it goes on.

use clade_engine::EngineError;
use kvm_bindings::kvm_clock_data;
use kvm_ioctls::{VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use crate::engine::refused;
use crate::msr::{self, Msr, TSC, TSC_DEADLINE};

/// The time of a vCPU that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoppedTsc {
    /// The time-stamp counter.
    counter: u64,
    /// When the local APIC's timer goes off, 0 if it does not.
    deadline: u64,
}

impl StoppedTsc {
    pub(crate) fn read(fd: &VcpuFd) -> Result<Self, EngineError> {
        // The deadline first: it is 0 once it has passed.
        let deadline = msr::read_one(fd, TSC_DEADLINE)?;
        let counter = msr::read_one(fd, TSC)?;
        Ok(Self { counter, deadline })
    }

    /// Makes KVM take the next counter that is written as it is: one that is within a second of what
    /// the machine's counters show it takes for an attempt to make them equal, and does that.
    pub(crate) fn leave_others(self, fd: &VcpuFd) -> Result<(), EngineError> {
        msr::write(fd, &[Msr(TSC, self.counter ^ 1 << 62)])
    }

    pub(crate) fn write(self, fd: &VcpuFd) -> Result<(), EngineError> {
        msr::write(fd, &[Msr(TSC, self.counter)])?;
        // Afterwards, for KVM's own timer is set by the difference of the two.
        match self.deadline {
            0 => Ok(()),
            deadline => msr::write(fd, &[Msr(TSC_DEADLINE, deadline)]),
        }
    }
}

/// What the machine's KVM clock shows, in nanoseconds.
pub(crate) fn read(vm: &VmFd) -> Result<u64, EngineError> {
    let clock = vm.get_clock().map_err(refused("a machine's clock"))?;
    Ok(clock.clock)
}

/// Makes the machine's KVM clock go on from `ns`.
pub(crate) fn write(vm: &VmFd, ns: u64) -> Result<(), EngineError> {
    vm.set_clock(&kvm_clock_data {
        clock: ns,
        ..kvm_clock_data::default()
    })
    .map_err(refused("to set a machine's clock"))
}

/// Tells the guest's watchdogs that it stood still.
pub(crate) fn tell(fd: &VcpuFd) -> Result<(), EngineError> {
    match fd.kvmclock_ctrl() {
        // A guest that does not use the clock has no such watchdogs.
        Err(error) if error.errno() == libc::EINVAL => Ok(()),
        result => result.map_err(refused("to tell a guest that it stood still")),
    }
}
