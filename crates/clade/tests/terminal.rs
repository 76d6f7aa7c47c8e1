//! `clade run` on a terminal: a pseudo-terminal whose other end the test holds.

mod common;

use common::guest::Guest;
use common::pty::Terminal;
use common::{Home, engine, read_until, wait, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;

#[test]
fn keys_go_to_the_guest_until_it_powers_off() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("ready").echo_until('q').power_off());
    let mut terminal = Terminal::new();
    let mut child = terminal.run(&home, &["run", "--kernel", &kernel, "--memory", "64M"]);
    let shown = read_until(&mut terminal.user, "ready");
    let processor = match engine().as_str() {
        "kvm" => "CPU",
        _ => "hart",
    };
    let told = format!("guest.elf · 1 {processor} · 64 MiB · Ctrl-] detaches\u{1b}[0m\r\n");
    assert!(shown.contains(&told), "{shown:?}");
    assert!(terminal.is_raw());
    // Ctrl-C and Ctrl-Z are the guest's, and an Enter is no newline.
    terminal.user.write_all(b"\x03\x1a\rq").expect("type");
    read_until(&mut terminal.user, "\x03\x1a\rq");
    assert_eq!(wait(&mut child).code(), Some(0));
    terminal.assert_restored();
}

#[test]
fn ctrl_bracket_detaches_and_says_how_to_come_back() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("ready").echo_until('q').power_off());
    let mut terminal = Terminal::new();
    let mut child = terminal.run(&home, &["run", "--kernel", &kernel, "--name", "one"]);
    read_until(&mut terminal.user, "ready");
    terminal.user.write_all(b"ab\x1dcd").expect("type");
    let shown = read_until(&mut terminal.user, "clade stop one");
    assert!(shown.contains("clade console one"), "{shown:?}");
    assert_eq!(wait(&mut child).code(), Some(0));
    terminal.assert_restored();
    assert_eq!(home.machines(), ["one"]);

    let mut child = terminal.run(&home, &["console", "one"]);
    let shown = read_until(&mut terminal.user, "readyab");
    assert!(shown.contains("one · Ctrl-] detaches"), "{shown:?}");
    wait_until("the terminal is raw", || terminal.is_raw());
    terminal.user.write_all(b"\x1d").expect("type");
    read_until(&mut terminal.user, "detached");
    assert_eq!(wait(&mut child).code(), Some(0));
    terminal.assert_restored();
    assert_eq!(home.run(&["kill", "one"]).code, Some(0));
}

#[test]
fn the_terminal_is_restored_after_signals() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("ready").spin());
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let mut terminal = Terminal::new();
        let mut child = terminal.run(&home, &["run", "--kernel", &kernel]);
        read_until(&mut terminal.user, "ready");
        wait_until("the terminal is raw", || terminal.is_raw());
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("pid");
        kill_process(pid, signal).expect("kill");
        assert_eq!(wait(&mut child).code(), Some(code));
        terminal.assert_restored();
        home.wait_for_no_machines();
    }
}

#[test]
fn the_terminal_is_restored_when_the_machine_is_stopped_or_dies() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("ready").spin());
    for (kill, code) in [(false, 143), (true, 125)] {
        let mut terminal = Terminal::new();
        let mut child = terminal.run(
            &home,
            &["run", "--rm", "--kernel", &kernel, "--name", "one"],
        );
        read_until(&mut terminal.user, "ready");
        wait_until("the terminal is raw", || terminal.is_raw());
        if kill {
            let ps = home.run(&["ps", "--json"]);
            let ps: serde_json::Value = serde_json::from_slice(&ps.stdout).expect("JSON");
            let pid = ps[0]["pid"]
                .as_i64()
                .and_then(|pid| i32::try_from(pid).ok());
            let pid = pid.and_then(Pid::from_raw).expect("pid");
            kill_process(pid, Signal::KILL).expect("kill");
        } else {
            assert_eq!(home.run(&["kill", "one"]).code, Some(0));
        }
        assert_eq!(wait(&mut child).code(), Some(code));
        terminal.assert_restored();
        assert!(home.run(&["ps", "--json"]).stdout().contains("[]"));
    }
}
