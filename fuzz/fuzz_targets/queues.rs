//! The simpler devices: whatever a driver puts into memory and registers, nothing panics or hangs.
//!
//! `cargo +nightly fuzz run queues`
//!
//! The first byte of the input says which device it is for.

#![no_main]

mod driver;

use std::sync::Arc;

use clade_devices::virtio::balloon::MemoryReclaim;
use clade_devices::virtio::fs::FsBackend;
use clade_devices::virtio::serial::SerialHost;
use clade_devices::virtio::{
    GuestSlice, NetBackend, NetOffloads, PowerButton, VirtioBalloon, VirtioConsole, VirtioFs,
    VirtioNet, VirtioRng, VirtioSerial,
};
use clade_devices::{ConsoleHost, ConsolePort};
use clade_engine::Entropy;
use driver::{Board, Nothing, Work};
use libfuzzer_sys::fuzz_target;

impl ConsoleHost for Nothing {
    fn output(&self, _bytes: &[u8]) {}

    fn input_room(&self) {}
}

impl Entropy for Nothing {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x55);
    }
}

impl MemoryReclaim for Nothing {
    fn reclaim(&self, memory: &GuestSlice<'_>) {
        memory.copy_from(&vec![0_u8; memory.len()]);
    }
}

/// Sends back what it is sent, whole or cut off.
#[derive(Default)]
struct Mirror(Vec<Vec<u8>>);

impl NetBackend for Mirror {
    fn start(&mut self, _offloads: NetOffloads) {}

    fn send(&mut self, packet: &mut [u8]) {
        packet.reverse();
        self.0.push(packet.to_vec());
    }

    fn receive(&mut self, packet: &mut Vec<u8>) -> bool {
        self.0.pop().map(|next| *packet = next).is_some()
    }
}

/// Answers what it is asked, as far as there is room.
struct Echo;

impl FsBackend for Echo {
    fn serve(&mut self, request: &[GuestSlice<'_>], reply: &[GuestSlice<'_>]) -> usize {
        request
            .iter()
            .zip(reply)
            .map(|(from, to)| {
                from.copy_to_volatile_slice(*to);
                from.len().min(to.len())
            })
            .sum()
    }

    fn reset(&mut self) {}
}

/// Sends back what it is sent, with little room. A client comes and goes as it is asked.
#[derive(Default)]
struct Modem {
    turns: u8,
    bytes: Vec<u8>,
}

impl SerialHost for Modem {
    fn connected(&mut self) -> bool {
        self.turns = self.turns.wrapping_add(1);
        self.turns % 64 > 8
    }

    fn accept(&mut self) {}

    fn read(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.bytes.len());
        for (into, byte) in into.iter_mut().zip(self.bytes.drain(..count)) {
            *into = byte;
        }
        count
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(1000 - self.bytes.len());
        self.bytes.extend(&bytes[..count]);
        count
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, steps)) = bytes.split_first() else {
        return;
    };
    match kind % 7 {
        0 => console(steps),
        1 => entropy(steps),
        2 => button(steps),
        3 => network(steps),
        4 => balloon(steps),
        5 => serial(steps),
        _ => folder(steps),
    }
});

fn console(steps: &[u8]) {
    let device = VirtioConsole::new(Arc::new(Nothing));
    Board::new(device.clone(), 2).play(steps, |work| {
        if let Work::Host(value) = work {
            device.input(&vec![b'x'; value as usize % 5000]);
            device.resize(value as u16, (value >> 16) as u16);
        }
    });
    device.restore(&device.save());
}

fn entropy(steps: &[u8]) {
    let device = VirtioRng::new(Arc::new(Nothing), Arc::new(Nothing));
    Board::new(device.clone(), 1).play(steps, |_| while device.process() {});
}

fn button(steps: &[u8]) {
    let device = PowerButton::new();
    Board::new(device.clone(), 2).play(steps, |_| {
        device.press();
    });
    device.restore(&device.save());
}

fn network(steps: &[u8]) {
    let device = VirtioNet::new([2, 0, 0, 0, 0, 1], Arc::new(Nothing));
    let mut mirror = Mirror::default();
    Board::new(device.clone(), 2).play(steps, |_| while device.process(&mut mirror) {});
    let _ = device.save();
}

fn balloon(steps: &[u8]) {
    let ram = driver::memory();
    let device = VirtioBalloon::new(ram.clone(), Box::new(Nothing), Arc::new(Nothing));
    Board::beside(ram, device.clone(), 3).play(steps, |work| {
        if let Work::Host(pages) = work {
            device.set_target(pages as u32);
        }
        while device.process() {}
    });
    device.restore(&device.save());
}

fn serial(steps: &[u8]) {
    let modem = |name: &str| {
        let modem: Box<dyn SerialHost> = Box::new(Modem::default());
        (name.to_owned(), modem)
    };
    let ports = ["one", "two", "three"].map(modem).into();
    let device = VirtioSerial::new(ports, Arc::new(Nothing));
    // A mirror before a driver that offers without end has always more to do.
    Board::new(device.clone(), 10).play(steps, |_| {
        let _ = (0..100).any(|_| !device.process());
    });
    device.restore(&device.save()).expect("its own state");
}

fn folder(steps: &[u8]) {
    let device = VirtioFs::new("fuzz", Box::new(Echo), Arc::new(Nothing));
    Board::new(device.clone(), 2).play(steps, |_| while device.process() {});
    let state = device.save();
    device.restore(&state).expect("its own state");
}
