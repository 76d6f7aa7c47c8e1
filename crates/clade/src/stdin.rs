//! From standard input to the guest.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use clade_vmm::console::INPUT_WINDOW;
use clade_vmm::control::{Request, Sender};

/// Ctrl-], which detaches, as in telnet and virsh.
const DETACH_KEY: u8 = 0x1d;

/// End of transmission (Ctrl-D): ends the input of a terminal in canonical mode.
const EOT: u8 = 0x04;

/// Enquiry: what the init of our images writes when it is ready.
const ENQ: u8 = 0x05;

/// Where input comes from, and what becomes of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// A terminal in raw mode: Ctrl-] detaches.
    Terminal,
    /// A pipe or file, for a guest of which nothing is known.
    Stream,
    /// A pipe or file, for an image of ours that was started with `clade.stdin=pipe`: its init
    /// says when it is ready ([`ReadySign`]), and understands [`EOT`] at the end.
    Script,
}

/// How many bytes may be sent to the machine before it takes some.
#[derive(Debug, Clone)]
pub(crate) struct Window(Arc<(Mutex<usize>, Condvar)>);

impl Window {
    /// The window of this kind of input: closed until the guest is ready, where it says so.
    pub(crate) fn of(input: Input) -> Self {
        let free = if input == Input::Script {
            0
        } else {
            INPUT_WINDOW
        };
        Self(Arc::new((Mutex::new(free), Condvar::new())))
    }

    /// The guest took this many bytes.
    pub(crate) fn open(&self, bytes: usize) {
        let (free, opened) = &*self.0;
        *free.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        opened.notify_all();
    }

    /// Takes up to `wanted` bytes' room, without waiting; perhaps none.
    fn try_take(&self, wanted: usize) -> usize {
        let mut free = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = wanted.min(*free);
        *free -= taken;
        taken
    }

    /// Takes up to `wanted` bytes' room, at least one: waits for it.
    fn take(&self, wanted: usize) -> usize {
        let (free, opened) = &*self.0;
        let guard = free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = opened
            .wait_while(guard, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        let taken = wanted.min(*free);
        *free -= taken;
        taken
    }
}

/// Looks out for the byte by which the init of our images says that it is ready for a script: until
/// then, the guest's terminal would echo what comes.
#[derive(Debug)]
pub(crate) struct ReadySign {
    awaited: bool,
}

impl ReadySign {
    pub(crate) fn of(input: Input) -> Self {
        Self {
            awaited: input == Input::Script,
        }
    }

    /// Takes the sign out of the guest's output and opens the window.
    pub(crate) fn look_for(&mut self, output: &mut Vec<u8>, window: &Window) {
        if self.awaited
            && let Some(place) = output.iter().position(|byte| *byte == ENQ)
        {
            output.remove(place);
            self.awaited = false;
            window.open(INPUT_WINDOW);
        }
    }
}

/// Passes what `source` has to the machine until it ends. Returns early when the machine is gone,
/// or the user detached.
pub(crate) fn pump(mut source: impl Read, input: Input, window: &Window, sender: &Sender) {
    // An error means that the connection is gone: whoever receives from it knows more.
    let _ = match input {
        Input::Terminal => pump_keys(&mut source, window, sender),
        Input::Stream => pump_stream(&mut source, window, sender).map(drop),
        Input::Script => pump_script(&mut source, window, sender),
    };
}

fn pump_keys(source: &mut impl Read, window: &Window, sender: &Sender) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = read(source, &mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let keys = &buffer[..count];
        let detach = keys.iter().position(|key| *key == DETACH_KEY);
        let keys = &keys[..detach.unwrap_or(count)];
        let taken = window.try_take(keys.len());
        sender.input(&keys[..taken])?;
        if taken < keys.len() {
            // As a terminal does whose reader is not listening.
            let _ = io::stderr().write_all(b"\x07");
        }
        if detach.is_some() {
            return sender.request(&Request::Detach);
        }
    }
}

