//! The name server: what is known here it answers itself, everything else the host's resolvers do.

use std::net::{IpAddr, SocketAddr};

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use super::names::Names;
use super::rules::Rules;

/// How long an answer from here may be remembered, in seconds: machines come and go.
const TIME_TO_LIVE: u32 = 5;

/// What to do with a question.
pub(super) enum Answer {
    /// Send this back.
    Here(Vec<u8>),
    /// Ask this resolver.
    Ask(SocketAddr),
}

pub(super) struct Dns {
    pub(super) names: Names,
    resolvers: Vec<SocketAddr>,
    current: usize,
}

impl Dns {
    pub(super) fn new(names: Names, resolvers: Vec<SocketAddr>) -> Self {
        Dns {
            names,
            resolvers,
            current: 0,
        }
    }

    /// The resolver to ask, if there is one.
    pub(super) fn resolver(&self) -> Option<SocketAddr> {
        self.resolvers.get(self.current).copied()
    }

    /// A resolver has not answered; the next question goes to another.
    pub(super) fn failed(&mut self, resolver: SocketAddr) {
        if self.resolver() == Some(resolver) {
            self.current = (self.current + 1) % self.resolvers.len();
        }
    }

    /// What to do with a question; none if it is not a possible one.
    pub(super) fn question(&self, message: &[u8], rules: &mut Rules) -> Option<Answer> {
        let query = Packet::parse(message).ok()?;
        let response = query.has_flags(PacketFlag::RESPONSE);
        let [question] = query.questions.as_slice() else {
            return None;
        };
        if response {
            return None;
        }
        let name = text(&question.qname);
        if let Some(addresses) = self.names.get(&name) {
            if !rules.permits_name(&name) {
                return reply(&query, RCODE::NameError, &[]).map(Answer::Here);
            }
            for &address in addresses {
                rules.learn(&name, address);
            }
            return reply(&query, RCODE::NoError, addresses).map(Answer::Here);
        }
        if !rules.permits_name(&name) {
            return reply(&query, RCODE::NameError, &[]).map(Answer::Here);
        }
        // Names of machines are never asked for outside.
        let machines = name.strip_suffix(super::addresses::DOMAIN);
        if machines.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')) {
            return reply(&query, RCODE::NameError, &[]).map(Answer::Here);
        }
        self.resolver().map_or_else(
            || reply(&query, RCODE::ServerFailure, &[]).map(Answer::Here),
            |resolver| Some(Answer::Ask(resolver)),
        )
    }

    /// A resolver's answer goes to the guest: remembers which addresses allowed names have.
    pub(super) fn answer(message: &[u8], rules: &mut Rules) {
        if !rules.concern_names() {
            return;
        }
        let Ok(packet) = Packet::parse(message) else {
            return;
        };
        // The question was permitted. What it leads to may have another name.
        let Some(question) = packet.questions.first() else {
            return;
        };
        let name = text(&question.qname);
        for record in &packet.answers {
            match &record.rdata {
                RData::A(a) => rules.learn(&name, IpAddr::from(a.address.to_be_bytes())),
                RData::AAAA(aaaa) => rules.learn(&name, IpAddr::from(aaaa.address.to_be_bytes())),
                _ => {}
            }
        }
    }
}

/// A name in lower case.
fn text(name: &simple_dns::Name<'_>) -> String {
    name.to_string().to_ascii_lowercase()
}

/// Answers a query with those of `addresses` that it asks for.
fn reply(query: &Packet<'_>, code: RCODE, addresses: &[IpAddr]) -> Option<Vec<u8>> {
    let question = query.questions.first()?;
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    *reply.rcode_mut() = code;
    reply.questions.push(question.clone());
    let wants = |kind| question.qtype == QTYPE::TYPE(kind) || question.qtype == QTYPE::ANY;
    for &address in addresses {
        let data = match address {
            IpAddr::V4(address) if wants(TYPE::A) => RData::A(A {
                address: address.into(),
            }),
            IpAddr::V6(address) if wants(TYPE::AAAA) => RData::AAAA(AAAA {
                address: address.into(),
            }),
            _ => continue,
        };
        let name = question.qname.clone();
        reply
            .answers
            .push(ResourceRecord::new(name, CLASS::IN, TIME_TO_LIVE, data));
    }
    reply.build_bytes_vec_compressed().ok()
}
