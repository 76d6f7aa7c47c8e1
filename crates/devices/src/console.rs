//! The two sides of a console device, whichever device it is.

/// What a console device needs of the host. It is called with no lock of the device held, so it
/// may call the [`ConsolePort`] back.
pub trait ConsoleHost: Send + Sync {
    /// The guest printed `bytes`. The vCPU that printed them waits until this returns, which
    /// keeps output in order and slows a guest to the speed of its reader.
    fn output(&self, bytes: &[u8]);

    /// The device may take more input than at the last [`ConsolePort::input`].
    fn input_room(&self);
}

/// What the host does with a console device.
pub trait ConsolePort: Send + Sync {
    /// Types `bytes` at the guest, and interrupts it. Returns how many of them, from the first,
    /// the device took; after fewer than all, [`ConsoleHost::input_room`] tells when to go on.
    fn input(&self, bytes: &[u8]) -> usize;

    /// Tells the guest the size of the terminal, in characters. A serial line cannot say it.
    fn resize(&self, columns: u16, rows: u16);
}
