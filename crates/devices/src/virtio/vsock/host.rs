use std::io;

/// One end of a connection on the host: a stream of bytes each way. No method waits.
pub trait VsockStream: Send {
    /// The guest took the connection that [`super::VirtioVsock::connect`] asked it for; at the
    /// host's end it has this port.
    fn accepted(&mut self, port: u32);

    /// Whether there may be something to read, be it the end.
    fn readable(&self) -> bool;

    /// Whether the other side neither reads nor writes any more.
    fn closed(&self) -> bool;

    /// Reads what is there; 0 is the end of what the host sends.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is nothing now; any other ends the connection.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is no room now; any other ends the connection.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// The guest sends no more.
    fn finish(&mut self);
}

/// Where the guest's own connections go.
pub trait VsockHost: Send + Sync {
    /// The guest connects to `port` of the host; none if nobody listens there. Must not wait.
    fn connect(&self, port: u32) -> Option<Box<dyn VsockStream>>;
}
