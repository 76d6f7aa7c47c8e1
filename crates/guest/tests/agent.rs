//! The agent itself, on this host, behind a socket such as a machine's: what it runs, carries and tells.

#![cfg(target_arch = "x86_64")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use clade_guest::{Command, Connection, Error, Exit, Key, Output, Process, Streams, Terminal};
use tempfile::TempDir;

const AGENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../images/guest/agent/agent-x86-64"
);

/// What a test waits for comes within this time.
const SOON: Duration = Duration::from_secs(20);

/// A folder with a machine's socket, behind which there is an agent.
struct Guest {
    folder: TempDir,
}

impl Guest {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("vsock.sock")).unwrap();
        thread::spawn(move || {
            listener
                .incoming()
                .for_each(|stream| serve(stream.unwrap()))
        });
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn connection(&self) -> Connection {
        let key = Key::in_folder(&self.path("ssh")).unwrap();
        Connection::open(&self.path("vsock.sock"), &key).unwrap()
    }

    fn start(&self, command: Command) -> (Process, Streams) {
        self.connection().run(command).unwrap()
    }
}

/// As a machine joins a client to the agent's port.
fn serve(mut stream: UnixStream) {
    let mut line = [0; "CONNECT 40\n".len()];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"CONNECT 40\n");
    stream.write_all(b"OK 1073741824\n").unwrap();
    let agent = std::process::Command::new(AGENT)
        .args(["serve", "/bin/sh"])
        .stdin(OwnedFd::from(stream))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    thread::spawn(move || agent.unwrap().wait());
}

fn shell(script: &str) -> Command {
    Command {
        arguments: ["sh", "-c", script].map(str::to_owned).into(),
        ..Command::default()
    }
}

fn at_terminal(script: &str) -> Command {
    Command {
        terminal: Some(Terminal {
            kind: "xterm-256color".to_owned(),
            size: (91, 37),
        }),
        ..shell(script)
    }
}

fn text(mut output: Output) -> String {
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    text
}

/// Runs it without input; what it wrote on both streams, and how it ended.
fn run(guest: &Guest, command: Command) -> (String, String, Exit) {
    let (process, streams) = guest.start(command);
    drop(streams.input);
    let errors = thread::spawn(move || text(streams.errors));
    let output = text(streams.output);
    (output, errors.join().unwrap(), process.wait().unwrap())
}

fn until_there(file: &Path) {
    let deadline = Instant::now() + SOON;
    while !file.exists() {
        assert!(
            Instant::now() < deadline,
            "{} does not come",
            file.display()
        );
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn streams_and_status_are_the_commands_own() {
    let guest = Guest::new();
    let (output, errors, exit) = run(&guest, shell("echo out; echo err >&2; cat; exit 7"));
    assert_eq!((&*output, &*errors), ("out\n", "err\n"));
    assert_eq!(exit, Exit::Status(7));
    let (_, _, exit) = run(&guest, shell("kill -SEGV $$"));
    assert_eq!(exit, Exit::Signal("SEGV".to_owned()));
    let (_, _, exit) = run(&guest, shell("kill -34 $$"));
    assert_eq!(exit.status(), Some(128 + 34));
    let nothing = Command {
        arguments: vec!["/does/not/exist".to_owned()],
        ..Command::default()
    };
    assert_eq!(run(&guest, nothing).2, Exit::Status(127));
}

#[test]
fn one_connection_runs_one_command_after_the_other() {
    let guest = Guest::new();
    let mut connection = guest.connection();
    assert!(connection.is_agent());
    for number in 0..5 {
        let (process, streams) = connection.run(shell(&format!("exit {number}"))).unwrap();
        drop(streams);
        assert_eq!(process.wait().unwrap(), Exit::Status(number));
    }
}

#[test]
fn who_and_where_it_is_is_in_its_environment() {
    let guest = Guest::new();
    let (output, _, _) = run(&guest, shell("echo $HOME $USER $LOGNAME $SHELL [$TERM]"));
    assert_eq!(output, "/root root root /bin/sh []\n");
    let (output, _, _) = run(&guest, at_terminal("echo $TERM"));
    assert_eq!(output, "xterm-256color\r\n");
}

#[test]
fn much_is_carried_both_ways_as_it_is() {
    let guest = Guest::new();
    let (process, streams) = guest.start(shell("tee /dev/stderr"));
    let sent: Vec<u8> = (0..8_000_000_u32)
        .map(|at| (at ^ (at >> 9)) as u8)
        .collect();
    let received = [streams.output, streams.errors].map(|mut stream| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        })
    });
    let mut input = streams.input;
    input.write_all(&sent).unwrap();
    drop(input);
    for thread in received {
        assert!(thread.join().unwrap() == sent);
    }
    assert_eq!(process.wait().unwrap(), Exit::Status(0));
}

#[test]
fn signals_pass_input_that_nobody_takes() {
    let guest = Guest::new();
    let (process, streams) = guest.start(shell("exec sleep 100"));
    let mut input = streams.input;
    let feeding = thread::spawn(move || input.write_all(&vec![0; 4 << 20]));
    // The pipe and all that is between are full.
    thread::sleep(Duration::from_millis(300));
    assert!(!feeding.is_finished());
    process.control().signal("TERM");
    assert_eq!(process.wait().unwrap(), Exit::Signal("TERM".to_owned()));
    assert!(feeding.join().unwrap().is_err());
}

