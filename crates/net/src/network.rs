//! The far end of a network card's cable, whatever it is.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::{Accepts, Switch, Tap, UserNetwork, lower};

enum Link {
    User(Box<UserNetwork>),
    Switch(Box<Switch>),
    Tap(Tap),
}

/// What a machine's network card is connected to.
///
/// It is driven from outside: packets of the guest come in by [`Self::send`], what the host
/// brings and time calls for is done by [`Self::poll`], and packets for the guest go out by
/// [`Self::receive`].
pub struct Network {
    link: Link,
    accepts: Accepts,
    /// What a packet that the guest could not take has come to.
    lowered: VecDeque<Vec<u8>>,
}

impl From<UserNetwork> for Network {
    fn from(user: UserNetwork) -> Self {
        Network::new(Link::User(Box::new(user)))
    }
}

impl From<Switch> for Network {
    fn from(switch: Switch) -> Self {
        Network::new(Link::Switch(Box::new(switch)))
    }
}

impl From<Tap> for Network {
    fn from(tap: Tap) -> Self {
        Network::new(Link::Tap(tap))
    }
}

impl Network {
    fn new(link: Link) -> Self {
        Network {
            link,
            accepts: Accepts::default(),
            lowered: VecDeque::new(),
        }
    }

    /// Can be read when [`Self::poll`] has something to do.
    #[must_use]
    pub fn watched(&self) -> BorrowedFd<'_> {
        match &self.link {
            Link::User(user) => user.watched(),
            Link::Switch(switch) => switch.watched(),
            Link::Tap(tap) => tap.watched(),
        }
    }

    /// Does what the host and the time call for. Returns after how long there will be something to
    /// do again at the latest.
    pub fn poll(&mut self) -> Option<Duration> {
        match &mut self.link {
            Link::User(user) => user.poll(),
            Link::Switch(switch) => switch.poll(),
            Link::Tap(_) => None,
        }
    }

    /// The guest starts anew: what was is forgotten, and its connections are broken off.
    pub fn reset(&mut self) {
        self.lowered.clear();
        match &mut self.link {
            Link::User(user) => user.reset(),
            Link::Switch(switch) => switch.reset(),
            Link::Tap(_) => {}
        }
    }

    /// Sets what the guest can take.
    pub fn set_accepts(&mut self, accepts: Accepts) {
        self.accepts = accepts;
        self.lowered.clear();
    }

    /// Takes a packet of the guest, and may change it.
    pub fn send(&mut self, packet: &mut [u8]) {
        match &mut self.link {
            Link::User(user) => user.send(packet),
            Link::Switch(switch) => switch.send(packet),
            Link::Tap(tap) => tap.send(packet),
        }
    }

    /// Puts the next packet for the guest into `packet`; returns whether there is one.
    pub fn receive(&mut self, packet: &mut Vec<u8>) -> bool {
        loop {
            if let Some(next) = self.lowered.pop_front() {
                *packet = next;
                return true;
            }
            let arrived = match &mut self.link {
                Link::User(user) => user.receive(packet),
                Link::Switch(switch) => switch.receive(packet),
                Link::Tap(tap) => tap.receive(packet),
            };
            if !arrived || !self.accepts.needs_lowering(packet) {
                return arrived;
            }
            let Self {
                lowered, accepts, ..
            } = self;
            lower(packet, *accepts, |packet| {
                lowered.push_back(packet.to_vec())
            });
        }
    }
}
