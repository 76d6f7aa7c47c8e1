use std::os::fd::BorrowedFd;

/// Wakes the thread that does a device's work. The device is given one when it is made, and calls
/// it when the driver notifies it: on a vCPU thread, which must not wait for anything.
pub trait Waker: Send + Sync {
    /// Makes the thread look at its device soon. Several calls before it does are as good as one.
    fn wake(&self);

    /// An eventfd: to write to it is as good as [`Waker::wake`]. `None` if there is none.
    fn event(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
