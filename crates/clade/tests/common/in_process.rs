//! A guest of a machine in this very process, for what the command cannot do with one.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clade_devices::ConsoleHost;
use clade_images::Image;
use clade_vmm::backends::Backends;
use clade_vmm::machine::{Ended, Finished, Machine, MachineError, MachineHandle};
use clade_vmm::spec::MachineConfig;

use super::images::engine;
use super::seconds;

/// What the guest says when it takes input (ENQ).
const READY: &str = "\u{5}";

/// Keeps what the guest prints.
#[derive(Default)]
struct Transcript {
    text: Mutex<String>,
    more: Condvar,
}

impl ConsoleHost for Transcript {
    fn output(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        self.text.lock().expect("lock").push_str(&text);
        self.more.notify_all();
    }

    fn input_room(&self) {}
}

/// A running guest.
pub(crate) struct Guest {
    pub(crate) machine: MachineHandle,
    transcript: Arc<Transcript>,
    run: JoinHandle<Result<Finished, MachineError>>,
}

impl Guest {
    /// A machine with the image `mini`, that is not running yet.
    pub(crate) fn build(
        image: &Image,
        config: MachineConfig,
        backends: &Backends,
    ) -> (Machine, impl FnOnce(Machine) -> Self + use<>) {
        let config = MachineConfig {
            engine: engine(),
            kernel: Some(image.kernel.clone()),
            initrd: Some(image.initrd.clone()),
            cmdline: format!("{} clade.stdin=pipe", image.cmdline),
            ..config
        };
        let transcript = Arc::new(Transcript::default());
        let machine = Machine::build(&config, backends, transcript.clone()).expect("a machine");
        let start = |machine: Machine| {
            let guest = Self {
                machine: machine.handle(),
                transcript,
                run: thread::spawn(|| machine.run()),
            };
            guest.until(READY);
            guest
        };
        (machine, start)
    }

    pub(crate) fn boot(image: &Image, config: MachineConfig, backends: &Backends) -> Self {
        let (machine, start) = Self::build(image, config, backends);
        start(machine)
    }

    /// Types a line.
    pub(crate) fn send(&self, line: &str) {
        let line = format!("{line}\n");
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let taken = self.machine.console().input(rest);
            rest = &rest[taken..];
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the guest prints when it is given `command`.
    pub(crate) fn ask(&self, command: &str) -> String {
        self.send(&format!("{command}; echo END$((1 + 1))"));
        self.until("END2")
    }

    /// Waits until `what` was printed; returns and forgets all up to there.
    pub(crate) fn until(&self, what: &str) -> String {
        let started = Instant::now();
        let mut text = self.transcript.text.lock().expect("lock");
        while !text.contains(what) {
            let left = seconds(120).saturating_sub(started.elapsed());
            assert!(!left.is_zero(), "no {what:?} in {text:?}");
            text = self
                .transcript
                .more
                .wait_timeout(text, left)
                .expect("lock")
                .0;
        }
        let end = text.find(what).expect("there") + what.len();
        text.drain(..end).collect()
    }

    /// Takes the whole lines that were printed.
    pub(crate) fn take_lines(&self) -> Vec<String> {
        let mut text = self.transcript.text.lock().expect("lock");
        let end = text.rfind('\n').map_or(0, |at| at + 1);
        let taken: String = text.drain(..end).collect();
        taken.lines().map(str::to_owned).collect()
    }

    /// Stops the machine where it is.
    pub(crate) fn stop(self) {
        self.machine.stop();
        let finished = self.run.join().expect("the machine's thread");
        assert_eq!(finished.expect("a run").how, Ended::Stopped);
    }
}
