//! What the network itself offers, and what goes without connections.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::{dhcpv4, icmp, udp};
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::guest::{Guest, config};
use crate::user::UserNetwork;
use crate::user::addresses::{DNS, GATEWAY, GUEST};
use crate::user::dns::Dns;
use crate::user::names::Names;

fn udp_socket(guest: &mut Guest, port: u16) -> SocketHandle {
    let room = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 100_000]);
    let mut socket = udp::Socket::new(room(), room());
    socket.bind(port).expect("port");
    guest.add(socket)
}

fn ask(guest: &mut Guest, handle: SocketHandle, to: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let socket = guest.get::<udp::Socket<'_>>(handle);
    socket.send_slice(data, to).expect("sent");
    guest.until("an answer comes", |guest| {
        let socket = guest.get::<udp::Socket<'_>>(handle);
        let (data, from) = socket.recv().ok()?;
        assert_eq!(from.endpoint, IpEndpoint::from(to));
        Some(data.to_vec())
    })
}

#[test]
fn dhcp_gives_the_guest_its_address() {
    let mut guest = Guest::plain();
    guest.set_address(None);
    let handle = guest.add(dhcpv4::Socket::new());
    let (address, router, servers) = guest.until("there is an address", |guest| {
        match guest.get::<dhcpv4::Socket<'_>>(handle).poll()? {
            dhcpv4::Event::Configured(config) => {
                Some((config.address, config.router, config.dns_servers.to_vec()))
            }
            dhcpv4::Event::Deconfigured => None,
        }
    });
    assert_eq!((address.address(), address.prefix_len()), (GUEST, 24));
    assert_eq!(router, Some(GATEWAY));
    assert_eq!(servers, [DNS]);
}

#[test]
fn datagrams_go_out_and_back_whole() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let port = server.local_addr().expect("address").port();
    thread::spawn(move || {
        let mut buffer = [0; 65535];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            buffer[..length].reverse();
            let _ = server.send_to(&buffer[..length], from);
        }
    });
    let mut guest = Guest::plain();
    let handle = udp_socket(&mut guest, 5000);
    for length in [0, 1, 1000, 1472] {
        let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let mut back = ask(&mut guest, handle, (GATEWAY, port), &data);
        back.reverse();
        assert_eq!(back, data);
    }
}

#[test]
fn the_network_answers_pings_and_is_honest_about_others() {
    let mut guest = Guest::plain();
    let room = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 2000]);
    let mut socket = icmp::Socket::new(room(), room());
    socket.bind(icmp::Endpoint::Ident(7)).expect("bind");
    let handle = guest.add(socket);
    let message = smoltcp::wire::Icmpv4Repr::EchoRequest {
        ident: 7,
        seq_no: 1,
        data: b"hello",
    };
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(
        &mut smoltcp::wire::Icmpv4Packet::new_unchecked(&mut bytes),
        &smoltcp::phy::ChecksumCapabilities::default(),
    );
    for to in [GATEWAY, DNS] {
        let socket = guest.get::<icmp::Socket<'_>>(handle);
        socket.send_slice(&bytes, to.into()).expect("sent");
        let from = guest.until("an answer comes", |guest| {
            let socket = guest.get::<icmp::Socket<'_>>(handle);
            socket.recv().ok().map(|(_, from)| from)
        });
        assert_eq!(from, IpAddress::from(to));
    }
}

fn query(name: &str, kind: TYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(77);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new_unchecked(name);
    let class = QCLASS::CLASS(CLASS::IN);
    packet
        .questions
        .push(Question::new(name, QTYPE::TYPE(kind), class, false));
    packet.build_bytes_vec().expect("query")
}

/// A resolver on the host that knows one address for every name.
fn resolver(address: u32) -> std::net::SocketAddr {
    let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let here = server.local_addr().expect("address");
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            let query = Packet::parse(&buffer[..length]).expect("query");
            let mut reply = Packet::new_reply(query.id());
            let name = query.questions[0].qname.clone();
            reply.questions = query.questions.clone();
            let data = RData::A(simple_dns::rdata::A { address });
            let record = simple_dns::ResourceRecord::new(name, CLASS::IN, 60, data);
            reply.answers.push(record);
            let reply = reply.build_bytes_vec().expect("reply");
            let _ = server.send_to(&reply, from);
        }
    });
    here
}

fn addresses(reply: &[u8]) -> (RCODE, Vec<u32>) {
    let reply = Packet::parse(reply).expect("reply");
    assert_eq!(reply.id(), 77);
    assert!(reply.has_flags(PacketFlag::RESPONSE));
    let addresses = reply
        .answers
        .iter()
        .filter_map(|record| match &record.rdata {
            RData::A(a) => Some(a.address),
            _ => None,
        });
    (reply.rcode(), addresses.collect())
}

