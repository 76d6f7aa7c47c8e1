//! The older way to configuration space, by two ports (section 3.2.2.3.2).

use std::sync::Arc;

use clade_engine::{IoDevice, SystemEvent};

use super::PciHost;
use crate::little_endian::{put, value_of};
use crate::sync::lock;

/// Which register is meant, and what is in it: ports 0xcf8 to 0xcff on a PC.
pub(super) struct ConfigPorts(pub(super) Arc<PciHost>);

const ADDRESS: u64 = 0;
const RESET: u64 = 1;
const DATA: u64 = 4;

/// Resets the machine, in the reset register (Intel ICH9 datasheet, 13.7.5).
const RESET_CPU: u8 = 1 << 2;

const ENABLE: u32 = 1 << 31;
/// Bits of the address that hold what was written.
pub(super) const WRITABLE: u32 = 0x80ff_fffc;

/// Where the ports are, and how many.
pub(super) const PORTS: (u64, u64) = (0xcf8, 8);

impl ConfigPorts {
    /// Where in configuration space memory a data port leads, if anywhere: bus, device and function are
    /// four bits higher there than in the address register.
    fn target(&self, offset: u64, length: usize) -> Option<u64> {
        let address = *lock(&self.0.address);
        let within = offset.checked_sub(DATA)?;
        if address & ENABLE == 0 || within + length as u64 > 4 {
            return None;
        }
        let function = u64::from(address & 0x00ff_ff00) << 4;
        Some(function + u64::from(address & 0xfc) + within)
    }
}

impl IoDevice for ConfigPorts {
    fn read(&self, offset: u64, data: &mut [u8]) {
        match self.target(offset, data.len()) {
            Some(target) => self.0.read(target, data),
            None if offset == ADDRESS && data.len() == 4 => {
                put(data, u64::from(*lock(&self.0.address)));
            }
            None => data.fill(0xff),
        }
    }

    /// Only whole words go to the address register; a PC's reset register is among its bytes.
    fn write(&self, offset: u64, data: &[u8]) {
        if let (RESET, [value], Some(sink)) = (offset, data, &self.0.reset) {
            if value & RESET_CPU != 0 {
                sink(SystemEvent::Reboot);
            }
        } else if let Some(target) = self.target(offset, data.len()) {
            self.0.write(target, data);
        } else if offset == ADDRESS && data.len() == 4 {
            *lock(&self.0.address) = value_of(data) as u32 & WRITABLE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::PciHostBuilder;
    use crate::pci::{ConfigSpace, Identity};
    use crate::testing::{Events, Wire, read32, write32};

    fn ports() -> ConfigPorts {
        let wires = [(); 4].map(|()| Wire::new() as _);
        ConfigPorts(PciHostBuilder::new(wires).build())
    }

    #[test]
    fn registers_are_reached_in_pieces() {
        let ports = ports();
        assert_eq!(read32(&ports, 4), u32::MAX, "not enabled");
        write32(&ports, 0, 0x8000_0003);
        assert_eq!(read32(&ports, 0), 0x8000_0000);
        assert_eq!(read32(&ports, 4), 0x0008_1b36, "the host bridge");
        let mut half = [0; 2];
        ports.read(6, &mut half);
        assert_eq!(half, [8, 0]);
        // Cache line size, which can be written.
        write32(&ports, 0, 0x8000_000c);
        ports.write(4, &[0x10]);
        assert_eq!(read32(&ports, 4) & 0xff, 0x10);
        let saved = ports.0.save();
        assert_eq!(saved.address, 0x8000_000c);
        let others = self::ports();
        others.0.restore(&saved).expect("the same bus");
        assert_eq!(others.0.save(), saved);
    }

    #[test]
    fn what_is_not_there_reads_as_ones_and_takes_nothing() {
        let ports = ports();
        for address in [0x8001_0000, 0x8000_0800, 0x8000_0100, 0x80ff_fffc] {
            write32(&ports, 0, address);
            write32(&ports, 4, 0);
            assert_eq!(read32(&ports, 4), u32::MAX, "{address:#x}");
        }
        write32(&ports, 0, 0x8000_0000);
        let mut across = [0; 2];
        ports.read(7, &mut across);
        assert_eq!(across, [0xff; 2]);
        // Bytes are not for the address register.
        ports.write(1, &[6]);
        assert_eq!(read32(&ports, 0), 0x8000_0000);
    }

    #[test]
    fn a_reset_register_is_among_the_bytes_where_there_is_one() {
        let events = Events::default();
        let wires = [(); 4].map(|()| Wire::new() as _);
        let host = PciHostBuilder::new(wires).with_reset_register(events.sink());
        let ports = ConfigPorts(host.build());
        ports.write(1, &[2]);
        ports.write(0, &[6]);
        write32(&ports, 0, 0x0600);
        write32(&ports, 0, 0x8000_0600);
        assert_eq!(events.take(), []);
        ports.write(1, &[6]);
        assert_eq!(events.take(), [SystemEvent::Reboot]);
        assert_eq!(read32(&ports, 0), 0x8000_0600);
    }

    #[test]
    fn a_bridge_can_be_another_one() {
        let wires = [(); 4].map(|()| Wire::new() as _);
        let bridge = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x29c0,
            revision: 0,
            class: 0x06_00_00,
            subsystem_vendor: 0,
            subsystem: 0,
        });
        let host = PciHostBuilder::new(wires).with_bridge(bridge.with_register(0x60, 0xe000_0001));
        let ports = ConfigPorts(host.build());
        write32(&ports, 0, 0x8000_0000);
        assert_eq!(read32(&ports, 4), 0x29c0_8086);
        write32(&ports, 0, 0x8000_0060);
        write32(&ports, 4, 0);
        assert_eq!(read32(&ports, 4), 0xe000_0001);
    }
}
