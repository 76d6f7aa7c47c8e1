//! QEMU's firmware configuration device, by which a PC's firmware learns what its board is (QEMU,
//! `docs/specs/fw_cfg.rst`): items with numbers, and files with names. Read by two ports; nothing is written, and
//! there is no DMA.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use clade_engine::IoDevice;
use serde::{Deserialize, Serialize};

use crate::sync::lock;

/// Where its ports are on a PC, and how many.
pub const PORTS: (u64, u64) = (0x510, 2);

/// The item that says how many processors there are, in 16 bits.
pub const CPU_COUNT: u16 = 0x05;

const SIGNATURE: u16 = 0x00;
const REVISION: u16 = 0x01;
const DIRECTORY: u16 = 0x19;
const FIRST_FILE: u16 = 0x20;

/// The interface by ports alone.
const BY_PORTS: u32 = 1;
/// Bytes of a file's name in the directory, with the zero behind it.
const NAME: usize = 56;

const SELECT: u64 = 0;
const DATA: u64 = 1;

/// The device.
pub struct FwCfg {
    items: BTreeMap<u16, Vec<u8>>,
    state: Mutex<FwCfgState>,
}

/// Where the guest reads. Any value is a valid one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FwCfgState {
    /// The item.
    pub item: u16,
    /// The byte of it that is read next.
    pub offset: u64,
}

impl FwCfg {
    /// A device with `items` and `files`, whose names have 55 bytes at most and are cut off there.
    #[must_use]
    pub fn new(items: Vec<(u16, Vec<u8>)>, files: Vec<(&str, Vec<u8>)>) -> Arc<Self> {
        let mut directory = (files.len() as u32).to_be_bytes().to_vec();
        let mut all: BTreeMap<u16, Vec<u8>> = items.into_iter().collect();
        for (number, (name, content)) in (FIRST_FILE..).zip(files) {
            directory.extend((content.len() as u32).to_be_bytes());
            directory.extend(number.to_be_bytes());
            directory.extend([0; 2]);
            let mut bytes = name.as_bytes().to_vec();
            bytes.truncate(NAME - 1);
            bytes.resize(NAME, 0);
            directory.extend(bytes);
            all.insert(number, content);
        }
        all.insert(SIGNATURE, b"QEMU".to_vec());
        all.insert(REVISION, BY_PORTS.to_le_bytes().to_vec());
        all.insert(DIRECTORY, directory);
        Arc::new(Self {
            items: all,
            state: Mutex::default(),
        })
    }

    /// What the guest can observe, but for the items.
    #[must_use]
    pub fn save(&self) -> FwCfgState {
        *lock(&self.state)
    }

    /// Continues from a saved state.
    pub fn restore(&self, saved: &FwCfgState) {
        *lock(&self.state) = *saved;
    }
}

impl IoDevice for FwCfg {
    /// What is not there, and what is behind an item's end, is 0.
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let mut state = lock(&self.state);
        if let (DATA, Some(byte)) = (offset, data.first_mut()) {
            let item = self.items.get(&state.item);
            let place = usize::try_from(state.offset).ok();
            let value = item.zip(place).and_then(|(item, place)| item.get(place));
            *byte = value.copied().unwrap_or(0);
            state.offset = state.offset.saturating_add(1);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let (SELECT, [low, high]) = (offset, data) {
            *lock(&self.state) = FwCfgState {
                item: u16::from_le_bytes([*low, *high]),
                offset: 0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(device: &FwCfg, item: u16, length: usize) -> Vec<u8> {
        device.write(SELECT, &item.to_le_bytes());
        let byte = || {
            let mut byte = [0xee];
            device.read(DATA, &mut byte);
            byte[0]
        };
        (0..length).map(|_| byte()).collect()
    }

    fn device() -> Arc<FwCfg> {
        let files = vec![("etc/one", vec![1, 2, 3]), ("etc/two", vec![4; 300])];
        FwCfg::new(vec![(CPU_COUNT, vec![2, 0])], files)
    }

    #[test]
    fn items_and_files_are_found_and_read() {
        let device = device();
        assert_eq!(read(&device, 0, 4), b"QEMU");
        assert_eq!(read(&device, 1, 4), [1, 0, 0, 0]);
        assert_eq!(read(&device, CPU_COUNT, 3), [2, 0, 0]);
        let directory = read(&device, DIRECTORY, 4 + 2 * 64);
        assert_eq!(directory[..4], [0, 0, 0, 2]);
        let second = &directory[4 + 64..];
        assert_eq!(second[..8], [0, 0, 1, 44, 0, 0x21, 0, 0]);
        assert_eq!(second[8..16], *b"etc/two\0");
        assert_eq!(read(&device, 0x20, 5), [1, 2, 3, 0, 0]);
        assert_eq!(read(&device, 0x21, 301), [&[4; 300][..], &[0]].concat());
        assert_eq!(read(&device, 0x22, 2), [0, 0]);
    }

    #[test]
    fn reading_goes_on_where_it_was() {
        let one = device();
        assert_eq!(read(&one, 0x20, 1), [1]);
        // Neither is an address of anything.
        one.write(SELECT, &[0x21]);
        one.write(DATA, &[9]);
        let saved = one.save();
        let other = device();
        other.restore(&saved);
        let mut byte = [0];
        other.read(DATA, &mut byte);
        assert_eq!(byte, [2]);
        other.restore(&FwCfgState {
            item: 0x20,
            offset: u64::MAX,
        });
        other.read(DATA, &mut byte);
        assert_eq!(byte, [0]);
        let mut word = [1; 2];
        other.read(SELECT, &mut word);
        assert_eq!(word, [0; 2]);
    }

    #[test]
    fn long_names_are_cut_off() {
        let name = "n".repeat(60);
        let device = FwCfg::new(Vec::new(), vec![(&name, Vec::new())]);
        let directory = read(&device, DIRECTORY, 4 + 64);
        assert_eq!(directory[12..67], [b'n'; 55]);
        assert_eq!(directory[67], 0);
    }
}
