//! Networks, used by a real guest's kernel and programs, against servers of this test's own.
//!
//! Needs the image `mini`: without it and without a network these tests cannot run; they say so,
//! and pass.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use clade_store::Sha256;
use common::images::{alone, clade, mini};
use common::seconds;
use common::shell::Shell;

fn start(arguments: &[&str]) -> Shell {
    let client = clade(&["run", "mini"]).args(arguments).spawn();
    Shell::of(client.expect("clade"))
}

/// Starts a guest, and waits until it has an address.
fn connected(arguments: &[&str]) -> Shell {
    let mut guest = start(arguments);
    guest.run("until [ -e /etc/resolv.conf ]; do usleep 20000; done");
    guest
}

/// Every byte different from its neighbours, and no two blocks alike.
fn data(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u8)
        .collect()
}

#[test]
fn a_guest_reaches_this_host_and_names_and_nothing_that_is_not_there() {
    if mini("a_guest_reaches_this_host").is_none() {
        return;
    }
    let _alone = alone();
    let mut guest = connected(&["--name", "net-out", "--rm"]);
    assert!(
        guest
            .run("ip addr show dev eth0")
            .contains("inet 10.0.2.15/24")
    );
    assert_eq!(guest.run("hostname"), "net-out");
    let pings = guest.run("ping -c 3 -i 0.2 10.0.2.2");
    assert!(pings.contains("3 packets received"), "{pings}");
    let named = guest.run("nslookup net-out.clade");
    assert!(named.contains("Address: 10.0.2.15"), "{named}");
    let nobody = guest.run("nslookup nobody.clade");
    assert!(nobody.contains("NXDOMAIN"), "{nobody}");

    let closed = {
        let server = TcpListener::bind("127.0.0.1:0").expect("listen");
        server.local_addr().expect("address").port()
    };
    let refused = guest.run(&format!("wget -T 5 http://10.0.2.2:{closed}/"));
    assert!(refused.contains("Connection refused"), "{refused}");
    let nowhere = guest.run("wget -T 5 http://10.0.2.77/");
    assert!(nowhere.contains("can't connect"), "{nowhere}");
}

#[test]
fn a_hundred_megabytes_arrive_whole_both_ways() {
    if mini("a_hundred_megabytes_arrive_whole").is_none() {
        return;
    }
    let _alone = alone();
    const SIZE: usize = 100 << 20;
    let server = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = server.local_addr().expect("address").port();
    let bytes = data(SIZE);
    let expected = Sha256::of(&bytes).to_string();
    let thread = thread::spawn(move || {
        let (mut out, _) = server.accept().expect("accept");
        out.write_all(&bytes).expect("write");
        drop(out);
        let (mut back, _) = server.accept().expect("accept");
        let mut received = Vec::new();
        back.read_to_end(&mut received).expect("read");
        Sha256::of(&received).to_string()
    });
    let mut guest = connected(&[]);
    guest.run(&format!("nc 10.0.2.2 {port} </dev/null >/tmp/data"));
    let arrived = guest.run("sha256sum </tmp/data");
    assert_eq!(arrived.split_whitespace().next(), Some(expected.as_str()));
    guest.run(&format!("nc 10.0.2.2 {port} </tmp/data"));
    assert_eq!(thread.join().expect("server"), expected);
}

#[test]
fn a_forwarded_port_leads_to_the_guests_server() {
    if mini("a_forwarded_port_leads_to_the_guests_server").is_none() {
        return;
    }
    let _alone = alone();
    let free = {
        let server = TcpListener::bind("127.0.0.1:0").expect("listen");
        server.local_addr().expect("address").port()
    };
    let mut guest = connected(&["-p", &format!("{free}:80")]);
    guest.run("mkdir /www && echo from the guest >/www/index.html && httpd -h /www");
    let start = Instant::now();
    let answer = loop {
        let answer = get(free);
        if answer.contains("from the guest") || start.elapsed() > seconds(30) {
            break answer;
        }
    };
    assert!(answer.contains("from the guest"), "{answer}");

    let taken = clade(&["run", "mini", "-p", &format!("{free}:80")])
        .output()
        .expect("clade");
    let said = String::from_utf8_lossy(&taken.stderr);
    assert_eq!(taken.status.code(), Some(125), "{said}");
    assert!(said.contains(&format!("port {free}")), "{said}");
}

fn get(port: u16) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let _ = stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

#[test]
fn hosts_that_are_denied_are_out_of_reach() {
    if mini("hosts_that_are_denied_are_out_of_reach").is_none() {
        return;
    }
    let _alone = alone();
    let server = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = server.local_addr().expect("address").port();
    let mut guest = connected(&["--deny-host", "10.0.2.2"]);
    let denied = guest.run(&format!("nc -w 3 10.0.2.2 {port} </dev/null; echo $?"));
    assert!(denied.ends_with('1'), "{denied}");
    server.set_nonblocking(true).expect("nonblocking");
    assert!(server.accept().is_err(), "it came through");
}

#[test]
fn machines_on_a_switch_see_each_other_by_name_and_no_others() {
    if mini("machines_on_a_switch_see_each_other").is_none() {
        return;
    }
    let _alone = alone();
    let network = format!("test-{}", std::process::id());
    let other = format!("{network}-other");
    let start = |name: &str, network: &str| start(&["--name", name, "--rm", "--network", network]);
    let mut guests = [
        start("sw-a", &network),
        start("sw-b", &network),
        start("sw-c", &other),
    ];
    for guest in &mut guests {
        guest.run("until [ -e /etc/resolv.conf ]; do usleep 20000; done");
    }
    let [a, b, c] = &mut guests;
    let there = a.run("ping -c 3 -i 0.2 -W 5 sw-b");
    assert!(there.contains("3 packets received"), "{there}");
    let back = b.run("ping -c 3 -i 0.2 -W 5 sw-a.clade");
    assert!(back.contains("3 packets received"), "{back}");
    let named = c.run("ping -c 1 -W 2 sw-a");
    assert!(named.contains("bad address"), "{named}");
    // The same address may be somebody else's there: the guest's own.
    let here = address(a);
    let numbered = c.run(&format!("ping -c 2 -i 0.2 -W 2 {here}"));
    assert!(
        address(c) == here || numbered.contains("100% packet loss"),
        "{numbered}"
    );

    // Large segments go from machine to machine as they are.
    b.run("dd if=/dev/zero of=/tmp/data bs=1M count=20 && httpd -h /tmp");
    let moved = a.run("wget -q -O - http://sw-b/data | wc -c");
    assert_eq!(moved, (20 << 20).to_string());
    // And the world is there, too.
    let pings = a.run("ping -c 1 10.0.2.2");
    assert!(pings.contains("1 packets received"), "{pings}");
}

/// A guest's address.
fn address(guest: &mut Shell) -> String {
    let shown = guest.run("ip -4 -o addr show dev eth0");
    let mut words = shown.split_whitespace();
    let address = words.find_map(|word| word.strip_suffix("/24"));
    address.expect("an address").to_owned()
}

#[test]
fn a_machine_can_do_without_a_network() {
    if mini("a_machine_can_do_without_a_network").is_none() {
        return;
    }
    let _alone = alone();
    let mut guest = start(&["--network", "none"]);
    assert_eq!(guest.run("ls /sys/class/net"), "lo");
}
