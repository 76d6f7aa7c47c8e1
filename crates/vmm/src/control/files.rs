//! Open files that travel over a control connection (unix(7), SCM_RIGHTS): the machine's process may
//! open none itself.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// No message carries more files than this.
pub(super) const FILES_MAX: usize = 64;

/// What the files travel with.
const MARK: u8 = b'F';

/// Sends files.
pub(super) fn send(stream: &UnixStream, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if files.len() > FILES_MAX || !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "too many files"));
    }
    sendmsg(
        stream.as_fd(),
        &[IoSlice::new(&[MARK])],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives as many files as were announced.
pub(super) fn receive(stream: &UnixStream, count: usize) -> io::Result<Vec<File>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut mark = [0];
    let received = recvmsg(
        stream.as_fd(),
        &mut [IoSliceMut::new(&mut mark)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let files: Vec<File> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        })
        .flatten()
        .map(File::from)
        .collect();
    if received.bytes != 1 || mark != [MARK] || files.len() != count {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "the files that were announced did not come",
        ));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn files_arrive_open_and_counted() {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(b"hello").expect("write");
        let (mut reader, writer) = io::pipe().expect("pipe");
        send(&ours, &[file.as_fd(), writer.as_fd()]).expect("sent");
        drop(writer);
        let mut files = receive(&theirs, 2).expect("received");
        files[1].write_all(b"through").expect("write");
        assert_eq!(files[0].metadata().expect("metadata").len(), 5);
        drop(files);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "through");

        send(&ours, &[file.as_fd()]).expect("sent");
        assert!(receive(&theirs, 2).is_err());
        drop(ours);
        assert!(receive(&theirs, 0).is_err(), "nobody there");
    }
}
