//! Where what the guest sends is to go, and how it is told that it cannot.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use smoltcp::wire::Icmpv4DstUnreachable;

use super::addresses::{DNS, GATEWAY, is_local};
use super::dns::Dns;
use super::rules::Rules;

/// Where on the host, or beyond, what the guest calls `remote` is.
///
/// # Errors
/// When it is nowhere, or the guest may not go there.
pub(super) fn host_of(remote: SocketAddrV4, rules: &Rules, dns: &Dns) -> io::Result<SocketAddr> {
    let address = *remote.ip();
    if address == DNS {
        let asks = remote.port() == 53 && !rules.concern_names();
        let resolver = dns.resolver().filter(|_| asks);
        return resolver.ok_or_else(|| io::ErrorKind::ConnectionRefused.into());
    }
    if !rules.permits_address(address.into()) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if address == GATEWAY {
        return Ok((Ipv4Addr::LOCALHOST, remote.port()).into());
    }
    let nowhere = address.octets()[0] == 0
        || address.is_loopback()
        || address.is_multicast()
        || address.octets()[0] >= 240;
    if nowhere || is_local(address) {
        return Err(io::ErrorKind::HostUnreachable.into());
    }
    Ok(remote.into())
}

pub(super) fn is_broadcast(address: Ipv4Addr) -> bool {
    address.is_broadcast() || is_local(address) && address.octets()[3] == 255
}

/// How the guest is told of an error.
pub(super) fn reason(kind: io::ErrorKind) -> Icmpv4DstUnreachable {
    match kind {
        io::ErrorKind::ConnectionRefused => Icmpv4DstUnreachable::PortUnreachable,
        io::ErrorKind::NetworkUnreachable => Icmpv4DstUnreachable::NetUnreachable,
        io::ErrorKind::PermissionDenied => Icmpv4DstUnreachable::CommProhibited,
        _ => Icmpv4DstUnreachable::HostUnreachable,
    }
}
