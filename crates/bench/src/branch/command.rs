//! Clade as its users have it: by the command.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clade_store::Folders;
use clade_store::snapshots::{Snapshot, Snapshots};

use super::console::Console;
use crate::board::Board;
use crate::terminal::Transcript;

/// The command `clade`, and the machines and snapshots that this run made; dropped, they go.
pub(crate) struct Clade {
    board: Board,
    program: PathBuf,
    data: PathBuf,
    machines: RefCell<Vec<String>>,
    snapshots: RefCell<Vec<String>>,
}

impl Clade {
    /// The command beside this program.
    pub(crate) fn find(board: Board) -> Result<Self, String> {
        let folders = Folders::of_user().map_err(|error| error.to_string())?;
        Ok(Self {
            board,
            program: crate::clade::command()?,
            data: folders.data().to_owned(),
            machines: RefCell::default(),
            snapshots: RefCell::default(),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("CLADE_COLD", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs the command to its end; returns how long that took. Machines boot.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Duration, String> {
        self.timed(self.command(arguments), arguments)
    }

    /// The same where machines may go on from warm images.
    pub(crate) fn run_warm(&self, arguments: &[&str]) -> Result<Duration, String> {
        let mut command = self.command(arguments);
        command.env_remove("CLADE_COLD");
        self.timed(command, arguments)
    }

    fn timed(&self, mut command: Command, arguments: &[&str]) -> Result<Duration, String> {
        let started = Instant::now();
        let output = command.output();
        let time = started.elapsed();
        let output = output.map_err(|error| format!("{}: {error}", self.program.display()))?;
        match output.status.success() {
            true => Ok(time),
            false => Err(format!(
                "clade {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    /// Runs a command of the guest's shell.
    pub(crate) fn shell(&self, machine: &str, script: &str) -> Result<Duration, String> {
        self.run(&["exec", machine, "--", "sh", "-c", script])
    }

    /// Types commands on a machine's console; returns how long the first and the second took, from the
    /// start of `clade console`.
    pub(crate) fn answers(&self, machine: &str) -> Result<[Duration; 2], String> {
        let started = Instant::now();
        let mut child = self
            .command(&["console", machine])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        let mut console = Console {
            keyboard: child.stdin.take().ok_or("no input")?,
            screen: Transcript::of(child.stdout.take().ok_or("no output")?),
        };
        let mut ask = || console.shell("true", Duration::from_secs(60));
        let answered = ask().and_then(|_| Ok([started.elapsed(), ask()?]));
        let _ = child.kill();
        let _ = child.wait();
        answered
    }

    /// Runs the command until it has printed `lines` lines, and then to its end; returns how long the
    /// former took.
    pub(crate) fn until_lines(&self, arguments: &[&str], lines: usize) -> Result<Duration, String> {
        let started = Instant::now();
        let (mut child, mut output) = self.reading(arguments)?;
        let mut line = String::new();
        for _ in 0..lines {
            line.clear();
            let _ = output.read_line(&mut line);
        }
        let time = started.elapsed();
        let status = child.wait().map_err(|error| error.to_string())?;
        match status.success() && !line.is_empty() {
            true => Ok(time),
            false => Err(format!("clade {} failed: {status}", arguments.join(" "))),
        }
    }

    /// Starts the command, of which somebody else reads what it prints.
    pub(crate) fn reading(
        &self,
        arguments: &[&str],
    ) -> Result<(Child, BufReader<std::process::ChildStdout>), String> {
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        let output = child.stdout.take().ok_or("no output")?;
        Ok((child, BufReader::new(output)))
    }

    /// Starts a machine of `image`, with the options that say more of it, and waits until it can be worked
    /// with. It boots.
    pub(crate) fn start(&self, name: &str, image: &[&str], memory: &str) -> Result<(), String> {
        self.start_by(Self::run, name, image, memory)
    }

    /// The same of one that goes on from a warm image, if there is one.
    pub(crate) fn start_warm(
        &self,
        name: &str,
        image: &[&str],
        memory: &str,
    ) -> Result<(), String> {
        self.start_by(Self::run_warm, name, image, memory)
    }

    fn start_by(
        &self,
        run: fn(&Self, &[&str]) -> Result<Duration, String>,
        name: &str,
        image: &[&str],
        memory: &str,
    ) -> Result<(), String> {
        self.own(name);
        let detached = ["run", "-d", "--name", name, "--memory", memory];
        run(
            self,
            &[&detached[..], &self.board.options(), image].concat(),
        )?;
        self.run(&["wait", name, "--for", "ready"])?;
        // Twice: the first may generate keys.
        self.shell(name, "true")?;
        self.shell(name, "true").map(drop)
    }

    /// Remembers that a machine is to be removed in the end.
    pub(crate) fn own(&self, name: &str) {
        self.machines.borrow_mut().push(name.to_owned());
    }

    /// Removes machines.
    pub(crate) fn remove(&self, names: &[String]) -> Result<(), String> {
        let mut arguments = vec!["rm", "-f"];
        arguments.extend(names.iter().map(String::as_str));
        self.run(&arguments)?;
        self.machines
            .borrow_mut()
            .retain(|one| !names.contains(one));
        Ok(())
    }

    /// Keeps a machine; returns how long the command took, and what it made.
    pub(crate) fn snapshot(&self, name: &str, tag: &str) -> Result<(Duration, Snapshot), String> {
        let time = self.run(&["snapshot", name, "-t", tag])?;
        self.snapshots.borrow_mut().push(format!("{name}@{tag}"));
        let all = Snapshots::in_folder(self.data.join("snapshots")).and_then(|all| all.list());
        let all = all.map_err(|error| error.to_string())?.snapshots;
        let is_it = |one: &&Snapshot| {
            let details = &one.manifest.details;
            details.origin.name == name && details.name.as_deref() == Some(tag)
        };
        let found = all.iter().rfind(is_it).cloned();
        found
            .map(|found| (time, found))
            .ok_or("no snapshot was made".into())
    }

    /// The process of a running machine.
    pub(crate) fn process(&self, name: &str) -> Result<u32, String> {
        let lock = self.folder(name).join("lock");
        let text = std::fs::read_to_string(&lock);
        let pid = text.ok().and_then(|text| text.trim().parse().ok());
        pid.ok_or_else(|| format!("{} names no process", lock.display()))
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.data.join("machines").join(name)
    }

    /// Where there must be room for snapshots.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Removes all snapshots.
    pub(crate) fn forget(&self) -> Result<(), String> {
        for snapshot in self.snapshots.take() {
            self.run(&["snapshot", "rm", &snapshot])?;
        }
        Ok(())
    }
}

impl Drop for Clade {
    fn drop(&mut self) {
        let mut machines = self.machines.take();
        // One that could not be made is not there.
        machines.retain(|name| self.folder(name).exists());
        let removed = match machines.is_empty() {
            true => Ok(()),
            false => self.remove(&machines),
        };
        if let Err(error) = removed.and_then(|()| self.forget()) {
            eprintln!("what was measured is still there: {error}");
        }
    }
}
