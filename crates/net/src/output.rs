//! Packets on their way to the guest.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use crate::MacAddress;
use crate::packet::{ETHERNET, HEADER_LENGTH, Offload};

/// How much waits for the guest before flows are no longer asked for more.
const ENOUGH_PACKETS: usize = 256;
const ENOUGH_BYTES: usize = 2 << 20;
/// What nobody can be asked to wait with (answers to the guest's own packets) is dropped here.
const FULL: usize = 1024;
/// How many buffers are kept for the next packets.
const SPARE: usize = 64;
/// How many addresses of the guest are remembered with their MAC address.
const MAX_NEIGHBOURS: usize = 256;

pub(crate) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
}

pub(crate) struct Output {
    queue: VecDeque<Vec<u8>>,
    bytes: usize,
    spare: Vec<Vec<u8>>,
    gateway: MacAddress,
    /// The machine's own card, to which everything goes whose address is not known.
    card: MacAddress,
    neighbours: BTreeMap<Ipv4Addr, MacAddress>,
}

impl Output {
    pub(crate) fn new(gateway: MacAddress, card: MacAddress) -> Self {
        Output {
            queue: VecDeque::new(),
            bytes: 0,
            spare: Vec::new(),
            gateway,
            card,
            neighbours: BTreeMap::new(),
        }
    }

    /// Whether more can be made for the guest than it has taken.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < ENOUGH_PACKETS && self.bytes < ENOUGH_BYTES
    }

    pub(crate) fn learn(&mut self, address: Ipv4Addr, mac: MacAddress) {
        if self.neighbours.len() < MAX_NEIGHBOURS || self.neighbours.contains_key(&address) {
            self.neighbours.insert(address, mac);
        }
    }

    /// Queues a frame with `length` bytes after its Ethernet header, all of which `fill` writes.
    pub(crate) fn frame(
        &mut self,
        destination: MacAddress,
        ethertype: u16,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        if self.queue.len() >= FULL {
            return;
        }
        let packet = self.start(destination, ethertype, length, fill);
        self.push(packet);
    }

    /// Queues an IPv4 packet of `length` bytes, all of which `fill` writes; `finish` may change the
    /// virtio header.
    pub(crate) fn ipv4<R>(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> R,
        finish: impl FnOnce(&mut [u8]),
    ) -> R {
        let mut result = None;
        let mut packet = self.start(self.card, ethertype::IPV4, length, |bytes| {
            result = Some(fill(bytes));
        });
        let destination = &packet[HEADER_LENGTH + ETHERNET + 16..][..4];
        let destination = Ipv4Addr::from(*destination.first_chunk().expect("four bytes"));
        let mac = self.neighbours.get(&destination).unwrap_or(&self.card);
        packet[HEADER_LENGTH..][..6].copy_from_slice(&mac.0);
        finish(&mut packet);
        if self.queue.len() < FULL {
            self.push(packet);
        }
        result.expect("filled")
    }

    fn start(
        &mut self,
        destination: MacAddress,
        ethertype: u16,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Vec<u8> {
        // A used buffer keeps what was in it: clearing 64 KiB that are written anyway would cost.
        let mut packet = self.spare.pop().unwrap_or_default();
        packet.resize(HEADER_LENGTH + ETHERNET + length, 0);
        let (headers, rest) = packet.split_at_mut(HEADER_LENGTH + ETHERNET);
        let (header, ethernet) = headers.split_at_mut(HEADER_LENGTH);
        header.copy_from_slice(&Offload::default().bytes());
        ethernet[..6].copy_from_slice(&destination.0);
        ethernet[6..12].copy_from_slice(&self.gateway.0);
        ethernet[12..].copy_from_slice(&ethertype.to_be_bytes());
        fill(rest);
        packet
    }

    fn push(&mut self, packet: Vec<u8>) {
        self.bytes += packet.len();
        self.queue.push_back(packet);
    }

    /// Takes the next packet into `packet`, whose buffer is used again.
    pub(crate) fn take(&mut self, packet: &mut Vec<u8>) -> bool {
        let Some(next) = self.queue.pop_front() else {
            return false;
        };
        self.bytes -= next.len();
        let used = std::mem::replace(packet, next);
        if self.spare.len() < SPARE {
            self.spare.push(used);
        }
        true
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
        self.neighbours.clear();
    }
}
