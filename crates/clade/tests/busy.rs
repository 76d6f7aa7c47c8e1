//! A snapshot of a machine amid much traffic: nothing of it is torn, neither where it goes on nor where it is
//! restored.
//!
//! Needs the image `mini`: without it this test cannot run; it says so, and passes.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::machine::{Machine, NAME};
use common::{SetAtEnd, long};
use sha2::{Digest, Sha256};

/// Size of what is sent, in MiB.
const SIZE: usize = 64;

/// A server, memory that is written to, and a sum of what is served.
const BEGIN: &str = "mkdir /www; head -c 67108864 /dev/urandom >/www/blob; httpd -h /www; \
    (while :; do cat /www/blob >/tmp/copy; cmp /www/blob /tmp/copy || touch /tmp/torn; done) \
    >/dev/null 2>&1 & sha256sum </www/blob | cut -c1-64";

#[test]
fn nothing_is_torn_by_a_snapshot_amid_traffic() {
    let options = ["-p", "0:80", "-m", "512M"];
    let Some(machine) = Machine::start("nothing_is_torn_by_a_snapshot_amid_traffic", &options)
    else {
        return;
    };
    let sum = machine.run(BEGIN);
    let port = port_of(&machine, NAME);
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                assert_eq!(fetch(port), sum.trim());
            }
        });
        let end = SetAtEnd(&enough);
        for tag in ["a", "b", "c", "d"] {
            machine.done(&["snapshot", NAME, "-t", tag]);
        }
        drop(end);
    });
    for tag in ["a", "d"] {
        let snapshot = format!("{NAME}@{tag}");
        machine.done(&["restore", &snapshot, "--as", tag]);
        assert_eq!(fetch(port_of(&machine, tag)), sum.trim());
        machine.done(&["exec", tag, "--", "test", "!", "-e", "/tmp/torn"]);
    }
    machine.run("test ! -e /tmp/torn");
}

/// The port of the host that leads to a machine's port 80.
fn port_of(machine: &Machine, name: &str) -> u16 {
    let list = machine.done(&["ps", "--json"]);
    let list: serde_json::Value = serde_json::from_str(list.stdout()).expect("JSON");
    let rows = list.as_array().expect("list");
    let row = rows.iter().find(|row| row["name"] == name).expect(name);
    let port = row["ports"][0].as_str().expect("a port");
    let host = port.rsplit(':').nth(1).expect("of the host");
    host.parse().expect("a number")
}

/// The sum of what is served.
fn fetch(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("port");
    stream.set_read_timeout(Some(long())).expect("patience");
    stream
        .write_all(b"GET /blob HTTP/1.0\r\n\r\n")
        .expect("request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answer");
    let body = answer.len().checked_sub(SIZE << 20).expect("all of it");
    let sum = Sha256::digest(&answer[body..]);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}
