/// The far end of the cable in a network device. Packets have `struct virtio_net_hdr` of section
/// 5.1.6, 12 bytes, in front of their Ethernet frame.
pub trait NetBackend {
    /// The driver is ready, and these are the packets that it can take.
    fn start(&mut self, offloads: NetOffloads);

    /// Takes a packet of the guest's; may change it. What cannot go now is lost.
    fn send(&mut self, packet: &mut [u8]);

    /// Puts the next packet for the guest into `packet`, in place of what is there; returns
    /// whether there is one.
    fn receive(&mut self, packet: &mut Vec<u8>) -> bool;
}

/// What a driver can take in a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetOffloads {
    /// Checksums that are only begun.
    pub checksum: bool,
    /// TCP segments over IPv4 of up to 64 KiB.
    pub tcp4: bool,
    /// TCP segments over IPv6 of up to 64 KiB.
    pub tcp6: bool,
}
