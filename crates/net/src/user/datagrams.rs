//! Datagrams and echo requests: a socket of the host for each pair that exchanges them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send,
    socket_with,
};
use smoltcp::time::{Duration, Instant};

use super::ip::QUOTE;
use crate::poller::{Poller, Token};

/// How many pairs there can be at once.
const MAX_FLOWS: usize = 512;
/// How long a pair is remembered after its last datagram (RFC 4787, REQ-5).
const LIFE: Duration = Duration::from_secs(120);
/// How long a question to a resolver is.
const QUESTION_LIFE: Duration = Duration::from_secs(10);
/// When a resolver that has not answered is taken to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest datagram, in bytes.
const MAX_DATAGRAM: usize = 65535;
/// How many datagrams of one pair are taken in one round.
const ROUND: usize = 64;

/// What a pair exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Udp,
    /// Echo requests; the guest's port is the identifier that it chose.
    Echo,
}

/// A pair, as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) guest: SocketAddrV4,
    pub(super) remote: SocketAddrV4,
}

/// The host's side of a pair.
enum Side {
    /// A socket that is connected with the other end.
    Own(OwnedFd),
    /// A forwarded port, and who talks to it.
    Forwarded(Arc<UdpSocket>, SocketAddr),
}

struct Flow {
    key: Key,
    side: Side,
    /// The resolver that is asked.
    resolver: Option<SocketAddr>,
    answered: bool,
    /// The beginning of what the guest sent last.
    quote: [u8; QUOTE],
    last_used: Instant,
}

/// What came for the guest.
pub(super) enum Arrived<'a> {
    /// A datagram, and whether a resolver sent it.
    Datagram(Key, &'a [u8], bool),
    /// What begins with this could not be delivered.
    Failed([u8; QUOTE], io::Error),
}

/// All pairs.
pub(super) struct Datagrams {
    flows: BTreeMap<u64, Flow>,
    by_key: BTreeMap<Key, u64>,
    by_client: BTreeMap<(u16, SocketAddr), u64>,
    readable: BTreeSet<u64>,
    next: u64,
    next_port: u16,
    next_sweep: Instant,
    buffer: Vec<u8>,
}

impl Datagrams {
    pub(super) fn new() -> Self {
        Datagrams {
            flows: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_client: BTreeMap::new(),
            readable: BTreeSet::new(),
            next: 0,
            next_port: 49152,
            next_sweep: Instant::ZERO,
            buffer: vec![0; MAX_DATAGRAM],
        }
    }

    pub(super) fn clear(&mut self) {
        self.flows.clear();
        self.by_key.clear();
        self.by_client.clear();
        self.readable.clear();
    }

    /// Whether the guest's datagrams to `key` answer somebody outside, so that no rule and no
    /// address decides where they go.
    pub(super) fn is_forwarded(&self, key: &Key) -> bool {
        let flow = self.by_key.get(key).and_then(|id| self.flows.get(id));
        flow.is_some_and(|flow| matches!(flow.side, Side::Forwarded(..)))
    }