#[test]
fn signals_pass_output_that_nobody_reads() {
    let guest = Guest::new();
    let (process, streams) = guest.start(shell("exec yes"));
    thread::sleep(Duration::from_millis(300));
    process.control().signal("INT");
    let read = thread::spawn(move || text(streams.output));
    assert_eq!(process.wait().unwrap(), Exit::Signal("INT".to_owned()));
    assert!(read.join().unwrap().starts_with("y\ny\n"));
}

#[test]
fn signals_are_the_process_groups() {
    let guest = Guest::new();
    let (process, mut streams) = guest.start(shell("sleep 100 & echo; wait"));
    streams.output.read_exact(&mut [0]).unwrap();
    process.control().signal("KILL");
    assert_eq!(process.wait().unwrap(), Exit::Signal("KILL".to_owned()));
    // The pipe is the sleeper's, too: this ends with both.
    let began = Instant::now();
    assert_eq!(text(streams.output), "");
    assert!(began.elapsed() < SOON);
}

#[test]
fn input_that_the_command_closes_is_told() {
    let guest = Guest::new();
    let (process, mut streams) = guest.start(shell("exec <&-; echo; exec sleep 100"));
    streams.output.read_exact(&mut [0]).unwrap();
    let deadline = Instant::now() + SOON;
    let error = loop {
        match streams.input.write(b"x") {
            Ok(_) => assert!(Instant::now() < deadline),
            Err(error) => break error,
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    process.control().signal("TERM");
    assert_eq!(process.wait().unwrap(), Exit::Signal("TERM".to_owned()));
}

#[test]
fn what_is_left_in_the_background_is_not_waited_for_and_may_write_on() {
    let guest = Guest::new();
    let (go, done) = (guest.path("go"), guest.path("done"));
    let script = format!(
        "(until [ -e {go} ]; do sleep 0.02; done; echo late; echo late >&2; : >{done}) & echo early",
        go = go.display(),
        done = done.display()
    );
    let (output, _, exit) = run(&guest, shell(&script));
    assert_eq!((&*output, exit), ("early\n", Exit::Status(0)));
    fs::write(go, "").unwrap();
    until_there(&done);
}

#[test]
fn what_writes_for_ever_in_the_background_holds_up_nobody() {
    let guest = Guest::new();
    let pid = guest.path("pid");
    let script = format!("yes & echo $! >{}", pid.display());
    let (output, _, exit) = run(&guest, shell(&script));
    assert_eq!(exit, Exit::Status(0));
    assert!(output.len() <= 64 << 20, "{}", output.len());
    let pid = fs::read_to_string(pid).unwrap();
    let killed = std::process::Command::new("kill").arg(pid.trim()).status();
    assert!(killed.unwrap().success(), "it was ended");
}

#[test]
fn a_terminal_has_a_size_that_changes() {
    let guest = Guest::new();
    let script = "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.02; done";
    let (process, mut streams) = guest.start(at_terminal(script));
    let mut first = [0; 7];
    streams.output.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"37 91\r\n");
    process.control().resize((120, 50));
    assert_eq!(text(streams.output), "50 120\r\n");
    assert_eq!(process.wait().unwrap(), Exit::Status(0));
}

#[test]
fn a_terminal_passes_keys_and_gives_no_second_stream() {
    let guest = Guest::new();
    let (process, mut streams) = guest.start(at_terminal("echo to-errors >&2; exec cat"));
    let mut expect = |expected: &str| {
        let mut output = vec![0; expected.len()];
        streams.output.read_exact(&mut output).unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    };
    expect("to-errors\r\n");
    streams.input.write_all(b"hello\n").unwrap();
    // What the terminal echoes, and what the command writes.
    expect("hello\r\nhello\r\n");
    streams.input.write_all(b"\x03").unwrap();
    expect("^C");
    assert_eq!(process.wait().unwrap(), Exit::Signal("INT".to_owned()));
    assert_eq!(text(streams.errors), "");
}

#[test]
fn a_terminal_hangs_up_with_its_user() {
    let guest = Guest::new();
    let hung = guest.path("hung");
    let script = format!(
        "trap ': >{}; exit' HUP; echo; while :; do sleep 0.02; done",
        hung.display()
    );
    let (process, mut streams) = guest.start(at_terminal(&script));
    streams.output.read_exact(&mut [0]).unwrap();
    process.control().hang_up();
    assert_eq!(process.wait().unwrap(), Exit::Unknown);
    until_there(&hung);
}

#[test]
fn a_command_whose_reader_leaves_has_a_pipe_that_nobody_reads() {
    let guest = Guest::new();
    let ended = guest.path("ended");
    let script = format!("yes; : >{}", ended.display());
    let (process, streams) = guest.start(shell(&script));
    drop(streams);
    assert_eq!(process.wait().unwrap(), Exit::Signal("PIPE".to_owned()));
    until_there(&ended);
}

#[test]
fn a_command_that_is_too_long_is_refused_and_the_longest_is_not() {
    let guest = Guest::new();
    let padded = |length: usize| shell(&format!("exit 3; {}", "x".repeat(length)));
    let room = (128 << 10) - 1 - "exec sh -c 'exit 3; '".len();
    assert_eq!(run(&guest, padded(room)).2, Exit::Status(3));
    let refused = guest.connection().run(padded(room + 1));
    assert!(
        matches!(refused, Err(Error::TooLong(131_072))),
        "{refused:?}"
    );
}

#[test]
fn the_clock_is_left_alone_where_it_is_right() {
    let guest = Guest::new();
    let now = std::time::SystemTime::now();
    let command = Command {
        clock: now.duration_since(std::time::UNIX_EPOCH).ok(),
        ..shell("true")
    };
    assert_eq!(run(&guest, command).2, Exit::Status(0));
}
