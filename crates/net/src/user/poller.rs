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
pub(super) enum Token {
    /// A connection.
    Tcp(u64),
    /// A pair that exchanges datagrams.
    Datagram(u64),
    /// A forwarded port.
    Forward(usize),
}

/// What a socket is ready for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) writable: bool,
}

pub(super) struct Poller(OwnedFd);

const KIND_BITS: u32 = 2;

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Poller(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Watches a socket until it is closed, and tells once of every change.
    pub(super) fn add(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        let (kind, id) = match token {
            Token::Tcp(id) => (0, id),
            Token::Datagram(id) => (1, id),
            Token::Forward(id) => (2, id as u64),
        };
        let data = EventData::new_u64(id << KIND_BITS | kind);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.0, socket, data, flags)?)
    }

    /// What has happened, at most a bounded number of events.
    pub(super) fn events(&self) -> Vec<(Token, Ready)> {
        let mut events = [MaybeUninit::uninit(); BATCH];
        let at_once = Timespec::default();
        let Ok((events, _)) = epoll::wait(&self.0, &mut events, Some(&at_once)) else {
            return Vec::new();
        };
        let ended = EventFlags::ERR | EventFlags::HUP;
        events
            .iter()
            .map(|event| {
                let data = event.data.u64();
                let id = data >> KIND_BITS;
                let token = match data & ((1 << KIND_BITS) - 1) {
                    0 => Token::Tcp(id),
                    1 => Token::Datagram(id),
                    _ => Token::Forward(id as usize),
                };
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