    /// Sends `data` from the guest to `host`. `packet` is what it came in.
    ///
    /// # Errors
    /// When the host refuses; perhaps an earlier one.
    pub(super) fn send(
        &mut self,
        key: Key,
        host: SocketAddr,
        resolver: bool,
        (packet, data): (&[u8], &[u8]),
        now: Instant,
        poller: &Poller,
    ) -> io::Result<()> {
        let id = match self.by_key.get(&key) {
            Some(&id) => id,
            None => {
                let socket = open(key.kind, host)?;
                let id = self.insert(key, Side::Own(socket), now);
                let flow = self.flows.get_mut(&id).expect("just inserted");
                flow.resolver = resolver.then_some(host);
                if let Side::Own(socket) = &flow.side
                    && let Err(error) = poller.add(socket, Token::Datagram(id))
                {
                    self.remove(id);
                    return Err(error);
                }
                id
            }
        };
        let flow = self.flows.get_mut(&id).expect("it is in both maps");
        flow.last_used = now;
        let quote = packet.len().min(QUOTE);
        flow.quote[..quote].copy_from_slice(&packet[..quote]);
        match &flow.side {
            Side::Own(socket) => match send(socket, data, SendFlags::NOSIGNAL) {
                // A datagram that finds no room is lost, as datagrams are.
                Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS) => Ok(()),
                Err(error) => {
                    self.remove(id);
                    Err(error.into())
                }
            },
            Side::Forwarded(socket, client) => {
                // Whoever asked is gone: that is not the guest's concern.
                let _ = socket.send_to(data, *client);
                Ok(())
            }
        }
    }

    /// The pair of somebody outside who talks to a forwarded port: `wanted` is where the guest
    /// should see them, but for the port, which may be taken.
    pub(super) fn forward(
        &mut self,
        socket: &Arc<UdpSocket>,
        client: SocketAddr,
        mut wanted: Key,
        now: Instant,
    ) -> Key {
        let by_client = (wanted.guest.port(), client);
        if let Some(id) = self.by_client.get(&by_client)
            && let Some(flow) = self.flows.get_mut(id)
        {
            flow.last_used = now;
            return flow.key;
        }
        while wanted.remote.port() == 0 || self.by_key.contains_key(&wanted) {
            wanted.remote.set_port(self.next_port);
            self.next_port = self.next_port.checked_add(1).unwrap_or(49152);
        }
        let id = self.insert(wanted, Side::Forwarded(socket.clone(), client), now);
        self.by_client.insert(by_client, id);
        wanted
    }

    fn insert(&mut self, key: Key, side: Side, now: Instant) -> u64 {
        if self.flows.len() >= MAX_FLOWS {
            let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.last_used);
            if let Some((&id, _)) = oldest {
                self.remove(id);
            }
        }
        let id = self.next;
        self.next += 1;
        self.by_key.insert(key, id);
        self.flows.insert(
            id,
            Flow {
                key,
                side,
                resolver: None,
                answered: false,
                quote: [0; QUOTE],
                last_used: now,
            },
        );
        id
    }

    fn remove(&mut self, id: u64) {
        self.readable.remove(&id);
        if let Some(flow) = self.flows.remove(&id) {
            self.by_key.remove(&flow.key);
            if let Side::Forwarded(_, client) = flow.side {
                self.by_client.remove(&(flow.key.guest.port(), client));
            }
        }
    }

    /// A pair's socket has something.
    pub(super) fn ready(&mut self, id: u64) {
        if self.flows.contains_key(&id) {
            self.readable.insert(id);
        }
    }

    /// Hands over what has come for the guest, as long as `take` has room for more.
    pub(super) fn receive(&mut self, now: Instant, mut take: impl FnMut(Arrived<'_>) -> bool) {
        for id in std::mem::take(&mut self.readable) {
            match self.receive_one(id, now, &mut take) {
                Ok(true) => {}
                Ok(false) => {
                    self.readable.insert(id);
                }
                Err(error) => {
                    if let Some(flow) = self.flows.get(&id) {
                        take(Arrived::Failed(flow.quote, error));
                    }
                    // The resolver that refused is asked no more for now.
                    if let Some(flow) = self.flows.get_mut(&id) {
                        flow.last_used = Instant::ZERO;
                        self.next_sweep = now;
                    }
                }
            }
        }
    }

    /// Returns whether the socket has been emptied.
    fn receive_one(
        &mut self,
        id: u64,
        now: Instant,
        take: &mut impl FnMut(Arrived<'_>) -> bool,
    ) -> io::Result<bool> {
        let Some(flow) = self.flows.get_mut(&id) else {
            return Ok(true);
        };
        let Side::Own(socket) = &flow.side else {
            return Ok(true);
        };
        for _ in 0..ROUND {
            let length = match recv(socket, self.buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            flow.last_used = now;
            flow.answered = true;
            let data = &self.buffer[..length];
            if !take(Arrived::Datagram(flow.key, data, flow.resolver.is_some())) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Forgets pairs that are not used any more; tells of resolvers that have not answered.
    pub(super) fn sweep(&mut self, now: Instant, mut failed: impl FnMut(SocketAddr)) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + Duration::from_secs(1);
        let mut over = Vec::new();
        for (&id, flow) in &self.flows {
            let age = now - flow.last_used.min(now);
            let life = if flow.resolver.is_some() {
                QUESTION_LIFE
            } else {
                LIFE
            };
            let silent = !flow.answered && age >= PATIENCE;
            if let Some(resolver) = flow.resolver.filter(|_| silent) {
                failed(resolver);
            }
            if age >= life || silent && flow.resolver.is_some() {
                over.push(id);
            }
        }
        for id in over {
            self.remove(id);
        }
    }

    /// When the next sweep is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.flows.is_empty()).then_some(self.next_sweep)
    }
}

/// A socket of the host that is connected with `host`.
fn open(kind: Kind, host: SocketAddr) -> io::Result<OwnedFd> {
    let family = if host.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let protocol = match kind {
        Kind::Udp => ipproto::UDP,
        Kind::Echo => ipproto::ICMP,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(protocol))?;
    connect(&socket, &host)?;
    Ok(socket)
}
