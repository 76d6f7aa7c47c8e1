//! What the host knows of names: its resolvers, and its table of hosts.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use super::addresses::{DOMAIN, GATEWAY};

const PORT: u16 = 53;
/// As the C library does it (resolv.conf(5)).
const MAX_RESOLVERS: usize = 3;

/// Names whose addresses are known without asking anybody.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(BTreeMap<String, Vec<IpAddr>>);

impl Names {
    /// The table of this host. What is the host itself is the gateway to the guest, whose own
    /// loopback addresses lead elsewhere; names of `localhost` stay the guest's business.
    pub(super) fn of_host() -> Self {
        Self::read(&fs::read_to_string("/etc/hosts").unwrap_or_default())
    }

    fn read(table: &str) -> Self {
        let mut names = Names::default();
        for line in table.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            let address = if address.is_loopback() {
                GATEWAY.into()
            } else {
                address
            };
            for name in words.map(str::to_ascii_lowercase) {
                if !name.contains("localhost") && !name.starts_with("ip6-") {
                    names.add(name, address);
                }
            }
        }
        names.add(format!("host.{DOMAIN}"), GATEWAY.into());
        names
    }

    /// Adds an address of `name`, in lower case.
    pub(super) fn add(&mut self, name: String, address: IpAddr) {
        let addresses = self.0.entry(name).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    /// Adds the name of a machine, with and without its domain.
    pub(super) fn add_machine(&mut self, name: &str, address: Ipv4Addr) {
        let name = name.to_ascii_lowercase();
        for name in [format!("{name}.{DOMAIN}"), name] {
            self.0.insert(name, vec![address.into()]);
        }
    }

    pub(super) fn remove_machine(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        self.0.remove(&format!("{name}.{DOMAIN}"));
        self.0.remove(&name);
    }

    pub(super) fn get(&self, name: &str) -> Option<&[IpAddr]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

/// The name servers that this host asks.
pub(super) fn resolvers_of_host() -> Vec<SocketAddr> {
    resolvers(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

fn resolvers(configuration: &str) -> Vec<SocketAddr> {
    let servers = configuration.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let server = words
            .next()
            .filter(|&word| word == "nameserver")
            .and(words.next());
        server.and_then(resolver)
    });
    let servers: Vec<_> = servers.take(MAX_RESOLVERS).collect();
    if servers.is_empty() {
        vec![(Ipv4Addr::LOCALHOST, PORT).into()]
    } else {
        servers
    }
}

fn resolver(text: &str) -> Option<SocketAddr> {
    let (address, zone) = match text.split_once('%') {
        None => (text, None),
        Some((address, zone)) => (address, Some(zone)),
    };
    Some(match address.parse().ok()? {
        IpAddr::V4(address) => (address, PORT).into(),
        IpAddr::V6(address) => {
            let index = || fs::read_to_string(format!("/sys/class/net/{}/ifindex", zone?)).ok();
            let scope = index().and_then(|index| index.trim().parse().ok());
            SocketAddrV6::new(address, PORT, 0, scope.unwrap_or(0)).into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_c_library_does() {
        let text = "# nameserver 192.0.2.9\nsearch x\nnameserver 127.0.0.53\n\
            nameserver wrong\n nameserver 2001:db8::1 \nnameserver fe80::1%nosuch\nnameserver 8.8.8.8";
        let expected = ["127.0.0.53:53", "[2001:db8::1]:53", "[fe80::1]:53"];
        assert_eq!(resolvers(text), expected.map(|text| text.parse().unwrap()));
        assert_eq!(resolvers(""), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn the_table_of_hosts_shows_the_host_as_the_gateway() {
        let names =
            Names::read("127.0.0.1 localhost Box # me\n::1 box\n192.0.2.7 a B.example\nx y");
        assert_eq!(names.get("box"), Some(&[IpAddr::from(GATEWAY)][..]));
        assert_eq!(names.get("localhost"), None);
        assert_eq!(
            names.get("b.example"),
            Some(&["192.0.2.7".parse().unwrap()][..])
        );
        assert_eq!(names.get("host.clade"), Some(&[IpAddr::from(GATEWAY)][..]));
        assert_eq!(names.get("y"), None);
    }
}
