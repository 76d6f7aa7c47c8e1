/// The host's end of a serial port, to which one client at a time connects. No method waits.
pub trait SerialHost: Send {
    /// Whether a client is there, or one is gone of whom there is still something to read.
    fn connected(&mut self) -> bool;

    /// Lets the next client in, if one waits. Called when nobody is connected, and the guest knows
    /// that.
    fn accept(&mut self);

    /// Reads what is there; returns how many bytes, 0 if there is nothing now.
    fn read(&mut self, into: &mut [u8]) -> usize;

    /// Takes as many bytes as there is room for, and returns how many. If nobody is there to read
    /// them, it takes all, and they are lost.
    fn write(&mut self, bytes: &[u8]) -> usize;
}