#[test]
fn names_are_answered_here_or_by_the_hosts_resolver() {
    let mut network = UserNetwork::open(config()).expect("network");
    let closed = {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        socket.local_addr().expect("address")
    };
    let mut names = Names::default();
    names.add_machine("Box", GUEST);
    names.add(
        "known.example".to_owned(),
        Ipv4Addr::new(192, 0, 2, 9).into(),
    );
    network.dns = Dns::new(names, vec![closed, resolver(0xc633_6401)]);
    let mut guest = Guest::new(network);
    let handle = udp_socket(&mut guest, 5353);
    let mut ask = |name: &str, kind| {
        let reply = ask(&mut guest, handle, (DNS, 53), &query(name, kind));
        addresses(&reply)
    };
    assert_eq!(ask("BOX", TYPE::A), (RCODE::NoError, vec![GUEST.into()]));
    assert_eq!(
        ask("box.clade", TYPE::A),
        (RCODE::NoError, vec![GUEST.into()])
    );
    assert_eq!(ask("box", TYPE::AAAA), (RCODE::NoError, vec![]));
    assert_eq!(ask("nobody.clade", TYPE::A), (RCODE::NameError, vec![]));
    assert_eq!(
        ask("known.example", TYPE::A),
        (RCODE::NoError, vec![0xc000_0209])
    );
}

#[test]
fn a_resolver_that_is_gone_is_not_asked_again() {
    let mut network = UserNetwork::open(config()).expect("network");
    let closed = {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        socket.local_addr().expect("address")
    };
    network.dns = Dns::new(Names::default(), vec![closed, resolver(0xc633_6401)]);
    let mut guest = Guest::new(network);
    let first = udp_socket(&mut guest, 5353);
    let question = query("www.example", TYPE::A);
    let socket = guest.get::<udp::Socket<'_>>(first);
    socket.send_slice(&question, (DNS, 53)).expect("sent");
    guest.until("the other resolver's turn has come", |guest| {
        (guest.network.dns.resolver() != Some(closed)).then_some(())
    });
    let second = udp_socket(&mut guest, 5354);
    let reply = ask(&mut guest, second, (DNS, 53), &question);
    assert_eq!(addresses(&reply), (RCODE::NoError, vec![0xc633_6401]));
}

#[test]
fn rules_decide_what_can_be_reached() {
    let mut config = config();
    config.allow = vec!["good.example".parse().expect("host")];
    let mut network = UserNetwork::open(config).expect("network");
    network.dns = Dns::new(Names::default(), vec![resolver(0xc633_6401)]);
    let mut guest = Guest::new(network);
    let handle = udp_socket(&mut guest, 5353);
    let good = Ipv4Addr::new(198, 51, 100, 1);
    assert!(!guest.network.rules.permits_address(good.into()));
    let reply = ask(
        &mut guest,
        handle,
        (DNS, 53),
        &query("bad.example", TYPE::A),
    );
    assert_eq!(addresses(&reply), (RCODE::NameError, vec![]));
    let reply = ask(
        &mut guest,
        handle,
        (DNS, 53),
        &query("www.good.example", TYPE::A),
    );
    assert_eq!(addresses(&reply), (RCODE::NoError, vec![good.into()]));
    assert!(guest.network.rules.permits_address(good.into()));
    assert!(!guest.network.rules.permits_address(GATEWAY.into()));
}

#[test]
fn a_forwarded_port_carries_datagrams_both_ways() {
    let mut config = config();
    config.forwards = vec!["0:53/udp".parse().expect("forward")];
    let network = UserNetwork::open(config).expect("network");
    let forward = network.forwards().next().expect("forward");
    let mut guest = Guest::new(network);
    let handle = udp_socket(&mut guest, 53);
    let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
    client
        .connect((forward.address, forward.host))
        .expect("connect");
    for round in 0..3u8 {
        client.send(&[round; 10]).expect("send");
        let (data, from) = guest.until("it arrives", |guest| {
            let socket = guest.get::<udp::Socket<'_>>(handle);
            let (data, from) = socket.recv().ok()?;
            Some((data.to_vec(), from.endpoint))
        });
        assert_eq!(data, [round; 10]);
        assert_eq!(from.addr, GATEWAY.into());
        let socket = guest.get::<udp::Socket<'_>>(handle);
        socket.send_slice(b"back", from).expect("sent");
        guest.round();
        guest.round();
        let mut buffer = [0; 16];
        let length = client.recv(&mut buffer).expect("answer");
        assert_eq!(&buffer[..length], b"back");
    }
}
