use std::sync::{Arc, Mutex};

use clade_engine::IoDevice;
use proptest::prelude::*;

use super::{Flash, FlashMode, FlashStore, Geometry};
use crate::testing::{read32, write32};

const BLOCK_SIZE: u64 = Geometry::PAIR.block;
const SIZE: u64 = 4 * BLOCK_SIZE;

/// Both chips are told the same.
const fn both(command: u8) -> u32 {
    command as u32 * 0x0001_0001
}

const READY: u32 = both(0x80);

/// A store that applies what it is told to a copy.
struct Copy(Mutex<Vec<u8>>);

impl FlashStore for Copy {
    fn write(&self, offset: u64, bytes: &[u8]) {
        let start = offset as usize;
        self.0.lock().unwrap()[start..start + bytes.len()].copy_from_slice(bytes);
    }
}

fn flash() -> (Arc<Flash>, Arc<Copy>) {
    let content: Vec<u8> = (0..SIZE).map(|byte| byte as u8).collect();
    let copy = Arc::new(Copy(Mutex::new(content.clone())));
    (Flash::new(content, Geometry::PAIR, copy.clone()), copy)
}

#[test]
fn content_is_read_and_identity_and_query_are_told() {
    let (flash, _) = flash();
    assert_eq!(read32(&*flash, 0x104), 0x0706_0504);
    write32(&*flash, 0, both(0x90));
    assert_eq!(read32(&*flash, 0), both(0x89));
    assert_eq!(read32(&*flash, 4), both(0x18));
    write32(&*flash, 0, both(0x98));
    let query: Vec<u8> = (0x10..0x13).map(|i| read32(&*flash, 4 * i) as u8).collect();
    assert_eq!(query, b"QRY");
    // Each of the two chips has half a mebibyte.
    assert_eq!(read32(&*flash, 4 * 0x27), both(19));
    assert_eq!(read32(&*flash, 4 * 0x2d), both(3));
    write32(&*flash, 0, both(0xff));
    assert_eq!(read32(&*flash, 0), 0x0302_0100);
}

#[test]
fn bits_are_cleared_by_programming_and_set_by_erasing() {
    let (flash, copy) = flash();
    let at = BLOCK_SIZE + 0x20;
    write32(&*flash, at, both(0x20));
    write32(&*flash, at, both(0xd0));
    assert_eq!(read32(&*flash, at), READY);
    write32(&*flash, at, both(0x40));
    write32(&*flash, at, 0x1234_5678);
    assert_eq!(read32(&*flash, at), READY);
    write32(&*flash, at, both(0x40));
    write32(&*flash, at, 0xffff_00ff);
    write32(&*flash, 0, both(0xff));
    assert_eq!(read32(&*flash, at), 0x1234_0078);
    assert_eq!(read32(&*flash, BLOCK_SIZE), u32::MAX);
    assert_eq!(read32(&*flash, 2 * BLOCK_SIZE - 4), u32::MAX);
    assert_ne!(read32(&*flash, BLOCK_SIZE - 4), u32::MAX);
    assert_ne!(read32(&*flash, 2 * BLOCK_SIZE), u32::MAX);
    let kept = copy.0.lock().unwrap();
    let at = at as usize;
    assert_eq!(kept[at..at + 4], 0x1234_0078u32.to_le_bytes());
    assert_eq!(kept[at + 4..at + 8], [0xff; 4]);
}

#[test]
fn a_buffer_is_programmed_when_it_is_confirmed() {
    let (flash, _) = flash();
    let at = 2 * BLOCK_SIZE;
    write32(&*flash, at, both(0x20));
    write32(&*flash, at, both(0xd0));
    write32(&*flash, at, both(0xe8));
    assert_eq!(read32(&*flash, at), READY);
    write32(&*flash, at, both(1));
    write32(&*flash, at + 8, 0x1111_1111);
    write32(&*flash, at + 12, 0x2222_2222);
    let saved = flash.save();
    assert_eq!(saved.mode, FlashMode::BufferConfirm);
    // A state in the middle of it is restored whole.
    write32(&*flash, at, both(0xff));
    flash.restore(&saved);
    write32(&*flash, at, both(0xd0));
    assert_eq!(read32(&*flash, at), READY);
    write32(&*flash, at, both(0xff));
    assert_eq!(read32(&*flash, at + 8), 0x1111_1111);
    assert_eq!(read32(&*flash, at + 12), 0x2222_2222);
}