/// Returns the last byte that there was.
fn pump_stream(source: &mut impl Read, window: &Window, sender: &Sender) -> io::Result<Option<u8>> {
    let mut buffer = vec![0; 16 << 10];
    let mut last = None;
    loop {
        // A source that cannot be read any further is at its end.
        let count = read(source, &mut buffer).unwrap_or(0);
        if count == 0 {
            return Ok(last);
        }
        send_all(&buffer[..count], window, sender)?;
        last = Some(buffer[count - 1]);
    }
}

fn pump_script(source: &mut impl Read, window: &Window, sender: &Sender) -> io::Result<()> {
    match pump_stream(source, window, sender)? {
        // In the middle of a line, EOT only pushes what is there of it.
        Some(byte) if byte != b'\n' => send_all(&[b'\n', EOT], window, sender),
        _ => send_all(&[EOT], window, sender),
    }
}

fn send_all(mut bytes: &[u8], window: &Window, sender: &Sender) -> io::Result<()> {
    while !bytes.is_empty() {
        let (now, later) = bytes.split_at(window.take(bytes.len()));
        sender.input(now)?;
        bytes = later;
    }
    Ok(())
}

fn read(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use clade_vmm::control::Connection;

    use super::*;

    /// What arrives at the machine's end, frames' heads and all.
    fn pumped(text: &'static [u8], input: Input, window: &Window) -> Vec<u8> {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        let connection = Connection::over(ours).expect("connection");
        let arrived = thread::spawn(move || {
            let mut bytes = Vec::new();
            theirs.read_to_end(&mut bytes).expect("read");
            bytes
        });
        pump(Cursor::new(text), input, window, &connection.sender);
        drop(connection);
        arrived.join().expect("reader")
    }

    fn frame(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).expect("short").to_le_bytes();
        [&[0], &length[..], bytes].concat()
    }

    #[test]
    fn a_script_ends_with_eot_at_the_start_of_a_line() {
        for (text, end) in [
            (&b"ls"[..], &b"\n\x04"[..]),
            (b"ls\n", b"\x04"),
            (b"", b"\x04"),
        ] {
            let window = Window::of(Input::Script);
            window.open(100);
            let sent = if text.is_empty() {
                Vec::new()
            } else {
                frame(text)
            };
            assert_eq!(
                pumped(text, Input::Script, &window),
                [sent, frame(end)].concat()
            );
        }
    }

    #[test]
    fn a_stream_is_passed_as_it_is() {
        let text = b"\x1d\x03\0no newline";
        assert_eq!(
            pumped(text, Input::Stream, &Window::of(Input::Stream)),
            frame(text)
        );
    }

    #[test]
    fn ctrl_bracket_detaches_and_is_not_sent() {
        let sent = pumped(b"ab\x1dcd", Input::Terminal, &Window::of(Input::Terminal));
        let request = b"\x01\x08\0\0\0\"detach\"";
        assert_eq!(sent, [frame(b"ab"), request.to_vec()].concat());
    }

    #[test]
    fn no_more_is_sent_than_the_window_has_room_for() {
        let window = Window::of(Input::Script);
        window.open(3);
        let opener = {
            let window = window.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(50));
                window.open(100);
            })
        };
        let sent = pumped(b"abcdef\n", Input::Script, &window);
        assert_eq!(
            sent,
            [frame(b"abc"), frame(b"def\n"), frame(&[EOT])].concat()
        );
        opener.join().expect("opener");
    }

    #[test]
    fn the_ready_sign_opens_the_window_once_and_is_not_shown() {
        let window = Window::of(Input::Script);
        let mut sign = ReadySign::of(Input::Script);
        let mut output = b"boot\n".to_vec();
        sign.look_for(&mut output, &window);
        assert_eq!((output.as_slice(), window.try_take(1)), (&b"boot\n"[..], 0));
        let mut output = b"a\x05b\x05".to_vec();
        sign.look_for(&mut output, &window);
        assert_eq!((output.as_slice(), window.try_take(1)), (&b"ab\x05"[..], 1));
        let mut output = b"\x05".to_vec();
        sign.look_for(&mut output, &window);
        assert_eq!(output, b"\x05");
    }
}
