//! The core-local interruptor: M-mode's timer and software interrupts (SiFive CLINT, the layout
//! of QEMU's `virt` board). It is part of the engine because its timers are the harts'.

use std::sync::{Arc, Weak};

use clade_engine::IoDevice;
use clade_riscv::trap::interrupt;

use crate::core::Shared;

const MSIP: u64 = 0;
const MTIMECMP: u64 = 0x4000;
const MTIME: u64 = 0xbff8;

/// The CLINT of one machine.
pub struct Clint {
    /// Weak, for the bus that the engine holds leads back here.
    shared: Weak<Shared>,
}

impl Clint {
    /// Size in bytes of its register block.
    pub const SIZE: u64 = 0x1_0000;

    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
        }
    }

    /// The aligned 64-bit register that holds `offset`.
    fn read_register(shared: &Shared, offset: u64) -> u64 {
        let ports = &shared.ports;
        match offset {
            MTIME => shared.time.now(),
            MTIMECMP..MTIME => {
                let hart = ((offset - MTIMECMP) / 8) as usize;
                ports.get(hart).map_or(0, |port| port.mtimecmp())
            }
            MSIP..MTIMECMP => {
                let pending = |hart: u64| {
                    let port = ports.get(hart as usize);
                    port.is_some_and(|port| port.lines() & interrupt::MSI != 0)
                };
                u64::from(pending(offset / 4)) | u64::from(pending(offset / 4 + 1)) << 32
            }
            _ => 0,
        }
    }

    /// Replaces the bits of `mask` in the aligned 64-bit register at `offset`.
    fn write_register(shared: &Shared, offset: u64, value: u64, mask: u64) {
        let ports = &shared.ports;
        let merged = || Self::read_register(shared, offset) & !mask | value & mask;
        match offset {
            MTIME => {
                shared.time.set(merged());
                ports.iter().for_each(|port| port.notify());
            }
            MTIMECMP..MTIME => {
                if let Some(port) = ports.get(((offset - MTIMECMP) / 8) as usize) {
                    port.set_mtimecmp(merged());
                }
            }
            MSIP..MTIMECMP => {
                for half in 0..2 {
                    let bit = 1 << (32 * half);
                    if mask & bit != 0
                        && let Some(port) = ports.get((offset / 4 + half) as usize)
                    {
                        port.set_line(interrupt::MSI, value & bit != 0);
                    }
                }
            }
            _ => {}
        }
    }
}

impl IoDevice for Clint {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let bytes = Self::read_register(&shared, offset & !7).to_le_bytes();
        let start = (offset & 7) as usize;
        for (to, from) in data.iter_mut().zip(&bytes[start..]) {
            *to = *from;
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let shift = 8 * (offset & 7);
        let (value, mask) = data
            .iter()
            .take(8 - (offset & 7) as usize)
            .rev()
            .fold((0u64, 0u64), |(value, mask), &byte| {
                (value << 8 | u64::from(byte), mask << 8 | 0xff)
            });
        Self::write_register(&shared, offset & !7, value << shift, mask << shift);
    }
}
