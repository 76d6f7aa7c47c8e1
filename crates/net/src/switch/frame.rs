//! Where frames go.

use std::net::Ipv4Addr;

use crate::MacAddress;
use crate::output::ethertype;
use crate::packet::ETHERNET;
use crate::user::addresses::{GATEWAY_MAC, is_own};

/// Who gets a frame of the guest.
pub(super) enum Destination {
    /// The member's own user-mode network, and nobody else.
    Own,
    /// All.
    Everybody,
    /// One Ethernet address.
    Station(MacAddress),
}

/// What matters of a frame.
pub(super) struct Header<'a> {
    destination: MacAddress,
    pub(super) source: MacAddress,
    ethertype: u16,
    payload: &'a [u8],
}

impl<'a> Header<'a> {
    /// None if the frame is too short for a header.
    pub(super) fn of(frame: &'a [u8]) -> Option<Self> {
        let (ethernet, payload) = frame.split_at_checked(ETHERNET)?;
        Some(Header {
            destination: MacAddress(*ethernet.first_chunk()?),
            source: MacAddress(*ethernet[6..].first_chunk()?),
            ethertype: u16::from_be_bytes([ethernet[12], ethernet[13]]),
            payload,
        })
    }

    pub(super) fn destination(&self) -> Destination {
        if self.destination == GATEWAY_MAC || self.asks_gateway() {
            Destination::Own
        } else if self.destination.is_group() {
            Destination::Everybody
        } else {
            Destination::Station(self.destination)
        }
    }

    /// Whether it asks everybody for something that the member's own network answers.
    fn asks_gateway(&self) -> bool {
        self.destination.is_group()
            && match self.ethertype {
                ethertype::ARP => self.address(24).is_some_and(is_own),
                ethertype::IPV4 => self.is_dhcp(),
                _ => false,
            }
    }

    /// Whether it says that it comes from gateway or name server, or answers as DHCP server.
    pub(super) fn speaks_for_gateway(&self) -> bool {
        match self.ethertype {
            ethertype::ARP => self.address(14).is_some_and(is_own),
            ethertype::IPV4 => self.address(12).is_some_and(is_own) || self.is_dhcp(),
            _ => false,
        }
    }

    fn address(&self, at: usize) -> Option<Ipv4Addr> {
        let bytes: &[u8; 4] = self.payload.get(at..)?.first_chunk()?;
        Some(Ipv4Addr::from(*bytes))
    }

    /// Whether it is a message of DHCP, to a server or to a client.
    fn is_dhcp(&self) -> bool {
        const UDP: u8 = 17;
        let ports = || {
            let header = usize::from(self.payload.first()? & 0xf) * 4;
            let port: &[u8; 2] = self.payload.get(header + 2..)?.first_chunk()?;
            Some(u16::from_be_bytes(*port))
        };
        self.payload.get(9) == Some(&UDP) && matches!(ports(), Some(67 | 68))
    }
}
