//! What people say about a machine's network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address of everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// A locally administered unicast address that follows from `id`, a machine's.
    #[must_use]
    pub fn of_machine(id: &str) -> Self {
        // FNV-1a: the same on every host, and good enough to tell machines apart.
        let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut bytes = [0; 6];
        bytes.copy_from_slice(&hash.to_be_bytes()[2..]);
        bytes[0] = bytes[0] & 0xfc | 2;
        Self(bytes)
    }

    /// Whether it is the address of a group, such as everybody.
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// What is not the address of a network card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a network card's address: six bytes in hexadecimal, the first one even, \
     as in 52:54:00:12:34:56"
)]
pub struct MacError(String);

impl FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let parts: Vec<_> = text.split(':').collect();
        let byte = |part: &&str| {
            let digits = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        };
        let bytes: Option<Vec<u8>> = parts.iter().map(byte).collect();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .filter(|mac| !mac.is_group() && mac.0 != [0; 6])
            .ok_or_else(|| MacError(text.to_owned()))
    }
}

text_as_serde!(MacAddress);

/// What a forwarded port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A port of the host that leads to one of the guest; in text, `[ADDRESS:]HOST:GUEST[/udp]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// What it carries.
    pub protocol: Protocol,
    /// The address of the host that it is open on.
    pub address: IpAddr,
    /// The host's port; 0 is any that is free.
    pub host: u16,
    /// The guest's port, not 0.
    pub guest: u16,
}

impl fmt::Display for Forward {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(out, "{address}:")?,
            IpAddr::V6(address) => write!(out, "[{address}]:")?,
        }
        write!(out, "{}:{}", self.host, self.guest)?;
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => out.write_str("/udp"),
        }
    }
}

/// What is not a port to forward.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a port to forward: [ADDRESS:]HOST:GUEST[/udp], as in 8080:80, \
     0.0.0.0:2222:22 or 5353:53/udp"
)]
pub struct ForwardError(String);

impl FromStr for Forward {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        let parse = || {
            let (ports, protocol) = match text.rsplit_once('/') {
                None => (text, Protocol::Tcp),
                Some((ports, "tcp")) => (ports, Protocol::Tcp),
                Some((ports, "udp")) => (ports, Protocol::Udp),
                Some(_) => return None,
            };
            let (rest, guest) = ports.rsplit_once(':')?;
            let (address, host) = match rest.rsplit_once(':') {
                None => (Ipv4Addr::LOCALHOST.into(), rest),
                Some((address, host)) => {
                    let inner = address
                        .strip_prefix('[')
                        .and_then(|rest| rest.strip_suffix(']'));
                    (inner.unwrap_or(address).parse().ok()?, host)
                }
            };
            Some(Forward {
                protocol,
                address,
                host: host.parse().ok()?,
                guest: guest.parse().ok().filter(|&port| port != 0)?,
            })
        };
        parse().ok_or_else(|| ForwardError(text.to_owned()))
    }
}

text_as_serde!(Forward);

/// Hosts that a rule speaks of: an address, a network, or a name with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// The addresses that begin with the first bits of this one.
    Network(IpAddr, u8),
    /// A name in lower case without a dot at its end; what is below it is meant as well.
    Name(String),
}

impl Host {
    /// Whether an address is one of these hosts'.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Host::Network(IpAddr::V4(network), bits), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                (u32::from(*network) ^ u32::from(address)) & mask == 0
            }
            (Host::Network(IpAddr::V6(network), bits), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                (u128::from(*network) ^ u128::from(address)) & mask == 0
            }
            _ => false,
        }
    }

    /// Whether a name, in lower case, is one of these hosts'.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        match self {
            Host::Network(..) => false,
            Host::Name(wanted) => name
                .strip_suffix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Network(address, bits) => write!(out, "{address}/{bits}"),
            Host::Name(name) => out.write_str(name),
        }
    }
}

/// What is neither a host nor several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no hosts: an address, a network or a name is wanted, as in 192.0.2.7, \
     10.0.0.0/8 or example.org"
)]
pub struct HostError(String);

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let wrong = || HostError(text.to_owned());
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Host::Network(address, width(address)));
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let bits: u8 = bits.parse().map_err(|_| wrong())?;
            return if bits <= width(address) {
                Ok(Host::Network(address, bits))
            } else {
                Err(wrong())
            };
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |label: &str| {
            !label.is_empty()
                && label.len() < 64
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let numeric = name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        if name.len() < 254 && name.split('.').all(label) && !numeric {
            Ok(Host::Name(name))
        } else {
            Err(wrong())
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

text_as_serde!(Host);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read_as_they_are_written() {
        for (text, canonical) in [
            ("8080:80", "127.0.0.1:8080:80"),
            ("0.0.0.0:2222:22", "0.0.0.0:2222:22"),
            ("0:53/udp", "127.0.0.1:0:53/udp"),
            ("[::1]:1:2/tcp", "[::1]:1:2"),
            ("::1:1:2", "[::1]:1:2"),
        ] {
            let forward: Forward = text.parse().expect(text);
            assert_eq!(forward.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(forward));
        }
        for text in [
            "",
            "80",
            "80:",
            ":80",
            "80:0",
            "80:65536",
            "x:80:80",
            "80:80/sctp",
        ] {
            assert!(text.parse::<Forward>().is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_addresses_networks_and_names() {
        let host = |text: &str| text.parse::<Host>().expect(text);
        let address = |text: &str| text.parse::<IpAddr>().expect(text);
        assert!(host("10.0.0.0/8").has_address(address("10.255.0.1")));
        assert!(!host("10.0.0.0/8").has_address(address("11.0.0.1")));
        assert!(host("0.0.0.0/0").has_address(address("11.0.0.1")));
        assert!(!host("0.0.0.0/0").has_address(address("::1")));
        assert!(host("::/0").has_address(address("::1")));
        assert!(!host("192.0.2.7").has_address(address("192.0.2.6")));
        assert!(host("Example.org.").has_name("example.org"));
        assert!(host("example.org").has_name("www.example.org"));
        assert!(!host("example.org").has_name("notexample.org"));
        for text in ["", "1.2.3", "10.0.0.0/33", "a..b", "a b", "x/8"] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[test]
    fn machines_have_addresses_of_their_own() {
        let mac = MacAddress::of_machine("00aabbccddee");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!(mac.0[0] & 3, 2);
        assert_ne!(mac, MacAddress::of_machine("00aabbccddef"));
        for text in [
            "",
            "52:54:00:12:34",
            "53:54:00:12:34:56",
            "0:0:0:0:0:0",
            "+2:54:00:12:34:56",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }
}
