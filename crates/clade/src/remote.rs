//! A command in a guest, with this process's streams, terminal and signals as its own.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::{env, io::Stdin};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use clade_guest::{
    Command, Connection, Control, Error, Exit, Input, Key, Process, Streams, Terminal,
};
use clade_vmm::vsock::NOTIFY_PORT;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::failure::Failure;
use crate::stdin::DETACH_KEY;
use crate::terminal::{self, RawTerminal};

/// By what the guest reaches the host (vsock(7), `VMADDR_CID_HOST`).
const HOST_CID: u32 = 2;

/// What is passed on, by SSH's names.
const SIGNALS: [(i32, &str); 6] = [
    (SIGHUP, "HUP"),
    (SIGINT, "INT"),
    (SIGQUIT, "QUIT"),
    (SIGTERM, "TERM"),
    (SIGUSR1, "USR1"),
    (SIGUSR2, "USR2"),
];

/// A command that does not end by so many signals to end is left alone.
const LAST_SIGNAL: u32 = 3;

/// How a piece of a stream is carried, in bytes.
const PIECE: usize = 32 << 10;

/// A command that has been started, and waits to be served.
pub(crate) struct Remote {
    process: Process,
    streams: Streams,
    terminal: bool,
    signals: Signals,
}

/// The user's terminal, for a command that is to have one.
pub(crate) fn terminal() -> Result<Terminal, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            "standard input is no terminal, so the command cannot have it as one; leave out --tty",
        ));
    }
    let size = terminal::size().map_or((80, 24), |size| (size.columns, size.rows));
    let kind = env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    Ok(Terminal { kind, size })
}

/// What the init of our own images is told on the kernel's command line: whom to let in.
pub(crate) fn for_our_init(key: &Key) -> String {
    format!(" clade.key={}", key.base64())
}

/// What systemd (256 and later) is told on the kernel's command line, by credentials (systemd.exec(5)):
/// whom sshd lets in as root, and whom to tell that the system is up.
pub(crate) fn for_systemd(key: &Key) -> String {
    let key = BASE64.encode(format!("{}\n", key.public().trim_end()));
    format!(
        " systemd.set_credential_binary=ssh.authorized_keys.root:{key} \
         systemd.set_credential=vmm.notify_socket:vsock-stream:{HOST_CID}:{NOTIFY_PORT}"
    )
}

/// A kernel's command line that lets this user in, in place of whom it let in before.
pub(crate) fn for_another_user(cmdline: &str, key: &Key) -> String {
    let (ours, systemd) = (for_our_init(key), for_systemd(key));
    let new = ours.split(' ').chain(systemd.split(' '));
    let new: Vec<_> = new.filter(|word| is_key(word)).collect();
    let words = cmdline.split(' ').map(|word| {
        let name = KEY_WORDS.iter().find(|name| word.starts_with(*name));
        let same = |new: &&&str| name.is_some_and(|name| new.starts_with(name));
        new.iter().find(same).copied().unwrap_or(word)
    });
    words.collect::<Vec<_>>().join(" ")
}

/// How the words begin by which the guest is told whom to let in.
const KEY_WORDS: [&str; 2] = [
    "clade.key=",
    "systemd.set_credential_binary=ssh.authorized_keys.root:",
];

fn is_key(word: &str) -> bool {
    KEY_WORDS.iter().any(|name| word.starts_with(name))
}

impl Remote {
    /// Starts `command` over this connection, which ends with it.
    ///
    /// # Errors
    /// As [`Connection::run`].
    pub(crate) fn start(mut connection: Connection, command: Command) -> Result<Self, Error> {
        let terminal = command.terminal.is_some();
        let (process, streams) = connection.run(command)?;
        // From now on they are the command's; before, they end this process as ever.
        let signals = SIGNALS.iter().map(|(signal, _)| *signal).chain([SIGWINCH]);
        let signals = Signals::new(signals).map_err(|source| Error::Host {
            what: "to catch signals",
            source,
        })?;
        Ok(Self {
            process,
            streams,
            terminal,
            signals,
        })
    }

    /// Serves the command until its end; with `interactive` it reads standard input.
    pub(crate) fn serve(self, interactive: bool) -> Result<Exit, Failure> {
        self.serve_fed(interactive.then_some(|input, _| feed(io::stdin(), input)))
    }

