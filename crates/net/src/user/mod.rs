//! The user-mode network: a network of one guest, with the host's sockets behind it.
//!
//! It is 10.0.2.0/24, as with QEMU: the guest gets 10.0.2.15 by DHCP, the gateway is 10.0.2.2 and
//! stands for the host's own address 127.0.0.1, the name server is 10.0.2.3. What the guest sends
//! to other addresses goes there from sockets of this process, and so with the rights, and under
//! the address, of the user.

pub mod addresses;
mod arp;
mod datagrams;
mod destination;
mod dhcp;
mod dns;
mod forwards;
mod ip;
mod names;
mod rules;
mod tcp;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Instant;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, UdpPacket,
};

use self::addresses::{DNS, GATEWAY, GATEWAY_MAC, is_local, is_own};
use self::datagrams::{Arrived, Datagrams, Key, Kind};
use self::destination::{host_of, is_broadcast, reason};
use self::dns::{Answer, Dns};
pub use self::forwards::ForwardFailed;
use self::forwards::{Listener, Open, seen_as};
use self::ip::Identification;
use self::names::Names;
use self::rules::Rules;
use self::tcp::{Refusal, Tcp};
use crate::output::{Output, ethertype};
use crate::packet::{ETHERNET, HEADER_LENGTH};
use crate::poller::{Poller, Token};
use crate::{Forward, Host, MacAddress};

/// How many datagrams of a forwarded port are taken in one round.
const ROUND: usize = 64;

/// What makes a user-mode network.
#[derive(Debug, Clone)]
pub struct UserConfig {
    /// The address of the machine's card.
    pub mac: MacAddress,
    /// The guest's address.
    pub guest: Ipv4Addr,
    /// The name that the guest is given.
    pub host_name: String,
    /// Ports of the host that lead to the guest.
    pub forwards: Vec<Forward>,
    /// If there are any, the only hosts that the guest may reach.
    pub allow: Vec<Host>,
    /// Hosts that the guest may not reach.
    pub deny: Vec<Host>,
}

