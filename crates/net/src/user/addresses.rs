//! Where everything is on the user-mode network: as QEMU's users expect it.

use std::net::Ipv4Addr;

use crate::MacAddress;

/// The network's own addresses.
pub const NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 2, 0), 24);
/// The way out; connections to it reach the host's own address 127.0.0.1.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The name server.
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// What the guest gets by DHCP.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The Ethernet address of gateway and name server.
pub const GATEWAY_MAC: MacAddress = MacAddress([0x52, 0x55, 10, 0, 2, 2]);

/// The domain of machines' names, and of `host`, which is the gateway.
pub const DOMAIN: &str = "clade";

pub(crate) fn is_local(address: Ipv4Addr) -> bool {
    address.octets()[..3] == NETWORK.0.octets()[..3]
}

/// Whether it is an address that the network itself answers for.
pub(crate) fn is_own(address: Ipv4Addr) -> bool {
    address == GATEWAY || address == DNS
}
