//! The page that a vCPU shares with KVM (`struct kvm_run`), as far as `kvm-ioctls` does not decode it
//! or more than the vCPU's own thread needs it.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;

use kvm_bindings::kvm_run;
use kvm_ioctls::VcpuFd;

/// A pointer to a vCPU's shared page. Whoever has it keeps the [`VcpuFd`] that it is from, which maps
/// the page for as long as it lives.
pub(crate) struct RunPage(NonNull<kvm_run>);

// SAFETY: the page is plain memory; of the fields that are read and written through it, one is
// atomic, and the others are only for the thread that has the vCPU's lock.
unsafe impl Send for RunPage {}
// SAFETY: as above.
unsafe impl Sync for RunPage {}

impl RunPage {
    pub(crate) fn of(vcpu: &mut VcpuFd) -> Self {
        Self(NonNull::from(vcpu.get_kvm_run()))
    }

    /// Makes `KVM_RUN` return at once while it is not zero.
    pub(crate) fn immediate_exit(&self) -> &AtomicU8 {
        // SAFETY: the page is mapped while `self` is in use. KVM reads this byte and never writes it,
        // and in this process it is only accessed here.
        unsafe { AtomicU8::from_ptr(&raw mut (*self.0.as_ptr()).immediate_exit) }
    }

    /// After `KVM_EXIT_IO`: how many bytes each of the accesses has.
    pub(crate) fn port_access_size(&self) -> usize {
        // SAFETY: mapped as above; any bytes are a valid value of this plain struct.
        let io = unsafe { (*self.0.as_ptr()).__bindgen_anon_1.io };
        usize::from(io.size).max(1)
    }

    /// After `KVM_EXIT_INTERNAL_ERROR`: which error.
    pub(crate) fn internal_error(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0.as_ptr()).__bindgen_anon_1.internal.suberror }
    }
}
