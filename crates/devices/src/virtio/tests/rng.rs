//! The entropy device.

use std::sync::Arc;

use clade_engine::Entropy;

use super::block_board::Alarm;
use super::driver::{BUFFERS, Driver, NEEDS_RESET, NEXT, Ring, VERSION_1, WRITE};
use super::{RAM, SLOT, peek, ram};
use crate::BusBuilder;
use crate::pci::PciHostBuilder;
use crate::testing::Wire;
use crate::virtio::{VirtioPci, VirtioRng};

struct Sevens;

impl Entropy for Sevens {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

#[test]
fn hands_out_what_it_is_given() {
    let ram = ram();
    let alarm = Arc::new(Alarm::default());
    let device = VirtioRng::new(Arc::new(Sevens), alarm.clone());
    let wires: [Arc<Wire>; 4] = Default::default();
    let mut builder = PciHostBuilder::new(wires.map(|wire| wire as _));
    builder
        .plug(SLOT, |pin| VirtioPci::new(device.clone(), &ram, pin))
        .unwrap();
    let mut bus = BusBuilder::new();
    builder.build().map(&mut bus).unwrap();
    let bus = bus.build();

    let driver = Driver::attach(&bus);
    driver.negotiate(VERSION_1);
    let mut ring = Ring::new(&ram, RAM, 16, VERSION_1);
    driver.enable(0, &ring);
    driver.set_status(0xf);
    let mut ask = |chain: &[(u64, u32, u16, u16)]| {
        for (index, &descriptor) in (0..).zip(chain) {
            ring.describe(index, descriptor);
        }
        ring.offer(0);
        alarm.take();
        driver.notify(0);
        assert_eq!(alarm.take(), 1);
        device.process();
        ring.take()
    };
    let pieces = [(BUFFERS, 3, WRITE | NEXT, 1), (BUFFERS + 16, 5, WRITE, 0)];
    assert_eq!(ask(&pieces), Some((0, 8)));
    assert_eq!(peek(&ram, BUFFERS, 4), [7, 7, 7, 0]);
    assert_eq!(peek(&ram, BUFFERS + 16, 6), [7, 7, 7, 7, 7, 0]);
    // Nothing for it to write, and more than it hands out at once.
    assert_eq!(ask(&[(BUFFERS, 3, 0, 0)]), Some((0, 0)));
    assert_eq!(ask(&[(BUFFERS, 0x8000, WRITE, 0)]), Some((0, 4096)));
    assert_eq!(ask(&[(8, 8, WRITE, 0)]), None);
    assert_ne!(driver.status() & NEEDS_RESET, 0);
}