#[test]
fn wrong_sequences_show_in_the_status_until_it_is_cleared() {
    let (flash, _) = flash();
    write32(&*flash, 0, both(0x20));
    write32(&*flash, 0, both(0xff));
    assert_eq!(read32(&*flash, 0), both(0xb0));
    write32(&*flash, 0, both(0x50));
    write32(&*flash, 0, both(0xe8));
    write32(&*flash, 0, 0xffff_ffff);
    assert_eq!(read32(&*flash, 0), both(0x90));
    write32(&*flash, 0, both(0x50));
    write32(&*flash, 0, both(0x70));
    assert_eq!(read32(&*flash, 0), 0);
    // What is begun finds the flash ready.
    for command in [0x10, 0x20, 0x60, 0xe8] {
        write32(&*flash, 0, both(0x50));
        write32(&*flash, 0, both(command));
        assert_eq!(read32(&*flash, 0), READY, "{command:#x}");
        write32(&*flash, 0, both(0xd0));
        assert_eq!(read32(&*flash, 0), READY, "{command:#x}");
    }
}

/// As OVMF does it.
#[test]
fn a_pcs_flash_is_programmed_by_bytes() {
    let content: Vec<u8> = (0..3 * 4096).map(|byte| byte as u8).collect();
    let copy = Arc::new(Copy(Mutex::new(content.clone())));
    let flash = Flash::new(content, Geometry::BYTES, copy.clone());
    let read = |offset| {
        let mut byte = [0];
        flash.read(offset, &mut byte);
        byte[0]
    };
    let write = |offset, byte: u8| flash.write(offset, &[byte]);
    // Is it a flash?
    assert_eq!(read(4), 4);
    write(4, 0x50);
    assert_eq!(read(4), 4);
    write(4, 0x70);
    assert_eq!(read(4), 0);
    write(4, 0xff);
    assert_eq!(read(4), 4);
    // The block in the middle, and no other.
    write(5000, 0x20);
    write(5000, 0xd0);
    assert_eq!(read(5000), 0x80);
    for (offset, byte) in (6001..).zip(*b"UEFI") {
        write(offset, 0x10);
        write(offset, byte);
    }
    write(6004, 0xff);
    let content = copy.0.lock().unwrap();
    assert_eq!(content[4094..4098], [0xfe, 0xff, 0xff, 0xff]);
    assert_eq!(content[6000..6006], *b"\xffUEFI\xff");
    assert_eq!(content[8190..8194], [0xff, 0xff, 0, 1]);
    for (offset, byte) in (0..).zip(&*content) {
        assert_eq!(read(offset), *byte);
    }
    write(0, 0x98);
    let query: Vec<u8> = (0x10..0x13).map(read).collect();
    assert_eq!(query, b"QRY");
}

proptest! {
    #[test]
    fn no_access_panics_or_lets_the_store_fall_behind(
        accesses in prop::collection::vec(
            (any::<bool>(), 0..SIZE, prop::collection::vec(any::<u8>(), 1..=8)),
            0..100,
        ),
        commands in prop::collection::vec(prop::sample::select(vec![
            0x40u8, 0x20, 0x50, 0x60, 0x70, 0x90, 0x98, 0xd0, 0xe8, 0xff,
        ]), 100),
    ) {
        let (flash, copy) = flash();
        for ((is_read, offset, mut data), command) in accesses.into_iter().zip(commands) {
            let offset = offset.min(SIZE - data.len() as u64);
            if is_read {
                flash.read(offset, &mut data);
            } else {
                flash.write(offset, &both(command).to_le_bytes()[..data.len().min(4)]);
                flash.write(offset, &data);
            }
            prop_assert!(flash.save().buffer.len() <= 1024);
        }
        flash.restore(&super::FlashState::default());
        let kept = copy.0.lock().unwrap();
        for offset in (0..SIZE).step_by(4) {
            let at = offset as usize;
            let here = read32(&*flash, offset).to_le_bytes();
            prop_assert_eq!(&here, &kept[at..at + 4]);
        }
    }
}
