/// Wakes the thread that does a device's work. The device is given one when it is made, and calls
/// it when the driver notifies it: on a vCPU thread, which must not wait for anything.
pub trait Waker: Send + Sync {
    /// Makes the thread look at its device soon. Several calls before it does are as good as one.
    fn wake(&self);
}