/// Why there is no user-mode network.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A port cannot be forwarded.
    #[error(transparent)]
    Forward(#[from] ForwardFailed),
    /// The host lacks something.
    #[error("the host refuses what the user-mode network needs: {0}")]
    Host(#[from] io::Error),
}

/// The network. It is driven from outside: packets of the guest come in by [`Self::send`], what
/// the host's sockets bring and time calls for is done by [`Self::poll`], and packets for the
/// guest go out by [`Self::receive`].
pub struct UserNetwork {
    guest: Ipv4Addr,
    host_name: String,
    start: std::time::Instant,
    output: Output,
    poller: Poller,
    tcp: Tcp,
    datagrams: Datagrams,
    dns: Dns,
    rules: Rules,
    forwards: Vec<Open>,
    identification: Identification,
}

impl UserNetwork {
    /// Opens all that must be opened before the process is confined: from then on only sockets
    /// are made.
    ///
    /// # Errors
    /// When a port cannot be forwarded, or the host gives no descriptors.
    pub fn open(config: UserConfig) -> Result<Self, UserError> {
        let poller = Poller::new()?;
        let forwards = config
            .forwards
            .into_iter()
            .map(Open::new)
            .collect::<Result<Vec<_>, _>>()?;
        for (index, open) in forwards.iter().enumerate() {
            open.watch(index, &poller)?;
        }
        let mut names = Names::of_host();
        names.add_machine(&config.host_name, config.guest);
        let mut output = Output::new(GATEWAY_MAC, config.mac);
        Ok(UserNetwork {
            guest: config.guest,
            host_name: config.host_name,
            start: std::time::Instant::now(),
            tcp: Tcp::new(&mut output)?,
            output,
            poller,
            datagrams: Datagrams::new(),
            dns: Dns::new(names, names::resolvers_of_host()),
            rules: Rules::new(config.allow, config.deny),
            forwards,
            identification: Identification::default(),
        })
    }

    /// The forwarded ports as they are open.
    pub fn forwards(&self) -> impl Iterator<Item = Forward> + '_ {
        self.forwards.iter().map(|open| open.forward)
    }

    /// Can be read when [`Self::poll`] has something to do.
    #[must_use]
    pub fn watched(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }

    /// Forgets everything about the guest: it starts anew. Connections are broken off.
    pub fn reset(&mut self) {
        self.tcp.clear();
        self.datagrams.clear();
        self.output.clear();
    }

    /// Lets the guest find another machine by its name.
    pub fn add_machine(&mut self, name: &str, address: Ipv4Addr) {
        self.dns.names.add_machine(name, address);
    }

    /// A machine has gone.
    pub fn remove_machine(&mut self, name: &str) {
        if name != self.host_name {
            self.dns.names.remove_machine(name);
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// Takes a packet of the guest, and may change it.
    pub fn send(&mut self, packet: &mut [u8]) {
        let Some(frame) = packet.get_mut(HEADER_LENGTH..) else {
            return;
        };
        let Some((ethernet, payload)) = frame.split_at_mut_checked(ETHERNET) else {
            return;
        };
        let source = MacAddress(*ethernet[6..].first_chunk().expect("six bytes"));
        match u16::from_be_bytes([ethernet[12], ethernet[13]]) {
            ethertype::ARP => arp::input(payload, &mut self.output),
            ethertype::IPV4 => self.send_ip(source, payload),
            _ => {}
        }
    }

    fn send_ip(&mut self, source: MacAddress, payload: &mut [u8]) {
        let Ok(packet) = Ipv4Packet::new_checked(&*payload) else {
            return;
        };
        let (from, to) = (packet.src_addr(), packet.dst_addr());
        let (protocol, header) = (packet.next_header(), usize::from(packet.header_len()));
        let fragment = packet.more_frags() || packet.frag_offset() != 0;
        let length = usize::from(packet.total_len());
        if packet.version() != 4 || header < 20 || fragment {
            return;
        }
        let payload = &mut payload[..length];
        if from.is_unspecified() || protocol == IpProtocol::Udp && to.is_broadcast() {
            return self.serve_dhcp(payload, header);
        }
        if !is_local(from) || is_own(from) || source.is_group() {
            return;
        }
        self.output.learn(from, source);
        match protocol {
            IpProtocol::Tcp => self.send_tcp(payload),
            IpProtocol::Udp => self.send_udp(payload, header, from, to),
            IpProtocol::Icmp => self.send_icmp(payload, header, from, to),
            _ => self.unreachable(payload, Icmpv4DstUnreachable::ProtoUnreachable),
        }
    }

    fn send_tcp(&mut self, packet: &mut [u8]) {
        let now = self.now();
        let Self {
            tcp,
            output,
            poller,
            dns,
            rules,
            ..
        } = self;
        let host = |remote| host_of(remote, rules, dns);
        if let Err(refusal) = tcp.input(packet, now, output, poller, host) {
            self.refuse(refusal);
        }
    }

    /// Tells the guest why it cannot have a connection.
    fn refuse(&mut self, Refusal { syn, error }: Refusal) {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                let now = self.now();
                self.tcp.refuse(&syn, now, &mut self.output);
            }
            kind => self.unreachable(&syn, reason(kind)),
        }
    }

    fn unreachable(&mut self, packet: &[u8], reason: Icmpv4DstUnreachable) {
        ip::send_unreachable(&mut self.output, &mut self.identification, packet, reason);
    }

    fn send_udp(&mut self, packet: &[u8], header: usize, from: Ipv4Addr, to: Ipv4Addr) {
        let Ok(datagram) = UdpPacket::new_checked(&packet[header..]) else {
            return;
        };
        let guest = SocketAddrV4::new(from, datagram.src_port());
        let remote = SocketAddrV4::new(to, datagram.dst_port());
        if remote.port() == DHCP_SERVER && is_own(to) {
            return self.serve_dhcp(packet, header);
        }
        if remote.port() == 0 || guest.port() == 0 || to.is_multicast() || is_broadcast(to) {
            return;
        }
        let data = datagram.payload();
        if remote == SocketAddrV4::new(DNS, 53) {
            return self.serve_dns(packet, guest, data);
        }
        let key = Key {
            kind: Kind::Udp,
            guest,
            remote,
        };
        let forwarded = self.datagrams.is_forwarded(&key);
        match host_of(remote, &self.rules, &self.dns) {
            Ok(host) => self.pass_on(key, host, false, (packet, data)),
            // Where that goes is known.
            Err(_) if forwarded => self.pass_on(key, remote.into(), false, (packet, data)),
            Err(error) => self.unreachable(packet, reason(error.kind())),
        }
    }

    fn serve_dns(&mut self, packet: &[u8], guest: SocketAddrV4, data: &[u8]) {
        let remote = SocketAddrV4::new(DNS, 53);
        match self.dns.question(data, &mut self.rules) {
            None => {}
            Some(Answer::Here(reply)) => {
                let Self {
                    output,
                    identification,
                    ..
                } = self;
                ip::send_udp(output, identification, remote, guest, &reply);
            }
            Some(Answer::Ask(resolver)) => {
                let key = Key {
                    kind: Kind::Udp,
                    guest,
                    remote,
                };
                self.pass_on(key, resolver, true, (packet, data));
            }
        }
    }

    fn pass_on(&mut self, key: Key, host: SocketAddr, resolver: bool, sent: (&[u8], &[u8])) {
        let now = self.now();
        let Self {
            datagrams, poller, ..
        } = self;
        if let Err(error) = datagrams.send(key, host, resolver, sent, now, poller) {
            if resolver {
                self.dns.failed(host);
            }
            self.unreachable(sent.0, reason(error.kind()));
        }
    }

    fn send_icmp(&mut self, packet: &[u8], header: usize, from: Ipv4Addr, to: Ipv4Addr) {
        let Ok(message) = Icmpv4Packet::new_checked(&packet[header..]) else {
            return;
        };
        let ignored = ChecksumCapabilities::ignored();
        let Ok(Icmpv4Repr::EchoRequest {
            ident,
            seq_no,
            data,
        }) = Icmpv4Repr::parse(&message, &ignored)
        else {
            return;
        };
        if is_own(to) {
            let reply = Icmpv4Repr::EchoReply {
                ident,
                seq_no,
                data,
            };
            let Self {
                output,
                identification,
                ..
            } = self;
            return ip::send_icmp(output, identification, (to, from), &reply);
        }
        let key = Key {
            kind: Kind::Echo,
            guest: SocketAddrV4::new(from, ident),
            remote: SocketAddrV4::new(to, 0),
        };
        match host_of(key.remote, &self.rules, &self.dns) {
            Ok(host) => self.pass_on(key, host, false, (packet, &packet[header..])),
            Err(error) => self.unreachable(packet, reason(error.kind())),
        }
    }

    fn serve_dhcp(&mut self, packet: &[u8], header: usize) {
        let Ok(datagram) = UdpPacket::new_checked(&packet[header..]) else {
            return;
        };
        if datagram.dst_port() != DHCP_SERVER {
            return;
        }
        let reply = dhcp::reply(datagram.payload(), self.guest, &self.host_name);
        if let Some((to, message)) = reply {
            let from = SocketAddrV4::new(GATEWAY, DHCP_SERVER);
            let Self {
                output,
                identification,
                ..
            } = self;
            ip::send_udp(output, identification, from, to, &message);
        }
    }

    /// Does what the host's sockets and the time call for. Returns after how long there will be
    /// something to do again at the latest.
    pub fn poll(&mut self) -> Option<Duration> {
        let now = self.now();
        for (token, ready) in self.poller.events() {
            match token {
                Token::Tcp(id) => self.tcp.ready(id, ready, now),
                Token::Datagram(id) => self.datagrams.ready(id),
                Token::Forward(index) => self.serve_forward(index, now),
                Token::Peer(_) | Token::Listener | Token::Inner => {}
            }
        }
        let mut refused = Vec::new();
        self.tcp.serve(now, &mut self.output, &mut refused);
        for refusal in refused {
            self.refuse(refusal);
        }
        self.receive_datagrams(now);
        let Self { datagrams, dns, .. } = self;
        datagrams.sweep(now, |resolver| dns.failed(resolver));
        let deadlines = [self.tcp.deadline(), self.datagrams.deadline()];
        let next = deadlines.into_iter().flatten().min()?;
        let now = self.now();
        Some((next - now.min(next)).into())
    }

    fn receive_datagrams(&mut self, now: Instant) {
        let Self {
            datagrams,
            output,
            identification,
            rules,
            ..
        } = self;
        if !output.has_room() {
            return;
        }
        datagrams.receive(now, |arrived| {
            match arrived {
                Arrived::Datagram(key, data, from_resolver) => {
                    if from_resolver {
                        Dns::answer(data, rules);
                    }
                    deliver(output, identification, &key, data);
                }
                Arrived::Failed(quote, error) => {
                    ip::send_unreachable(output, identification, &quote, reason(error.kind()));
                }
            }
            output.has_room()
        });
    }

    /// Somebody outside uses a forwarded port.
    fn serve_forward(&mut self, index: usize, now: Instant) {
        let Some(open) = self.forwards.get(index) else {
            return;
        };
        let guest = SocketAddrV4::new(self.guest, open.forward.guest);
        match &open.listener {
            Listener::Tcp(_) => {
                while let Some((stream, client)) = open.accept() {
                    // What cannot be passed on is closed.
                    let _ = self
                        .tcp
                        .forward(stream, guest, seen_as(client), now, &self.poller);
                }
            }
            Listener::Udp(socket) => {
                let mut data = vec![0; 65535];
                for _ in 0..ROUND {
                    let Ok((length, client)) = socket.recv_from(&mut data) else {
                        break;
                    };
                    let wanted = Key {
                        kind: Kind::Udp,
                        guest,
                        remote: seen_as(client),
                    };
                    let key = self.datagrams.forward(socket, client, wanted, now);
                    // What the guest does not take in time is lost, as datagrams are.
                    if self.output.has_room() {
                        deliver(
                            &mut self.output,
                            &mut self.identification,
                            &key,
                            &data[..length],
                        );
                    }
                }
            }
        }
    }

    /// Takes the next packet for the guest into `packet`; returns whether there was one.
    pub fn receive(&mut self, packet: &mut Vec<u8>) -> bool {
        self.output.take(packet)
    }
}

const DHCP_SERVER: u16 = 67;

/// Hands the guest what came for it.
fn deliver(output: &mut Output, identification: &mut Identification, key: &Key, data: &[u8]) {
    match key.kind {
        Kind::Udp => ip::send_udp(output, identification, key.remote, key.guest, data),
        Kind::Echo => {
            let ignored = ChecksumCapabilities::ignored();
            let message = Icmpv4Packet::new_checked(data);
            // The host has an identifier of its own.
            if let Ok(Icmpv4Repr::EchoReply { seq_no, data, .. }) =
                message.and_then(|message| Icmpv4Repr::parse(&message, &ignored))
            {
                let reply = Icmpv4Repr::EchoReply {
                    ident: key.guest.port(),
                    seq_no,
                    data,
                };
                let addresses = (*key.remote.ip(), *key.guest.ip());
                ip::send_icmp(output, identification, addresses, &reply);
            }
        }
    }
}
