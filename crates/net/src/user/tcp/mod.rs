//! Connections. The guest's TCP talks to a TCP of our own (smoltcp's), one socket per connection,
//! and what that receives goes to a socket of the host, and back. So nothing of the guest's
//! packets, but for the data, leaves the host.

mod flow;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::tcp::State;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpListenEndpoint, Ipv4Address, Ipv4Packet, TcpPacket};

use self::flow::{Flow, Served, Stage};
use self::wire::{MAX_IP, Wire};
use crate::output::Output;
use crate::poller::{Poller, Ready, Token};

type Engine = Interface;

/// How many connections there can be at once.
const MAX_FLOWS: usize = 2048;
/// As long as there are few, each has much room: two large segments and more, each way.
const FEW: usize = 128;
const LARGE_BUFFER: usize = 256 << 10;
const SMALL_BUFFER: usize = 32 << 10;

/// When a connection on which nothing happens is given up (RFC 5382, REQ-5).
const IDLE: Duration = Duration::from_secs(7440);
/// When a connection that never came about is given up.
const CONNECTING: Duration = Duration::from_secs(130);

/// A connection's two ends, as the guest sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) guest: SocketAddrV4,
    pub(super) remote: SocketAddrV4,
}

/// All connections.
pub(super) struct Tcp {
    engine: Engine,
    flows: BTreeMap<u64, Flow>,
    by_key: BTreeMap<Key, u64>,
    /// Flows for which there is, or may be, something to do.
    dirty: BTreeSet<u64>,
    timers: BTreeSet<(Instant, u64)>,
    next: u64,
    next_port: u16,
    next_sweep: Instant,
}

/// What the host says of a connection that the guest wants.
pub(super) struct Refusal {
    /// The guest's packet.
    pub(super) syn: Vec<u8>,
    /// Why.
    pub(super) error: io::Error,
}

