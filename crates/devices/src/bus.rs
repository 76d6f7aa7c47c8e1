//! An address space of devices, fixed once built.

use std::collections::BTreeMap;
use std::sync::Arc;

use clade_engine::{IoBus, IoDevice, Unmapped};

/// Two devices cannot share an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} at {base:#x} (size {size:#x}) cannot be put on the bus: \
     it overlaps {other} or the end of the address space"
)]
pub struct Overlap {
    /// The device that was to be inserted.
    pub name: &'static str,
    /// Its first address.
    pub base: u64,
    /// Its size in bytes.
    pub size: u64,
    /// What is there already.
    pub other: &'static str,
}

struct Range {
    name: &'static str,
    base: u64,
    /// The last address, so that a range may end with the address space.
    last: u64,
    device: Arc<dyn IoDevice>,
}

/// Collects the devices of a [`Bus`].
#[derive(Default)]
pub struct BusBuilder {
    ranges: BTreeMap<u64, Range>,
}

impl BusBuilder {
    /// An empty address space.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `device` at addresses `base` to `base + size - 1`. `name` is for error messages.
    ///
    /// # Errors
    /// [`Overlap`] when an address is taken already, when the range does not end within the
    /// address space, or when `size` is zero.
    pub fn insert(
        &mut self,
        name: &'static str,
        base: u64,
        size: u64,
        device: Arc<dyn IoDevice>,
    ) -> Result<&mut Self, Overlap> {
        let overlap = |other| Overlap {
            name,
            base,
            size,
            other,
        };
        let last = size
            .checked_sub(1)
            .and_then(|length| base.checked_add(length))
            .ok_or_else(|| overlap("nothing"))?;
        // Only the nearest range that starts at or before our last address can reach us.
        if let Some((_, below)) = self.ranges.range(..=last).next_back()
            && below.last >= base
        {
            return Err(overlap(below.name));
        }
        self.ranges.insert(
            base,
            Range {
                name,
                base,
                last,
                device,
            },
        );
        Ok(self)
    }

    /// The finished address space.
    #[must_use]
    pub fn build(self) -> Bus {
        Bus {
            ranges: self.ranges.into_values().collect(),
        }
    }
}

/// An address space of devices. Look-ups take no lock.
pub struct Bus {
    /// Ascending and disjoint.
    ranges: Vec<Range>,
}

impl Bus {
    fn find(&self, address: u64, length: usize) -> Result<&Range, Unmapped> {
        let unmapped = Unmapped { address };
        let after = self.ranges.partition_point(|range| range.base <= address);
        let range = self.ranges[..after].last().ok_or(unmapped)?;
        let last = address
            .checked_add(length.saturating_sub(1) as u64)
            .ok_or(unmapped)?;
        if last > range.last {
            return Err(unmapped);
        }
        Ok(range)
    }
}

impl IoBus for Bus {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), Unmapped> {
        let range = self.find(address, data.len())?;
        range.device.read(address - range.base, data);
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), Unmapped> {
        let range = self.find(address, data.len())?;
        range.device.write(address - range.base, data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Answers reads with its mark and the offset, and notes writes.
    struct Probe {
        mark: u8,
        written: Mutex<Vec<(u64, Vec<u8>)>>,
    }

    fn probe(mark: u8) -> Arc<Probe> {
        Arc::new(Probe {
            mark,
            written: Mutex::default(),
        })
    }

    impl IoDevice for Probe {
        fn read(&self, offset: u64, data: &mut [u8]) {
            data.fill(self.mark);
            data[0] = offset as u8;
        }

        fn write(&self, offset: u64, data: &[u8]) {
            self.written.lock().unwrap().push((offset, data.to_vec()));
        }
    }

    #[test]
    fn accesses_reach_the_device_at_that_address() {
        let (low, high) = (probe(0x11), probe(0x22));
        let mut builder = BusBuilder::new();
        builder.insert("high", 0x2000, 0x100, high.clone()).unwrap();
        builder.insert("low", 0x1000, 0x1000, low).unwrap();
        let bus = builder.build();

        let mut data = [0; 2];
        bus.read(0x1ffe, &mut data).unwrap();
        assert_eq!(data, [0xfe, 0x11]);
        bus.read(0x2000, &mut data).unwrap();
        assert_eq!(data, [0x00, 0x22]);
        bus.write(0x20ff, &[7]).unwrap();
        assert_eq!(*high.written.lock().unwrap(), [(0xff, vec![7])]);

        for address in [0, 0xfff, 0x1fff, 0x20ff, 0x2100, u64::MAX] {
            assert_eq!(bus.read(address, &mut data), Err(Unmapped { address }));
            assert_eq!(bus.write(address, &data), Err(Unmapped { address }));
        }
    }

    #[test]
    fn overlaps_are_refused() {
        let mut builder = BusBuilder::new();
        builder.insert("middle", 0x1000, 0x1000, probe(0)).unwrap();
        for (base, size) in [
            (0x1000, 0x1000),
            (0x1fff, 1),
            (0xfff, 2),
            (0, 0x10000),
            (0x1800, 0x1000),
        ] {
            let error = builder.insert("other", base, size, probe(0)).err().unwrap();
            assert_eq!(error.other, "middle");
        }
        assert!(builder.insert("empty", 0x5000, 0, probe(0)).is_err());
        assert!(builder.insert("wrap", u64::MAX, 2, probe(0)).is_err());
        builder.insert("below", 0, 0x1000, probe(0)).unwrap();
        builder.insert("above", 0x2000, 0x1000, probe(0)).unwrap();
        builder.insert("end", u64::MAX, 1, probe(9)).unwrap();
        let mut data = [0];
        builder.build().read(u64::MAX, &mut data).unwrap();
    }
}
