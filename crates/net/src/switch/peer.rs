//! Another member.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::{Deserialize, Serialize};

use crate::packet::MAX_PACKET;
use crate::user::addresses::{is_local, is_own};

/// How much may be on its way to a member, in bytes, as far as the host allows.
const SEND_BUFFER: usize = 1 << 20;

/// What members tell each other first, as JSON in one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// The machine's name.
    pub(super) name: String,
    /// The guest's address.
    pub(super) address: Ipv4Addr,
}

pub(super) struct Peer {
    socket: OwnedFd,
    /// What it said first; until then it has no say.
    pub(super) hello: Option<Hello>,
    /// It may have sent something.
    pub(super) readable: bool,
}

/// What a member has sent.
pub(super) enum Message {
    /// Nothing more, for now, or nothing that makes sense.
    Nothing,
    /// Who it is.
    Hello(Hello),
    /// A packet for the guest, of this length.
    Packet(usize),
    /// It has gone.
    End,
}

impl Peer {
    pub(super) fn new(socket: OwnedFd) -> Self {
        // With the host's usual few, packets get lost sooner.
        let _ = set_socket_send_buffer_size(&socket, SEND_BUFFER);
        Peer {
            socket,
            hello: None,
            readable: true,
        }
    }

    /// Says who we are; false if nobody listens.
    pub(super) fn greet(&self, hello: &Hello) -> bool {
        serde_json::to_vec(hello).is_ok_and(|text| {
            send(
                &self.socket,
                &text,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            ) == Ok(text.len())
        })
    }

    /// Sends a packet, which is lost if the member is slow; false if the member has gone.
    pub(super) fn send(&self, packet: &[u8]) -> bool {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match send(&self.socket, packet, flags) {
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR | Errno::MSGSIZE) => true,
            Err(_) => false,
        }
    }

    /// Takes the next message, into `buffer`, which has room for one byte more than packets have.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Message {
        let length = match recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Message::End,
            Ok((length, _)) => length,
            Err(Errno::AGAIN) => {
                self.readable = false;
                return Message::Nothing;
            }
            Err(Errno::INTR) => return Message::Nothing,
            Err(_) => return Message::End,
        };
        if self.hello.is_some() {
            return if length > MAX_PACKET {
                Message::Nothing
            } else {
                Message::Packet(length)
            };
        }
        match serde_json::from_slice::<Hello>(&buffer[..length]) {
            Ok(hello) if is_local(hello.address) && !is_own(hello.address) => {
                self.hello = Some(hello.clone());
                Message::Hello(hello)
            }
            // It is of another version, or mad.
            _ => Message::End,
        }
    }
}
