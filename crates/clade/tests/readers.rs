//! Guests that print more than anybody reads.

mod common;

use std::fs;
use std::io::Read;
use std::thread;
use std::time::Duration;

use common::guest::Guest;
use common::{Home, read_until, wait, wait_until};

/// How much a machine's only guest has printed, in bytes.
fn printed(home: &Home) -> u64 {
    let machines = home.machines();
    let log = |name: &String| {
        let path = format!("data/clade/machines/{name}/console.log");
        fs::metadata(home.path(&path)).ok()
    };
    machines.first().and_then(log).map_or(0, |log| log.len())
}

/// The same when it does not print any more: it waits, or is done.
fn printed_at_last(home: &Home) -> u64 {
    wait_until("it prints", || printed(home) > 0);
    loop {
        let before = printed(home);
        thread::sleep(Duration::from_secs(1));
        if printed(home) == before {
            return before;
        }
    }
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let home = Home::new();
    let line = "the quick brown fox jumps over the lazy dog, and over it again\n";
    let kernel = home.guest(&Guest::new().print_often(line, 40).power_off());
    let mut child = home
        .clade(&["run", "--kernel", &kernel])
        .spawn()
        .expect("clade");
    assert!(printed_at_last(&home) < 40_000 * line.len() as u64);
    let mut stdout = child.stdout.take().expect("stdout");
    let mut text = String::new();
    stdout.read_to_string(&mut text).expect("read");
    assert_eq!(wait(&mut child).code(), Some(0));
    assert_eq!(text.len(), 40_000 * line.len());
    assert!(text == line.repeat(40_000));
}

#[test]
fn a_reader_that_goes_away_ends_the_machine() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print_often("still here\n", 2000).spin());
    let mut child = home
        .clade(&["run", "--kernel", &kernel])
        .spawn()
        .expect("clade");
    let mut stdout = child.stdout.take().expect("stdout");
    read_until(&mut stdout, "still here\n");
    drop(stdout);
    assert_eq!(wait(&mut child).code(), Some(128 + 13));
    home.wait_for_no_machines();
}
