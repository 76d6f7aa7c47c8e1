use crate::virtio::GuestSlice;

/// The host's side of a file system device. Called on the machine's I/O thread.
pub trait FsBackend: Send {
    /// Does what a request asks for, and writes the answer. Both are pieces of guest memory, which
    /// the guest may change meanwhile. Returns the answer's length in bytes, 0 if there is none.
    fn serve(&mut self, request: &[GuestSlice<'_>], reply: &[GuestSlice<'_>]) -> usize;

    /// The guest has gone, and with it all that it had open.
    fn reset(&mut self);
}
