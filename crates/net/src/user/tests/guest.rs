//! A guest: another stack at the other end of the cable, with a card that cannot do anything that
//! the network might leave to it.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::AnySocket;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use crate::user::addresses::{GATEWAY, GUEST};
use crate::user::{UserConfig, UserNetwork};
use crate::{Accepts, HEADER_LENGTH, MacAddress, lower};

pub(super) const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

pub(super) fn config() -> UserConfig {
    UserConfig {
        mac: MAC,
        guest: GUEST,
        host_name: "box".to_owned(),
        forwards: Vec::new(),
        allow: Vec::new(),
        deny: Vec::new(),
    }
}

pub(super) struct Guest {
    pub(super) network: UserNetwork,
    pub(super) sockets: SocketSet<'static>,
    pub(super) interface: Interface,
    received: VecDeque<Vec<u8>>,
    packet: Vec<u8>,
    started: std::time::Instant,
}

/// Long enough for anything, on any host.
const LONG: Duration = Duration::from_secs(60);

impl Guest {
    pub(super) fn new(network: UserNetwork) -> Self {
        let mut card = Card {
            network: None,
            received: &mut VecDeque::new(),
        };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(MAC.0)));
        config.random_seed = 1;
        let mut interface = Interface::new(config, &mut card, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(GUEST.into(), 24)).expect("room");
        });
        interface
            .routes_mut()
            .add_default_ipv4_route(GATEWAY)
            .expect("room");
        Guest {
            network,
            sockets: SocketSet::new(Vec::new()),
            interface,
            received: VecDeque::new(),
            packet: Vec::new(),
            started: std::time::Instant::now(),
        }
    }

    pub(super) fn plain() -> Self {
        Self::new(UserNetwork::open(config()).expect("network"))
    }

    pub(super) fn add<T: AnySocket<'static>>(&mut self, socket: T) -> SocketHandle {
        self.sockets.add(socket)
    }

    pub(super) fn get<T: AnySocket<'static>>(&mut self, socket: SocketHandle) -> &mut T {
        self.sockets.get_mut(socket)
    }

    /// One round of both ends, after a wait for something to happen.
    pub(super) fn round(&mut self) {
        let next = self.network.poll();
        let mut arrived = false;
        while self.network.receive(&mut self.packet) {
            arrived = true;
            lower(&mut self.packet, Accepts::default(), |packet| {
                assert!(
                    packet.len() <= HEADER_LENGTH + 1514,
                    "too long for the cable"
                );
                self.received.push_back(packet[HEADER_LENGTH..].to_vec());
            });
        }
        let now = Instant::from_micros(self.started.elapsed().as_micros() as i64);
        let mut card = Card {
            network: Some(&mut self.network),
            received: &mut self.received,
        };
        self.interface.poll(now, &mut card, &mut self.sockets);
        if !arrived {
            let wait = next.unwrap_or(LONG).min(Duration::from_millis(2));
            let mut watched = [PollFd::from_borrowed_fd(
                self.network.watched(),
                PollFlags::IN,
            )];
            let wait = Timespec::try_from(wait).expect("short");
            let _ = poll(&mut watched, Some(&wait));
        }
    }

    /// Rounds until `done` has an answer.
    pub(super) fn until<R>(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Self) -> Option<R>,
    ) -> R {
        loop {
            self.round();
            if let Some(result) = done(self) {
                return result;
            }
            assert!(self.started.elapsed() < LONG, "it never came that {what}");
        }
    }

    /// Sends a frame that no stack would.
    pub(super) fn send_raw(&mut self, frame: &[u8]) {
        let mut packet = vec![0; HEADER_LENGTH];
        packet.extend(frame);
        self.network.send(&mut packet);
    }

    /// The frames that the network has for the guest now.
    pub(super) fn receive_raw(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while self.network.receive(&mut self.packet) {
            frames.push(self.packet[HEADER_LENGTH..].to_vec());
        }
        frames
    }

    pub(super) fn set_address(&mut self, address: Option<Ipv4Addr>) {
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            if let Some(address) = address {
                addresses
                    .push(IpCidr::new(address.into(), 24))
                    .expect("room");
            }
        });
    }
}

struct Card<'a> {
    network: Option<&'a mut UserNetwork>,
    received: &'a mut VecDeque<Vec<u8>>,
}

struct Receive(Vec<u8>);
struct Transmit<'a>(Option<&'a mut UserNetwork>);

impl Device for Card<'_> {
    type RxToken<'a>
        = Receive
    where
        Self: 'a;
    type TxToken<'a>
        = Transmit<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Receive, Transmit<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Receive(frame), Transmit(self.network.as_deref_mut())))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Transmit<'_>> {
        Some(Transmit(self.network.as_deref_mut()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl RxToken for Receive {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut packet = vec![0; HEADER_LENGTH + length];
        let result = fill(&mut packet[HEADER_LENGTH..]);
        if let Some(network) = self.0 {
            network.send(&mut packet);
        }
        result
    }
}
