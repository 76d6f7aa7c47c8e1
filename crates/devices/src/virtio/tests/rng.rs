//! The entropy device.

use std::sync::Arc;

use clade_engine::Entropy;

use super::driver::{BUFFERS, Driver, NEEDS_RESET, NEXT, Ring, VERSION_1, WRITE};
use super::{PluggedIn, RAM, Wakes, peek, plug_in};
use crate::virtio::VirtioRng;

struct Sevens;

impl Entropy for Sevens {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

#[test]
fn hands_out_what_it_is_given() {
    let wakes = Arc::new(Wakes::default());
    let device = VirtioRng::new(Arc::new(Sevens), wakes.clone());
    let PluggedIn { ram, bus, .. } = plug_in(device.clone());

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
        let before = wakes.count();
        driver.notify(0);
        assert_eq!(wakes.count(), before + 1);
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
