//! A guest that is told that it has become a machine of its own, as Debian's own kernel reports it.
//!
//! Needs the image `mini`: without it and without a network this test cannot run; it says so, and
//! passes.

mod common;

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use clade_devices::ConsoleHost;
use clade_images::Image;
use clade_vmm::backends::Backends;
use clade_vmm::machine::{Ended, Machine, MachineHandle};
use clade_vmm::spec::{Interrupts, MachineConfig};
use common::images::{alone, mini};

const PATIENCE: Duration = Duration::from_secs(120);

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
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.text.lock().expect("lock").push_str(&text);
        self.more.notify_all();
    }

    fn input_room(&self) {}
}

impl Transcript {
    /// Waits until `what` was printed; returns and forgets all up to there.
    fn until(&self, what: &str) -> String {
        let started = Instant::now();
        let mut text = self.text.lock().expect("lock");
        while !text.contains(what) {
            let left = PATIENCE.saturating_sub(started.elapsed());
            assert!(!left.is_zero(), "no {what:?} in {text:?}");
            text = self.more.wait_timeout(text, left).expect("lock").0;
        }
        let end = text.find(what).expect("there") + what.len();
        text.drain(..end).collect()
    }
}

/// What the guest prints when it is given `command`.
fn ask(machine: &MachineHandle, transcript: &Transcript, command: &str) -> String {
    let line = format!("{command}; echo END$((1 + 1))\n");
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        let taken = machine.console().input(rest);
        rest = &rest[taken..];
        thread::sleep(Duration::from_millis(1));
    }
    transcript.until("END2")
}

#[test]
fn a_guest_that_becomes_another_draws_new_random_numbers() {
    const TEST: &str = "a_guest_that_becomes_another_draws_new_random_numbers";
    let _alone = alone();
    let Some(image) = mini(TEST) else {
        return;
    };
    for interrupts in [Interrupts::Aia, Interrupts::Plic] {
        renew(&image, interrupts);
    }
}

fn renew(image: &Image, interrupts: Interrupts) {
    const FORKED: &str = "crng reseeded due to virtual machine fork";
    let config = MachineConfig {
        kernel: Some(image.kernel.clone()),
        initrd: Some(image.initrd.clone()),
        cmdline: format!("{} clade.stdin=pipe", image.cmdline),
        interrupts,
        ..MachineConfig::default()
    };
    let transcript = Arc::new(Transcript::default());
    let machine = Machine::build(&config, &Backends::default(), transcript.clone());
    let machine = machine.expect("a machine");
    let handle = machine.handle();
    // Nobody listens yet: the driver finds no interrupt when it comes, which would be too early.
    handle.renew_generation([1; 16]);
    let run = thread::spawn(|| machine.run());
    transcript.until(READY);

    let ask = |command: &str| ask(&handle, &transcript, command);
    let drivers = ask("ls /sys/bus/platform/drivers/vmgenid");
    assert!(drivers.contains("102000.rng"), "{drivers}");
    let forks = |log: &str| log.matches(FORKED).count();
    assert_eq!(forks(&ask("dmesg")), 0);
    for number in 1..=3 {
        handle.renew_generation([10 + number as u8; 16]);
        assert_eq!(forks(&ask("dmesg")), number, "{interrupts:?}");
    }
    // The same again is no other.
    handle.renew_generation([13; 16]);
    assert_eq!(forks(&ask("dmesg")), 3);
    let counts = ask("grep vmgenid /proc/interrupts");
    let count = counts.split_whitespace().nth(1);
    assert_eq!(count, Some("4"), "{counts}");

    handle.stop();
    let finished = run.join().expect("the machine's thread").expect("a run");
    assert_eq!(finished.how, Ended::Stopped);
}
