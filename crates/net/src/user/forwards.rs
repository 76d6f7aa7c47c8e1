//! Ports of the host that lead to the guest.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use rustix::net::{SocketFlags, acceptfrom_with};

use super::addresses::{GATEWAY, is_local};
use crate::poller::{Poller, Token};
use crate::{Forward, Protocol};

/// Why a port of the host cannot be forwarded.
#[derive(Debug, thiserror::Error)]
#[error("cannot forward {protocol} port {port} of {address}: {reason}")]
pub struct ForwardFailed {
    protocol: Protocol,
    port: u16,
    address: IpAddr,
    reason: String,
}

impl ForwardFailed {
    fn new(forward: &Forward, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "it is in use; choose another, or 0 for any that is free".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need privileges; choose a higher one".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => "this host does not have that address".to_owned(),
            _ => error.to_string(),
        };
        Self {
            protocol: forward.protocol,
            port: forward.host,
            address: forward.address,
            reason,
        }
    }
}

pub(super) enum Listener {
    Tcp(TcpListener),
    Udp(Arc<UdpSocket>),
}

/// A forwarded port that is open.
pub(super) struct Open {
    pub(super) listener: Listener,
    /// As it is, with the port that was found if any was wanted.
    pub(super) forward: Forward,
}

impl Open {
    pub(super) fn new(forward: Forward) -> Result<Self, ForwardFailed> {
        let bind = || {
            let address = SocketAddr::new(forward.address, forward.host);
            let (listener, bound) = match forward.protocol {
                Protocol::Tcp => {
                    let listener = TcpListener::bind(address)?;
                    listener.set_nonblocking(true)?;
                    let bound = listener.local_addr()?;
                    (Listener::Tcp(listener), bound)
                }
                Protocol::Udp => {
                    let socket = UdpSocket::bind(address)?;
                    socket.set_nonblocking(true)?;
                    let bound = socket.local_addr()?;
                    (Listener::Udp(Arc::new(socket)), bound)
                }
            };
            let forward = Forward {
                host: bound.port(),
                ..forward
            };
            Ok(Open { listener, forward })
        };
        bind().map_err(|error| ForwardFailed::new(&forward, &error))
    }

    pub(super) fn watch(&self, index: usize, poller: &Poller) -> io::Result<()> {
        match &self.listener {
            Listener::Tcp(listener) => poller.add(listener, Token::Forward(index)),
            Listener::Udp(socket) => poller.add_input(&**socket, Token::Forward(index)),
        }
    }

    /// The next one who has connected.
    pub(super) fn accept(&self) -> Option<(TcpStream, SocketAddr)> {
        let Listener::Tcp(listener) = &self.listener else {
            return None;
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (stream, client) = acceptfrom_with(listener, flags).ok()?;
        Some((stream.into(), client?.try_into().ok()?))
    }
}

/// Where the guest sees somebody outside: on the host itself they are the gateway.
pub(super) fn seen_as(client: SocketAddr) -> SocketAddrV4 {
    let address = match client.ip().to_canonical() {
        IpAddr::V4(address) if !address.is_loopback() && !is_local(address) => address,
        IpAddr::V4(_) | IpAddr::V6(_) => GATEWAY,
    };
    let address = if address == Ipv4Addr::UNSPECIFIED {
        GATEWAY
    } else {
        address
    };
    SocketAddrV4::new(address, client.port())
}
