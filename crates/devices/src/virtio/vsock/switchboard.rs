//! All connections of one device, and the packets that go between them and the guest.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::connection::{Connection, Left};
use super::credit::BUFFER;
use super::inbox::Inbox;
use super::packet::{HOST_CID, Header, Ports, STREAM, op};
use super::{VsockHost, VsockStream};

/// The most connections at a time. With what each buffers this bounds what a guest can make the
/// host keep.
const MAX_CONNECTIONS: usize = 256;

/// The most answers that wait for the guest to give buffers. Beyond it nothing is taken from it.
const MAX_RESETS: usize = 256;

/// Ports that the host's own connections come from, as other monitors have it.
pub(super) const FIRST_HOST_PORT: u32 = 1 << 30;

pub(super) struct Switchboard {
    guest_cid: u32,
    host: Arc<dyn VsockHost>,
    connections: BTreeMap<Ports, Connection>,
    /// Packets that belong to no connection, to be refused.
    resets: VecDeque<Ports>,
    /// The connection that was served last: the one behind it is next.
    last: Ports,
    next_port: u32,
}

impl Switchboard {
    pub(super) fn new(guest_cid: u32, host: Arc<dyn VsockHost>) -> Self {
        Switchboard {
            guest_cid,
            host,
            connections: BTreeMap::new(),
            resets: VecDeque::new(),
            last: Ports { host: 0, guest: 0 },
            next_port: FIRST_HOST_PORT,
        }
    }

    /// Forgets all connections; their host ends close.
    pub(super) fn clear(&mut self) {
        self.connections.clear();
        self.resets.clear();
    }

    /// The port that the host's next connection comes from.
    pub(super) fn next_port(&self) -> u32 {
        self.next_port
    }

    /// Goes on with this port.
    pub(super) fn set_next_port(&mut self, port: u32) {
        self.next_port = next_host_port(port.wrapping_sub(1));
    }

    pub(super) fn connect(&mut self, guest: u32, stream: Box<dyn VsockStream>) {
        if self.connections.len() >= MAX_CONNECTIONS {
            return;
        }
        let mut ports = Ports {
            host: self.next_port,
            guest,
        };
        while self.connections.contains_key(&ports) {
            ports.host = next_host_port(ports.host);
        }
        self.next_port = next_host_port(ports.host);
        self.connections.insert(ports, Connection::asking(stream));
    }

    /// Whether another packet of the guest's can be taken.
    pub(super) fn can_receive(&self) -> bool {
        self.resets.len() < MAX_RESETS
    }

    /// Takes a packet of the guest's. One that is not from it or not for the host is dropped.
    pub(super) fn receive(&mut self, header: &Header, payload: &[u8]) {
        if header.target_cid != HOST_CID || header.source_cid != u64::from(self.guest_cid) {
            return;
        }
        let ports = Ports {
            host: header.target_port,
            guest: header.source_port,
        };
        if header.kind != STREAM {
            return self.refuse(ports, header);
        }
        match self.connections.get_mut(&ports) {
            Some(connection) => {
                if connection.receive(header, payload, ports.host) == Left::Nothing {
                    self.connections.remove(&ports);
                }
            }
            None if header.op == op::REQUEST => self.answer(ports, header),
            None => self.refuse(ports, header),
        }
    }

    fn answer(&mut self, ports: Ports, request: &Header) {
        let room = self.connections.len() < MAX_CONNECTIONS;
        let stream = room.then(|| self.host.connect(ports.host)).flatten();
        match stream {
            Some(stream) => {
                let connection = Connection::answering(stream, request);
                self.connections.insert(ports, connection);
            }
            None => self.refuse(ports, request),
        }
    }

    fn refuse(&mut self, ports: Ports, header: &Header) {
        if header.op != op::RESET {
            self.resets.push_back(ports);
        }
    }

    /// Does for all hosts' ends what can be done now.
    pub(super) fn serve_hosts(&mut self) {
        let connections = self.connections.values_mut();
        connections.for_each(Connection::serve_host);
    }

    /// Puts the next packet for the guest into `inbox`. Returns false when there is none, or no
    /// buffer for it.
    pub(super) fn send_next(&mut self, inbox: &mut Inbox<'_>, scratch: &mut [u8]) -> bool {
        if let Some(&ports) = self.resets.front() {
            let sent = inbox.put(&self.header(ports, op::RESET), &[]);
            if sent {
                self.resets.pop_front();
            }
            return sent;
        }
        // Each connection is tried once: one may seem to have something and have nothing.
        for _ in 0..self.connections.len() {
            let Some(ports) = self.next_in_turn() else {
                return false;
            };
            let Some(room) = inbox.room() else {
                return false;
            };
            self.last = ports;
            if self.send_of(ports, inbox, room, scratch) {
                return true;
            }
        }
        false
    }

    /// The next connection, round and round, that seems to have something for the guest.
    fn next_in_turn(&self) -> Option<Ports> {
        let behind = (Bound::Excluded(self.last), Bound::Unbounded);
        let up_to = (Bound::Unbounded, Bound::Included(self.last));
        let in_turn = self
            .connections
            .range(behind)
            .chain(self.connections.range(up_to));
        in_turn
            .into_iter()
            .find(|(_, connection)| connection.control().is_some() || connection.room() > 0)
            .map(|(&ports, _)| ports)
    }

    fn send_of(
        &mut self,
        ports: Ports,
        inbox: &mut Inbox<'_>,
        room: usize,
        scratch: &mut [u8],
    ) -> bool {
        let header = self.header(ports, op::DATA);
        let Some(connection) = self.connections.get_mut(&ports) else {
            return false;
        };
        let count = match connection.control() {
            Some(_) => 0,
            None => {
                let most = connection.room().min(room).min(scratch.len());
                connection.read(&mut scratch[..most])
            }
        };
        if count > 0 {
            let header = Header {
                length: count as u32,
                forwarded: connection.announce(),
                ..header
            };
            return inbox.put(&header, &scratch[..count]);
        }
        // Reading may have come to the end, of which the guest is told.
        let Some(control) = connection.control() else {
            return false;
        };
        let header = Header {
            op: control.0,
            flags: control.1,
            forwarded: connection.announce(),
            ..header
        };
        if connection.control_sent(control) == Left::Nothing {
            self.connections.remove(&ports);
        }
        inbox.put(&header, &[])
    }

    fn header(&self, ports: Ports, op: u16) -> Header {
        Header {
            source_cid: HOST_CID,
            target_cid: self.guest_cid.into(),
            source_port: ports.host,
            target_port: ports.guest,
            length: 0,
            kind: STREAM,
            op,
            flags: 0,
            buffer_size: BUFFER,
            forwarded: 0,
        }
    }
}

fn next_host_port(port: u32) -> u32 {
    match port.wrapping_add(1) {
        u32::MAX | 0..FIRST_HOST_PORT => FIRST_HOST_PORT,
        port => port,
    }
}
