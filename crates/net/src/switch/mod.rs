//! A switch that machines of one user share: each machine's process is a member and connected
//! with every other, so there is nobody in the middle who could fail.
//!
//! Every member brings a user-mode network of its own, which only its own guest sees: gateway and
//! name server have the same addresses everywhere, and whatever a guest sends to them, or asks of
//! everybody about them, stays with its own member. So a machine on a switch reaches the world as
//! one without does, and asks its own name server for the other members.

mod frame;
mod meeting;
mod peer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{SocketFlags, accept_with};

use self::frame::{Destination, Header};
use self::meeting::Meeting;
pub use self::meeting::SwitchError;
use self::peer::{Hello, Message, Peer};
use crate::packet::{HEADER_LENGTH, MAX_PACKET};
use crate::poller::{Poller, Token};
use crate::user::addresses::GATEWAY_MAC;
use crate::{MacAddress, UserConfig, UserNetwork};

/// How many members a switch can have beside this one: as many as there are addresses.
const MAX_PEERS: usize = 256;
/// How many Ethernet addresses are remembered with the member that they are at.
const MAX_STATIONS: usize = 4096;

/// A machine's place on a switch.
pub struct Switch {
    user: UserNetwork,
    poller: Poller,
    listener: OwnedFd,
    hello: Hello,
    peers: BTreeMap<u64, Peer>,
    next: u64,
    /// The peer to be asked first for the next packet, so that all get their turn.
    turn: u64,
    stations: BTreeMap<MacAddress, u64>,
    buffer: Vec<u8>,
}

impl Switch {
    /// Joins the switch whose members meet in `folder`, which is made if it is not there. The
    /// guest gets an address that no other member has, in place of the one in `config`.
    ///
    /// # Errors
    /// When the folder cannot be used, all addresses are taken, or the user-mode network cannot be
    /// had.
    pub fn join(folder: &Path, mut config: UserConfig) -> Result<Self, SwitchError> {
        let meeting = Meeting::join(folder, &config.host_name, config.mac)?;
        config.guest = meeting.address;
        let hello = Hello {
            name: config.host_name.clone(),
            address: meeting.address,
        };
        let user = UserNetwork::open(config)?;
        let poller = Poller::new()?;
        poller.add_input(user.watched(), Token::Inner)?;
        poller.add(&meeting.listener, Token::Listener)?;
        let mut switch = Switch {
            user,
            poller,
            listener: meeting.listener,
            hello,
            peers: BTreeMap::new(),
            next: 0,
            turn: 0,
            stations: BTreeMap::new(),
            buffer: vec![0; MAX_PACKET + 1],
        };
        for socket in meeting.members {
            switch.add_peer(socket);
        }
        Ok(switch)
    }

    /// The guest's address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.hello.address
    }

    /// The network that leads out.
    #[must_use]
    pub fn user(&self) -> &UserNetwork {
        &self.user
    }

    /// Can be read when [`Self::poll`] has something to do.
    #[must_use]
    pub fn watched(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }

    /// The guest starts anew.
    pub fn reset(&mut self) {
        self.user.reset();
    }

    /// Does what the host's sockets, other members and the time call for. Returns after how long
    /// there will be something to do again at the latest.
    pub fn poll(&mut self) -> Option<Duration> {
        for (token, ready) in self.poller.events() {
            match token {
                Token::Listener => self.accept(),
                Token::Peer(id) => {
                    if let Some(peer) = self.peers.get_mut(&id) {
                        peer.readable |= ready.readable;
                    }
                }
                Token::Inner | Token::Tcp(_) | Token::Datagram(_) | Token::Forward(_) => {}
            }
        }
        self.user.poll()
    }

    fn accept(&mut self) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(socket) = accept_with(&self.listener, flags) {
            self.add_peer(socket);
        }
    }

    /// Greets a new member; whoever cannot be greeted is none.
    fn add_peer(&mut self, socket: OwnedFd) {
        let id = self.next;
        self.next += 1;
        if self.peers.len() >= MAX_PEERS || self.poller.add(&socket, Token::Peer(id)).is_err() {
            return;
        }
        let peer = Peer::new(socket);
        if peer.greet(&self.hello) {
            self.peers.insert(id, peer);
        }
    }

    fn remove_peer(&mut self, id: u64) {
        self.stations.retain(|_, station| *station != id);
        let Some(Peer {
            hello: Some(hello), ..
        }) = self.peers.remove(&id)
        else {
            return;
        };
        let mut others = self.peers.values().filter_map(|peer| peer.hello.as_ref());
        if others.all(|other| other.name != hello.name) {
            self.user.remove_machine(&hello.name);
        }
    }

    /// Takes a packet of the guest, and may change it.
    pub fn send(&mut self, packet: &mut [u8]) {
        let Some(header) = packet.get(HEADER_LENGTH..).and_then(Header::of) else {
            return;
        };
        match header.destination() {
            Destination::Own => self.user.send(packet),
            Destination::Everybody => {
                self.flood(packet);
                // It learns from it where the guest is.
                self.user.send(packet);
            }
            Destination::Station(station) => match self.stations.get(&station) {
                Some(&id) => self.send_to(id, packet),
                None => self.flood(packet),
            },
        }
    }

    fn flood(&mut self, packet: &[u8]) {
        let ids: Vec<_> = self.peers.keys().copied().collect();
        for id in ids {
            self.send_to(id, packet);
        }
    }

    fn send_to(&mut self, id: u64, packet: &[u8]) {
        if self.peers.get(&id).is_some_and(|peer| !peer.send(packet)) {
            self.remove_peer(id);
        }
    }

    /// Puts the next packet for the guest into `packet`; returns whether there is one.
    pub fn receive(&mut self, packet: &mut Vec<u8>) -> bool {
        self.user.receive(packet) || self.receive_from_peers(packet)
    }

    fn receive_from_peers(&mut self, packet: &mut Vec<u8>) -> bool {
        while let Some(id) = self.next_readable() {
            self.turn = id + 1;
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            match peer.receive(&mut self.buffer) {
                Message::Nothing => {}
                Message::Hello(hello) => self.user.add_machine(&hello.name, hello.address),
                Message::Packet(length) => {
                    packet.clear();
                    packet.extend_from_slice(&self.buffer[..length]);
                    if self.admit(id, packet) {
                        return true;
                    }
                }
                Message::End => self.remove_peer(id),
            }
        }
        false
    }

    fn next_readable(&self) -> Option<u64> {
        let ready = |(&id, peer): (&u64, &Peer)| peer.readable.then_some(id);
        let mut after = self.peers.range(self.turn..).filter_map(ready);
        let before = || self.peers.iter().find_map(ready);
        after.next().or_else(before)
    }

    /// Whether a packet of another member may go to the guest; remembers where its sender is.
    fn admit(&mut self, id: u64, packet: &[u8]) -> bool {
        let Some(header) = packet.get(HEADER_LENGTH..).and_then(Header::of) else {
            return false;
        };
        let source = header.source;
        // What is this member's own cannot come from another.
        if source == GATEWAY_MAC || source.is_group() || header.speaks_for_gateway() {
            return false;
        }
        if self.stations.len() < MAX_STATIONS || self.stations.contains_key(&source) {
            self.stations.insert(source, id);
        }
        true
    }
}