impl Tcp {
    pub(super) fn new(output: &mut Output) -> io::Result<Self> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)?;
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from_ne_bytes(seed);
        let mut wire = Wire {
            input: None,
            output,
            segment: 0,
        };
        let mut engine = Interface::new(config, &mut wire, Instant::ZERO);
        // Whatever the guest wants to reach is here, and the guest is all that can be reached.
        engine.set_any_ip(true);
        engine
            .routes_mut()
            .add_default_ipv4_route(Ipv4Address::new(0, 0, 0, 1))
            .map_err(io::Error::other)?;
        Ok(Tcp {
            engine,
            flows: BTreeMap::new(),
            by_key: BTreeMap::new(),
            dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
            next: 0,
            next_port: 49152,
            next_sweep: Instant::ZERO,
        })
    }

    /// Forgets all connections; the other ends see them broken off.
    pub(super) fn clear(&mut self) {
        self.flows.clear();
        self.by_key.clear();
        self.dirty.clear();
        self.timers.clear();
    }

    /// Takes a TCP packet of the guest; `host` says where on the host its destination is.
    pub(super) fn input(
        &mut self,
        packet: &mut [u8],
        now: Instant,
        output: &mut Output,
        poller: &Poller,
        host: impl FnOnce(SocketAddrV4) -> io::Result<SocketAddr>,
    ) -> Result<(), Refusal> {
        let Some(Segment {
            key,
            syn,
            ack,
            reset,
        }) = Segment::of(packet)
        else {
            return Ok(());
        };
        let largest = if syn { enlarge(packet) } else { None };
        if let Some(&id) = self.by_key.get(&key) {
            let flow = self.flows.get_mut(&id).expect("it is in both maps");
            if matches!(flow.stage, Stage::Connecting(_)) {
                // The guest is impatient, or has lost interest.
                if reset {
                    self.remove(id);
                }
                return Ok(());
            }
            flow.segment = largest.unwrap_or(flow.segment);
            let wire = Wire {
                input: Some(packet),
                output,
                segment: 0,
            };
            flow.take(&mut self.engine, now, wire);
            self.dirty.insert(id);
            return Ok(());
        }
        if !syn || ack {
            self.refuse(packet, now, output);
            return Ok(());
        }
        let refusal = |error| Refusal {
            syn: packet.to_vec(),
            error,
        };
        let address = host(key.remote).map_err(refusal)?;
        let stream = begin_connection(address).map_err(refusal)?;
        let mut flow = Flow::new(
            key,
            Stage::Connecting(packet.to_vec()),
            stream,
            self.buffer(),
            now,
        );
        flow.segment = largest.unwrap_or(flow.segment);
        self.insert(flow, now, poller).map(drop).map_err(refusal)
    }

    /// Answers a packet that belongs to no connection: with a reset, if it wants an answer.
    pub(super) fn refuse(&mut self, packet: &[u8], now: Instant, output: &mut Output) {
        let mut wire = Wire {
            input: Some(packet),
            output,
            segment: u16::MAX,
        };
        let mut none = SocketSet::new(Vec::new());
        self.engine.poll_ingress_single(now, &mut wire, &mut none);
    }

    /// Connects somebody outside, whose socket does not block, with the guest, which sees `remote`, or another port there.
    pub(super) fn forward(
        &mut self,
        stream: TcpStream,
        guest: SocketAddrV4,
        mut remote: SocketAddrV4,
        now: Instant,
        poller: &Poller,
    ) -> io::Result<()> {
        while remote.port() == 0 || self.by_key.contains_key(&Key { guest, remote }) {
            remote.set_port(self.next_port);
            self.next_port = self.next_port.checked_add(1).unwrap_or(49152);
        }
        let key = Key { guest, remote };
        let mut flow = Flow::new(key, Stage::Open, stream, self.buffer(), now);
        if !flow.connect(&mut self.engine) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let id = self.insert(flow, now, poller)?;
        self.dirty.insert(id);
        Ok(())
    }

    fn buffer(&self) -> usize {
        if self.flows.len() < FEW {
            LARGE_BUFFER
        } else {
            SMALL_BUFFER
        }
    }

    fn insert(&mut self, flow: Flow, now: Instant, poller: &Poller) -> io::Result<u64> {
        if self.flows.len() >= MAX_FLOWS {
            self.give_up_oldest();
        }
        let id = self.next;
        self.next += 1;
        poller.add(&flow.stream, Token::Tcp(id))?;
        self.next_sweep = self.next_sweep.min(now + CONNECTING);
        self.by_key.insert(flow.key, id);
        self.flows.insert(id, flow);
        Ok(id)
    }

    /// Makes room by breaking off the connection that has been idle for longest.
    fn give_up_oldest(&mut self) {
        let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.last_used);
        if let Some((&id, _)) = oldest {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Flow> {
        let flow = self.flows.remove(&id)?;
        self.by_key.remove(&flow.key);
        self.dirty.remove(&id);
        if let Some(deadline) = flow.deadline {
            self.timers.remove(&(deadline, id));
        }
        Some(flow)
    }

    /// The host's socket of a flow has changed.
    pub(super) fn ready(&mut self, id: u64, ready: Ready, now: Instant) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.readable |= ready.readable;
            flow.writable |= ready.writable;
            flow.last_used = now;
            self.dirty.insert(id);
        }
    }

    /// Serves all flows for which there may be something to do. Connections that the host could
    /// not make go to `refused`.
    pub(super) fn serve(&mut self, now: Instant, output: &mut Output, refused: &mut Vec<Refusal>) {
        self.sweep(now);
        while let Some(&(deadline, id)) = self.timers.first()
            && deadline <= now
        {
            self.timers.pop_first();
            self.dirty.insert(id);
        }
        for id in std::mem::take(&mut self.dirty) {
            if !output.has_room() {
                self.dirty.insert(id);
                continue;
            }
            self.serve_one(id, now, output, refused);
        }
    }

    fn serve_one(
        &mut self,
        id: u64,
        now: Instant,
        output: &mut Output,
        refused: &mut Vec<Refusal>,
    ) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if let Stage::Connecting(_) = flow.stage {
            if !flow.writable {
                return;
            }
            if let Some(error) = flow.stream.take_error().unwrap_or_else(Some) {
                if let Some(Flow {
                    stage: Stage::Connecting(syn),
                    ..
                }) = self.remove(id)
                {
                    refused.push(Refusal { syn, error });
                }
                return;
            }
            let Stage::Connecting(syn) = std::mem::replace(&mut flow.stage, Stage::Open) else {
                return;
            };
            // The guest's SYN counts from now on.
            let remote = IpListenEndpoint::from(SocketAddr::V4(flow.key.remote));
            let heard = flow.tcp().listen(remote).is_ok();
            let wire = Wire {
                input: Some(&syn),
                output,
                segment: 0,
            };
            flow.take(&mut self.engine, now, wire);
            if !heard || flow.tcp().state() != State::SynReceived {
                self.remove(id);
                return;
            }
        }
        let before = flow.deadline;
        let wire = Wire {
            input: None,
            output,
            segment: 0,
        };
        let served = flow.serve(&mut self.engine, now, wire);
        let after = flow.deadline;
        if let Some(before) = before {
            self.timers.remove(&(before, id));
        }
        match served {
            Served::Over => {
                self.remove(id);
            }
            Served::Waits | Served::Blocked => {
                if served == Served::Blocked {
                    self.dirty.insert(id);
                }
                if let Some(after) = after {
                    self.timers.insert((after, id));
                }
            }
        }
    }

    /// Gives up connections on which nothing has happened for long.
    fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + Duration::from_secs(60);
        let dead: Vec<_> = self
            .flows
            .iter_mut()
            .filter_map(|(&id, flow)| {
                let begins = matches!(flow.stage, Stage::Connecting(_))
                    || matches!(flow.tcp().state(), State::SynSent | State::SynReceived);
                let limit = if begins { CONNECTING } else { IDLE };
                (flow.last_used + limit <= now).then_some(id)
            })
            .collect();
        for id in dead {
            self.remove(id);
        }
    }

    /// When the next timer is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|&(deadline, _)| deadline);
        let sweep = (!self.flows.is_empty()).then_some(self.next_sweep);
        timer.into_iter().chain(sweep).min()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.flows.len()
    }
}

