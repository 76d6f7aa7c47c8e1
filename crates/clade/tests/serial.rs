//! Named serial ports of a real guest.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use common::machine::{Machine, NAME};
use common::{Home, finish, long, read_until};

/// More bytes than a socket holds.
const MANY: usize = 1 << 20;

/// So many of those are more than a port's queue holds.
const COPIES: usize = 16;

/// The sockets that `clade inspect` names, with their ports.
fn sockets(machine: &Machine) -> Vec<(String, PathBuf)> {
    let told = machine.done(&["inspect", NAME]);
    let json: serde_json::Value = serde_json::from_str(told.stdout()).expect("JSON");
    let ports = json[0]["serial_ports"].as_array().expect("ports");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    ports
        .iter()
        .map(|port| (text(&port["name"]), text(&port["socket"]).into()))
        .collect()
}

fn connect(socket: &PathBuf) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("a port's socket");
    stream.set_read_timeout(Some(long())).expect("patience");
    stream.set_write_timeout(Some(long())).expect("patience");
    stream
}

/// The guest's device of the port called `name`, as udev would find it.
fn device(machine: &Machine, name: &str) -> String {
    let script = format!("grep -l '^{name}$' /sys/class/virtio-ports/*/name | cut -d/ -f5");
    let found = machine.run(&script);
    let device = found.trim();
    assert!(device.starts_with("vport"), "{found:?}");
    format!("/dev/{device}")
}

#[test]
fn programs_talk_over_serial_ports() {
    let options = ["--serial", "agent.0", "--serial", "other"];
    let Some(machine) = Machine::start("serial ports", &options) else {
        return;
    };
    let machine = &machine;
    let sockets = sockets(machine);
    let names: Vec<_> = sockets.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["agent.0", "other"]);
    let (agent, other) = (&sockets[0].1, &sockets[1].1);
    let port = device(machine, "agent.0");
    assert_ne!(port, device(machine, "other"));

    many_bytes_pass_unchanged(machine, agent, &port);
    a_hang_up_is_seen_and_others_can_connect(machine, agent, &port);
    who_comes_second_waits(machine, agent, &port);
    a_question_that_has_ended_is_answered(machine, agent, &port);
    the_other_port_is_another(machine, other);

    machine.done(&["stop", NAME]);
    assert!(!agent.exists());
}

/// Whoever reads before the client is connected finds the end at once, and tries again.
fn receive(port: &str, count: usize) -> String {
    format!("until [ -s /got ]; do head -c {count} <{port} >/got; done")
}

fn many_bytes_pass_unchanged(machine: &Machine, socket: &PathBuf, port: &str) {
    let bytes: Vec<u8> = (0..MANY as u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut stream = connect(socket);
    let mut writer = stream.try_clone().expect("socket");
    let sent = bytes.clone();
    let writing = thread::spawn(move || writer.write_all(&sent).expect("room"));
    machine.run(&receive(port, MANY));
    writing.join().expect("all sent");

    // The guest's writer waits until somebody reads.
    let script = format!("for copy in $(seq {COPIES}); do cat /got; done >{port}");
    let mut back = machine
        .home
        .clade(&["exec", NAME, "--", "sh", "-c", &script]);
    let mut back = back.spawn().expect("clade");
    thread::sleep(Duration::from_secs(2));
    assert!(back.try_wait().expect("state").is_none(), "nobody has read");
    let mut got = vec![0; COPIES * MANY];
    stream.read_exact(&mut got).expect("all of it");
    let bytes = bytes.repeat(COPIES);
    assert!(got == bytes, "bytes changed on the way");
    assert_eq!(finish(back).code, Some(0));
    machine.run("rm /got");
}

fn a_hang_up_is_seen_and_others_can_connect(machine: &Machine, socket: &PathBuf, port: &str) {
    for round in 0..3 {
        let mut stream = connect(socket);
        write!(stream, "last {round}").expect("room");
        drop(stream);
        // `cat` ends with the hang-up.
        let script = format!("until [ -s /got ]; do cat {port} >/got; done; cat /got; rm /got");
        assert_eq!(machine.run(&script), format!("last {round}"));
    }
}

fn who_comes_second_waits(machine: &Machine, socket: &PathBuf, port: &str) {
    let mut first = connect(socket);
    let mut second = connect(socket);
    second.write_all(b"second").expect("room");
    machine.run(&format!("echo for the first >{port}"));
    assert_eq!(read_until(&mut first, "\n"), "for the first\n");
    first.write_all(b"first!").expect("room");
    drop(first);
    // The port stays open in between: what has come in for a program that closes it is lost.
    let read = "until [ -s /got ]; do head -c 6 <&3 >/got; done; cat /got; rm /got";
    let got = machine.run(&format!("exec 3<{port}; {read}; {read}"));
    assert_eq!(got, "first!second");
    machine.run(&format!("echo for the second >{port}"));
    assert_eq!(read_until(&mut second, "\n"), "for the second\n");
}

fn a_question_that_has_ended_is_answered(machine: &Machine, socket: &PathBuf, port: &str) {
    let mut stream = connect(socket);
    stream.write_all(b"question").expect("room");
    stream.shutdown(Shutdown::Write).expect("half closed");
    let script = format!(
        "{}; echo answer to $(cat /got) >{port}; rm /got",
        receive(port, 8)
    );
    machine.run(&script);
    assert_eq!(read_until(&mut stream, "\n"), "answer to question\n");
}

fn the_other_port_is_another(machine: &Machine, socket: &PathBuf) {
    let mut stream = connect(socket);
    let port = device(machine, "other");
    machine.run(&format!("echo from the other >{port}"));
    assert_eq!(read_until(&mut stream, "\n"), "from the other\n");
}

#[test]
fn ports_that_cannot_be_are_refused_at_once() {
    let home = Home::new();
    let refused = |arguments: &[&str], reason: &str| {
        let done = home.run(&[&["run", "--kernel", "/nowhere"], arguments].concat());
        assert_ne!(done.code, Some(0));
        assert!(done.stderr.contains(reason), "{}", done.stderr);
    };
    refused(&["--serial", "a/b"], "cannot be the name of a serial port");
    refused(
        &["--serial", "a", "--serial", "b", "--serial", "a"],
        "two serial ports are called `a`",
    );
    let names: Vec<String> = (0..16).map(|number| format!("port{number}")).collect();
    let many: Vec<&str> = names.iter().flat_map(|name| ["--serial", name]).collect();
    refused(&many, "up to 15");
}