    /// Serves a shell at the user's terminal until its end, or until the user leaves it by Ctrl-]:
    /// then there is no exit.
    pub(crate) fn serve_shell(self) -> Result<Option<Exit>, Failure> {
        let left = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&left);
        let exit = self.serve_fed(Some(move |input, control: Control| {
            if feed_keys(io::stdin(), input) {
                noted.store(true, Ordering::SeqCst);
                control.hang_up();
            }
        }))?;
        Ok((!left.load(Ordering::SeqCst)).then_some(exit))
    }

    /// Serves the command until its end. What it reads comes from `feeder`; if there is none, nothing.
    fn serve_fed(
        self,
        feeder: Option<impl FnOnce(Input, Control) + Send + 'static>,
    ) -> Result<Exit, Failure> {
        let Self {
            process,
            streams,
            terminal,
            signals,
        } = self;
        let Streams {
            input,
            mut output,
            mut errors,
        } = streams;
        let raw = terminal.then(RawTerminal::enter).transpose()?;
        let control = process.control();
        spawn("signals", move || pass_signals(signals, &control))?;
        if let Some(feeder) = feeder {
            let control = process.control();
            spawn("stdin", move || feeder(input, control))?;
        } else {
            drop(input);
        }
        let mut stderr = duplicate(io::stderr())?;
        let errors = spawn("stderr", move || carry(&mut errors, &mut stderr))?;
        let written = carry(&mut output, &mut duplicate(io::stdout())?);
        drop(output);
        let exit = process.wait();
        // Nobody can be told that standard error cannot be written to.
        let _ = errors.join();
        drop(raw);
        written.map_err(|error| Failure::of_output(&error))?;
        Ok(exit?)
    }
}

/// The exit status of Clade for a command that ended so.
pub(crate) fn status(exit: &Exit) -> Result<u8, Failure> {
    exit.status().ok_or_else(gone)
}

/// The guest is there no longer.
pub(crate) fn gone() -> Failure {
    Failure::new(
        "the guest went away before the command ended; `clade ps` shows whether its machine \
         still runs, `clade logs` what it last said",
    )
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    thread::Builder::new().name(name.into()).spawn(work)
}

/// One of the standard streams as it is, without a buffer that waits for a line's end.
fn duplicate(stream: impl AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}

/// Carries what there is, as soon as it is there.
pub(crate) fn carry(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&piece[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn feed(stdin: Stdin, mut input: Input) {
    // If it cannot be read, it ends here; if the command reads no more, it need not.
    let _ = duplicate(stdin).and_then(|mut stdin| carry(&mut stdin, &mut input));
}

/// Returns whether the user pressed Ctrl-].
fn feed_keys(stdin: Stdin, mut input: Input) -> bool {
    let mut keys = [0; 4096];
    let Ok(mut stdin) = duplicate(stdin) else {
        return false;
    };
    loop {
        let count = match stdin.read(&mut keys) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => return false,
            Ok(count) => count,
        };
        let left = keys[..count].iter().position(|key| *key == DETACH_KEY);
        let written = input.write_all(&keys[..left.unwrap_or(count)]);
        if left.is_some() || written.is_err() {
            return left.is_some();
        }
    }
}

fn pass_signals(mut signals: Signals, control: &Control) {
    let mut to_end = 0;
    for signal in signals.forever() {
        if signal == SIGWINCH {
            if let Some(size) = terminal::size() {
                control.resize((size.columns, size.rows));
            }
            continue;
        }
        if let Some((_, name)) = SIGNALS.iter().find(|(number, _)| *number == signal) {
            control.signal(name);
        }
        to_end += u32::from([SIGHUP, SIGINT, SIGTERM].contains(&signal));
        if to_end == LAST_SIGNAL {
            terminal::restore();
            process::exit(128 + signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_is_let_in_in_place_of_the_first() {
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("folder"));
        let [one, other] = folders
            .each_ref()
            .map(|folder| Key::in_folder(&folder.path().join("ssh")).expect("key"));
        for words in [for_our_init, for_systemd] {
            let cmdline = |key| format!("quiet{} panic=-1", words(key));
            assert_ne!(cmdline(&one), cmdline(&other));
            assert_eq!(for_another_user(&cmdline(&one), &other), cmdline(&other));
        }
        assert_eq!(for_another_user("a  b", &one), "a  b");
    }
}
