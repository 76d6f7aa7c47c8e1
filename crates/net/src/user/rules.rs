//! Which hosts the guest may reach.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::Host;

/// How many addresses of allowed names are remembered.
const MAX_LEARNT: usize = 4096;

/// Lists of hosts. What is denied cannot be reached; if any host is allowed, nothing else can.
///
/// A name is what the guest looks up: one that is not permitted does not exist, and the addresses
/// that belong to an allowed one are those that the name server has given the guest.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    allow: Vec<Host>,
    deny: Vec<Host>,
    learnt: BTreeSet<IpAddr>,
    order: VecDeque<IpAddr>,
}

impl Rules {
    pub(super) fn new(allow: Vec<Host>, deny: Vec<Host>) -> Self {
        Rules {
            allow,
            deny,
            ..Rules::default()
        }
    }

    pub(super) fn permits_address(&self, address: IpAddr) -> bool {
        let named = |hosts: &[Host]| hosts.iter().any(|host| host.has_address(address));
        !named(&self.deny)
            && (self.allow.is_empty() || named(&self.allow) || self.learnt.contains(&address))
    }

    pub(super) fn permits_name(&self, name: &str) -> bool {
        let named = |hosts: &[Host]| hosts.iter().any(|host| host.has_name(name));
        !named(&self.deny) && (!has_names(&self.allow) || named(&self.allow))
    }

    /// Whether anything depends on names, so that all questions for them must be seen.
    pub(super) fn concern_names(&self) -> bool {
        has_names(&self.allow) || has_names(&self.deny)
    }

    /// The name server has said that `name` has an address.
    pub(super) fn learn(&mut self, name: &str, address: IpAddr) {
        if !self.allow.iter().any(|host| host.has_name(name)) || !self.learnt.insert(address) {
            return;
        }
        self.order.push_back(address);
        if self.order.len() > MAX_LEARNT
            && let Some(oldest) = self.order.pop_front()
        {
            self.learnt.remove(&oldest);
        }
    }
}

fn has_names(hosts: &[Host]) -> bool {
    hosts.iter().any(|host| matches!(host, Host::Name(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let hosts = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Rules::new(hosts(allow), hosts(deny))
    }

    #[test]
    fn what_is_denied_is_out_of_reach_and_what_is_allowed_is_all() {
        let [a, b, c] = ["192.0.2.1", "192.0.2.200", "198.51.100.1"]
            .map(|text| text.parse::<IpAddr>().unwrap());
        let none = rules(&[], &[]);
        assert!(none.permits_address(a) && none.permits_name("x.org"));
        assert!(!none.concern_names());
        let deny = rules(&[], &["192.0.2.0/25", "bad.org"]);
        assert!(!deny.permits_address(a) && deny.permits_address(b) && deny.permits_address(c));
        assert!(!deny.permits_name("www.bad.org") && deny.permits_name("good.org"));
        let both = rules(&["192.0.2.0/24"], &["192.0.2.1"]);
        assert!(!both.permits_address(a) && both.permits_address(b) && !both.permits_address(c));
        assert!(both.permits_name("any.org") && !both.concern_names());
    }

    #[test]
    fn addresses_of_allowed_names_are_learnt_and_forgotten_in_turn() {
        let mut rules = rules(&["good.org"], &[]);
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        assert!(!rules.permits_name("bad.org"));
        rules.learn("bad.org", address(1));
        rules.learn("www.good.org", address(2));
        assert!(!rules.permits_address(address(1)) && rules.permits_address(address(2)));
        for n in 0..MAX_LEARNT as u32 {
            rules.learn("good.org", address(1000 + n));
        }
        assert!(!rules.permits_address(address(2)) && rules.permits_address(address(1000)));
        assert_eq!(rules.learnt.len(), MAX_LEARNT);
    }
}
