//! The cable between a flow's TCP and the guest, as the TCP engine wants it: IP packets.

use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::output::Output;
use crate::segment::offload_tcp4;

/// The longest IP packet: segments are cut, and joined, beyond the cable.
pub(super) const MAX_IP: usize = 65535;

/// One packet from the guest, or none, and the guest's queue.
pub(super) struct Wire<'a> {
    pub(super) input: Option<&'a [u8]>,
    pub(super) output: &'a mut Output,
    /// How much data the guest takes in one segment.
    pub(super) segment: u16,
}

pub(super) struct Input<'a>(&'a [u8]);

pub(super) struct Reply<'a> {
    output: &'a mut Output,
    segment: u16,
}

impl Device for Wire<'_> {
    type RxToken<'a>
        = Input<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Reply<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Input<'_>, Reply<'_>)> {
        let input = Input(self.input.take()?);
        let reply = Reply {
            output: self.output,
            segment: self.segment,
        };
        Some((input, reply))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Reply<'_>> {
        self.output.has_room().then_some(Reply {
            output: self.output,
            segment: self.segment,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MAX_IP;
        // The cable is memory and breaks nothing: nobody computes TCP's checksums.
        capabilities.checksum.tcp = Checksum::None;
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities
    }
}

impl RxToken for Input<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

impl TxToken for Reply<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        self.output
            .ipv4(length, fill, |packet| offload_tcp4(packet, self.segment))
    }
}