/// What matters of a TCP packet.
struct Segment {
    key: Key,
    syn: bool,
    ack: bool,
    reset: bool,
}

impl Segment {
    fn of(packet: &[u8]) -> Option<Self> {
        let ip = Ipv4Packet::new_checked(packet).ok()?;
        let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
        let (from, to) = (tcp.src_port(), tcp.dst_port());
        (from != 0 && to != 0).then(|| Segment {
            key: Key {
                guest: SocketAddrV4::new(ip.src_addr(), from),
                remote: SocketAddrV4::new(ip.dst_addr(), to),
            },
            syn: tcp.syn(),
            ack: tcp.ack(),
            reset: tcp.rst(),
        })
    }
}

const OPTION_END: u8 = 0;
const OPTION_NOTHING: u8 = 1;
const OPTION_SEGMENT: u8 = 2;

/// Tells our TCP that the guest takes segments as large as packets can be, for its card does the
/// cutting. Returns the size that the guest really named, which the card needs to know.
fn enlarge(packet: &mut [u8]) -> Option<u16> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    let tcp = packet.get_mut(header..)?;
    let end = usize::from(tcp.get(12)? >> 4) * 4;
    let mut options = tcp.get_mut(20..end)?;
    loop {
        match *options.first()? {
            OPTION_END => return None,
            OPTION_NOTHING => options = &mut options[1..],
            kind => {
                let length = usize::from(*options.get(1)?);
                if length < 2 || length > options.len() {
                    return None;
                }
                if kind == OPTION_SEGMENT && length == 4 {
                    let size = u16::from_be_bytes([options[2], options[3]]);
                    // Below, cutting would cost more than it gives (and 0 is none at all).
                    if size < 64 {
                        return None;
                    }
                    let most = (MAX_IP - 40) as u16;
                    options[2..4].copy_from_slice(&(most / size * size).to_be_bytes());
                    return Some(size.min(most));
                }
                options = &mut options[length..];
            }
        }
    }
}

/// Begins to connect to `address`; the socket is writable when that has ended.
fn begin_connection(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}
