//! From standard input to the guest.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use clade_vmm::console::INPUT_WINDOW;
use clade_vmm::control::{Request, Sender};

/// Ctrl-], which detaches, as in telnet and virsh.
pub(crate) const DETACH_KEY: u8 = 0x1d;

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
    /// The same for one whose init has said so already.
    ReadyScript,
}

/// How many bytes may be sent to the machine before it takes some.
#[derive(Debug, Clone)]
pub(crate) struct Window(Arc<(Mutex<Room>, Condvar)>);

#[derive(Debug)]
struct Room {
    free: usize,
    /// Nothing is to be sent at all for now.
    held: bool,
    /// How often the guest said that it is ready.
    starts: u32,
}

impl Room {
    fn take(&mut self, wanted: usize) -> usize {
        let taken = if self.held { 0 } else { wanted.min(self.free) };
        self.free -= taken;
        taken
    }
}

impl Window {
    /// The window of this kind of input: held until the guest is ready, where it says so.
    pub(crate) fn of(input: Input) -> Self {
        let held = input == Input::Script;
        Self(Arc::new((
            Mutex::new(Room {
                free: INPUT_WINDOW,
                held,
                starts: 0,
            }),
            Condvar::new(),
        )))
    }

    /// The guest took this many bytes.
    pub(crate) fn open(&self, bytes: usize) {
        self.room().free += bytes;
        self.0.1.notify_all();
    }

    fn hold(&self) {
        self.room().held = true;
    }

    /// The guest is ready.
    fn release(&self) {
        let mut room = self.room();
        room.held = false;
        room.starts += 1;
        self.0.1.notify_all();
    }

    /// How often the guest has started, once it is ready.
    fn starts(&self) -> u32 {
        let held = |room: &mut Room| room.held;
        self.0
            .1
            .wait_while(self.room(), held)
            .unwrap_or_else(PoisonError::into_inner)
            .starts
    }

    /// Waits until the guest has started once more.
    fn wait_for_start_after(&self, starts: u32) {
        let same = |room: &mut Room| room.starts == starts;
        drop(
            self.0
                .1
                .wait_while(self.room(), same)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Takes up to `wanted` bytes' room, without waiting; perhaps none.
    fn try_take(&self, wanted: usize) -> usize {
        self.room().take(wanted)
    }

    /// Takes up to `wanted` bytes' room, at least one: waits for it.
    fn take(&self, wanted: usize) -> usize {
        let shut = |room: &mut Room| room.held || room.free == 0;
        self.0
            .1
            .wait_while(self.room(), shut)
            .unwrap_or_else(PoisonError::into_inner)
            .take(wanted)
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks out for the byte by which the init of our images says that it is ready for a script: until
/// then, the guest's terminal would echo what comes.
#[derive(Debug)]
pub(crate) struct ReadySign {
    input: Input,
    awaited: bool,
}

impl ReadySign {
    pub(crate) fn of(input: Input) -> Self {
        Self {
            input: match input {
                // The next time it says so.
                Input::ReadyScript => Input::Script,
                other => other,
            },
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
            window.release();
        }
    }

    /// The guest starts again, and will say again when it is ready.
    pub(crate) fn expect_again(&mut self, window: &Window) {
        *self = Self::of(self.input);
        if self.awaited {
            window.hold();
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
        Input::Script | Input::ReadyScript => pump_script(&mut source, window, sender),
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
    // In the middle of a line, EOT only pushes what is there of it.
    if pump_stream(source, window, sender)?.is_some_and(|last| last != b'\n') {
        send_all(b"\n", window, sender)?;
    }
    // A guest that starts again finds the input at its end.
    loop {
        let starts = window.starts();
        send_all(&[EOT], window, sender)?;
        window.wait_for_start_after(starts);
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

    /// The machine's end of a connection to which a text is pumped.
    fn pumped(text: &'static [u8], input: Input, window: &Window) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let (window, connection) = (window.clone(), Connection::over(ours).expect("connection"));
        thread::spawn(move || pump(Cursor::new(text), input, &window, &connection.sender));
        theirs
    }

    /// That these frames arrive, and no more.
    #[track_caller]
    fn assert_arrives(stream: &mut UnixStream, frames: &[&[u8]]) {
        let expected = frames.concat();
        let mut bytes = vec![0; expected.len()];
        stream.read_exact(&mut bytes).expect("read");
        assert_eq!(bytes, expected);
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("timeout");
        let more = stream.read(&mut [0]);
        stream.set_read_timeout(None).expect("timeout");
        assert!(!matches!(more, Ok(1..)), "more arrives");
    }

    fn frame(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).expect("short").to_le_bytes();
        [&[0], &length[..], bytes].concat()
    }

    #[test]
    fn a_script_ends_with_eot_at_the_start_of_a_line() {
        let eot = frame(&[EOT]);
        let cases: [(&[u8], &[&[u8]]); 3] = [
            (b"ls", &[&frame(b"ls"), &frame(b"\n"), &eot]),
            (b"ls\n", &[&frame(b"ls\n"), &eot]),
            (b"", &[&eot]),
        ];
        for (text, frames) in cases {
            let window = Window::of(Input::Script);
            let mut machine = pumped(text, Input::Script, &window);
            assert_arrives(&mut machine, &[]);
            window.release();
            assert_arrives(&mut machine, frames);
        }
    }

    #[test]
    fn a_guest_that_starts_again_finds_the_scripts_end() {
        let window = Window::of(Input::Script);
        window.release();
        let mut machine = pumped(b"reboot\n", Input::Script, &window);
        assert_arrives(&mut machine, &[&frame(b"reboot\n"), &frame(&[EOT])]);
        ReadySign::of(Input::Script).expect_again(&window);
        assert_arrives(&mut machine, &[]);
        window.release();
        assert_arrives(&mut machine, &[&frame(&[EOT])]);
    }

    #[test]
    fn a_stream_is_passed_as_it_is() {
        let text = b"\x1d\x03\0no newline";
        let mut machine = pumped(text, Input::Stream, &Window::of(Input::Stream));
        assert_arrives(&mut machine, &[&frame(text)]);
    }

    #[test]
    fn ctrl_bracket_detaches_and_is_not_sent() {
        let mut machine = pumped(b"ab\x1dcd", Input::Terminal, &Window::of(Input::Terminal));
        assert_arrives(&mut machine, &[&frame(b"ab"), b"\x01\x08\0\0\0\"detach\""]);
    }

    #[test]
    fn no_more_is_sent_than_the_window_has_room_for() {
        let window = Window::of(Input::Stream);
        assert_eq!(window.try_take(INPUT_WINDOW - 3), INPUT_WINDOW - 3);
        let mut machine = pumped(b"abcdef\n", Input::Stream, &window);
        assert_arrives(&mut machine, &[&frame(b"abc")]);
        window.open(100);
        assert_arrives(&mut machine, &[&frame(b"def\n")]);
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
        sign.expect_again(&window);
        assert_eq!(window.try_take(1), 0);
        sign.look_for(&mut output, &window);
        assert_eq!((output.as_slice(), window.try_take(1)), (&b""[..], 1));
    }
}
