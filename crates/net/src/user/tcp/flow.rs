//! One connection: the guest's end by our TCP, the other by the host's.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, set_tcp_nodelay};
use smoltcp::iface::{PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant;

use super::wire::Wire;
use super::{Engine, Key};

/// How far a flow has come.
pub(super) enum Stage {
    /// The host connects; the guest waits with this packet, its SYN.
    Connecting(Vec<u8>),
    /// Data may flow.
    Open,
}

pub(super) struct Flow {
    pub(super) key: Key,
    pub(super) stage: Stage,
    pub(super) stream: TcpStream,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    /// The host's socket may have bytes, or room for some.
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The other end has sent everything.
    host_finished: bool,
    /// The guest has sent everything, and the other end knows.
    guest_finished: bool,
    /// How much data the guest takes in one segment, in bytes.
    pub(super) segment: u16,
    /// When the TCP engine wants to look again.
    pub(super) deadline: Option<Instant>,
    /// When something came from either end.
    pub(super) last_used: Instant,
}

/// What became of a flow when it was served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// There is nothing more to do for it.
    Waits,
    /// The guest must take packets first.
    Blocked,
    /// Both ends know that it is over.
    Over,
}

impl Flow {
    pub(super) fn new(
        key: Key,
        stage: Stage,
        stream: TcpStream,
        buffer: usize,
        now: Instant,
    ) -> Self {
        let room = || SocketBuffer::new(vec![0; buffer]);
        let mut socket = Socket::new(room(), room());
        socket.set_nagle_enabled(false);
        // One acknowledgement for all that came in one round, at once.
        socket.set_ack_delay(None);
        socket.set_congestion_control(CongestionControl::None);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let socket = sockets.add(socket);
        // Data goes on as soon as it comes, in either direction.
        let _ = set_tcp_nodelay(&stream, true);
        Flow {
            key,
            stage,
            stream,
            sockets,
            socket,
            readable: false,
            writable: false,
            host_finished: false,
            guest_finished: false,
            segment: DEFAULT_SEGMENT,
            deadline: None,
            last_used: now,
        }
    }

    pub(super) fn tcp(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// Begins a connection to the guest.
    pub(super) fn connect(&mut self, engine: &mut Engine) -> bool {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        let Key { guest, remote } = self.key;
        socket.connect(engine.context(), guest, remote).is_ok()
    }

    /// Takes a packet of the guest, an IP packet.
    pub(super) fn take(&mut self, engine: &mut Engine, now: Instant, mut wire: Wire<'_>) {
        self.last_used = now;
        wire.segment = self.segment;
        engine.poll_ingress_single(now, &mut wire, &mut self.sockets);
    }

    /// Moves data as far as it goes, and sends the guest what there is for it.
    pub(super) fn serve(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        mut wire: Wire<'_>,
    ) -> Served {
        wire.segment = self.segment;
        if self.move_data().is_err() {
            self.tcp().abort();
        }
        while engine.poll_egress(now, &mut wire, &mut self.sockets) != PollResult::None {
            // What the guest has taken meanwhile makes no room: that comes with its answer.
        }
        let state = self.tcp().state();
        if !wire.output.has_room() {
            self.deadline = None;
            return Served::Blocked;
        }
        // What it says is due now has just been tried.
        let soonest = now + smoltcp::time::Duration::from_millis(1);
        self.deadline = engine
            .poll_at(now, &self.sockets)
            .map(|deadline| deadline.max(soonest));
        match state {
            State::Closed => {
                if !(self.host_finished && self.guest_finished) {
                    self.reset_host();
                }
                Served::Over
            }
            // The guest has had our last word, and nothing on the way to it gets lost.
            State::TimeWait if self.guest_finished => Served::Over,
            _ => Served::Waits,
        }
    }

    /// Moves what the guest sent to the host's socket, and the other way round.
    ///
    /// # Errors
    /// When the other end has broken the connection.
    fn move_data(&mut self) -> io::Result<()> {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        while self.writable && socket.can_recv() {
            let stream = &mut self.stream;
            let moved = socket.recv(|bytes| count(stream.write(bytes)));
            self.writable = settle(moved.ok())?.is_some();
        }
        while self.readable && !self.host_finished && socket.can_send() {
            let stream = &mut self.stream;
            let moved = socket.send(|room| count(stream.read(room)));
            match settle(moved.ok())? {
                Some(0) => {
                    self.host_finished = true;
                    socket.close();
                }
                moved => self.readable = moved.is_some(),
            }
        }
        let all_received = matches!(
            socket.state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        if all_received && !socket.can_recv() && !self.guest_finished {
            self.guest_finished = true;
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Lets the host's end be broken off, rather than ended, when it is closed.
    fn reset_host(&self) {
        let _ = set_socket_linger(&self.stream, Some(Duration::ZERO));
    }
}

/// What the guest takes in a segment if it does not say (RFC 9293, section 3.7.1).
const DEFAULT_SEGMENT: u16 = 536;

/// A transfer's result, as the TCP engine wants it: how much of its buffer is done.
fn count(moved: io::Result<usize>) -> (usize, io::Result<usize>) {
    (*moved.as_ref().unwrap_or(&0), moved)
}

/// None if the host's socket has nothing, or no room, for now.
fn settle(moved: Option<io::Result<usize>>) -> io::Result<Option<usize>> {
    match moved {
        None => Ok(None),
        Some(Ok(moved)) => Ok(Some(moved)),
        Some(Err(error)) => match error.kind() {
            ErrorKind::WouldBlock => Ok(None),
            // The next round tries again.
            ErrorKind::Interrupted => Ok(Some(1)),
            _ => Err(error),
        },
    }
}
