//! One descriptor for all of the host's sockets.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// How many events are looked at in one round.
const BATCH: usize = 256;

/// Whose socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A connection.
    Tcp(u64),
    /// A pair that exchanges datagrams.
    Datagram(u64),
    /// A forwarded port.
    Forward(usize),
    /// Another member of a switch.
    Peer(u64),
    /// What new members connect to.
    Listener,
    /// Another poller.
    Inner,
}

impl Token {
    fn bits(self) -> u64 {
        let (kind, id) = match self {
            Token::Tcp(id) => (0, id),
            Token::Datagram(id) => (1, id),
            Token::Forward(id) => (2, id as u64),
            Token::Peer(id) => (3, id),
            Token::Listener => (4, 0),
            Token::Inner => (5, 0),
        };
        id << KIND_BITS | kind
    }

    fn of_bits(bits: u64) -> Self {
        let id = bits >> KIND_BITS;
        match bits & ((1 << KIND_BITS) - 1) {
            0 => Token::Tcp(id),
            1 => Token::Datagram(id),
            2 => Token::Forward(id as usize),
            3 => Token::Peer(id),
            4 => Token::Listener,
            _ => Token::Inner,
        }
    }
}

/// What a socket is ready for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

pub(crate) struct Poller(OwnedFd);

const KIND_BITS: u32 = 3;

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Poller(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Watches a socket until it is closed, and tells once of every change.
    pub(crate) fn add(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        let data = EventData::new_u64(token.bits());
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.0, socket, data, flags)?)
    }

    /// Watches a socket, or another poller, and tells of it as long as it can be read.
    pub(crate) fn add_input(&self, input: impl AsFd, token: Token) -> io::Result<()> {
        let data = EventData::new_u64(token.bits());
        Ok(epoll::add(&self.0, input, data, EventFlags::IN)?)
    }

    /// What has happened, at most a bounded number of events.
    pub(crate) fn events(&self) -> Vec<(Token, Ready)> {
        let mut events = [MaybeUninit::uninit(); BATCH];
        let at_once = Timespec::default();
        let Ok((events, _)) = epoll::wait(&self.0, &mut events, Some(&at_once)) else {
            return Vec::new();
        };
        let ended = EventFlags::ERR | EventFlags::HUP;
        events
            .iter()
            .map(|event| {
                let token = Token::of_bits(event.data.u64());
                let flags = event.flags;
                let has = |wanted| flags.intersects(wanted | ended);
                let ready = Ready {
                    readable: has(EventFlags::IN | EventFlags::RDHUP),
                    writable: has(EventFlags::OUT),
                };
                (token, ready)
            })
            .collect()
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
