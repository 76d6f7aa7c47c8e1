//! What a device tells its driver: status, and interrupts with their reasons.

use std::sync::{Arc, Mutex};

use clade_engine::IrqLine;

use crate::sync::lock;

/// Device status bits (section 2.1).
pub(super) mod status {
    use virtio_bindings::virtio_config as bits;

    pub(crate) const DRIVER_OK: u8 = bits::VIRTIO_CONFIG_S_DRIVER_OK as u8;
    pub(crate) const FEATURES_OK: u8 = bits::VIRTIO_CONFIG_S_FEATURES_OK as u8;
    pub(crate) const NEEDS_RESET: u8 = bits::VIRTIO_CONFIG_S_NEEDS_RESET as u8;
    /// What a driver can set.
    pub(crate) const DRIVERS: u8 = (bits::VIRTIO_CONFIG_S_ACKNOWLEDGE
        | bits::VIRTIO_CONFIG_S_DRIVER
        | bits::VIRTIO_CONFIG_S_FAILED) as u8
        | DRIVER_OK
        | FEATURES_OK;
}

/// Reasons for an interrupt (section 4.1.4.5).
pub(super) mod isr {
    pub(crate) const QUEUE: u8 = 1 << 0;
    pub(crate) const CONFIGURATION: u8 = 1 << 1;
    pub(crate) const ALL: u8 = QUEUE | CONFIGURATION;
}

/// The status and interrupt registers of one device, which the device's own threads change as
/// well as its driver.
pub struct Signals {
    irq: Arc<dyn IrqLine>,
    registers: Mutex<Registers>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Registers {
    status: u8,
    isr: u8,
}

impl Signals {
    pub(super) fn new(irq: Arc<dyn IrqLine>) -> Arc<Self> {
        Arc::new(Signals {
            irq,
            registers: Mutex::default(),
        })
    }

    /// Interrupts the driver because buffers of queue `queue` were used.
    pub fn queue_used(&self, _queue: u16) {
        // All queues share one pin and one reason; a message-signalled interrupt would tell them
        // apart.
        self.interrupt(isr::QUEUE);
    }

    /// Interrupts the driver because the device's configuration structure changed.
    pub fn config_changed(&self) {
        self.interrupt(isr::CONFIGURATION);
    }

    /// The device cannot go on, whatever the driver did to it: it takes no more buffers until it
    /// is reset (section 2.1.2).
    pub fn needs_reset(&self) {
        let mut registers = lock(&self.registers);
        if registers.status & status::DRIVER_OK != 0 {
            registers.isr |= isr::CONFIGURATION;
        }
        registers.status |= status::NEEDS_RESET;
        self.drive(*registers);
    }

    /// Whether the device may use its queues: the driver is ready, and the device is sound.
    pub(super) fn running(&self) -> bool {
        is_running(lock(&self.registers).status)
    }

    pub(super) fn status(&self) -> u8 {
        lock(&self.registers).status
    }

    pub(super) fn add_status(&self, bits: u8) {
        lock(&self.registers).status |= bits;
    }

    pub(super) fn isr(&self) -> u8 {
        lock(&self.registers).isr
    }

    /// Withdraws the given reasons; returns what they were before.
    pub(super) fn acknowledge(&self, reasons: u8) -> u8 {
        let mut registers = lock(&self.registers);
        let before = registers.isr;
        registers.isr &= !reasons;
        self.drive(*registers);
        before
    }

    pub(super) fn set(&self, status: u8, isr: u8) {
        let mut registers = lock(&self.registers);
        *registers = Registers { status, isr };
        self.drive(*registers);
    }

    fn interrupt(&self, reason: u8) {
        let mut registers = lock(&self.registers);
        // Nothing is sent before the driver is ready (section 2.1.2).
        if is_running(registers.status) {
            registers.isr |= reason;
            self.drive(*registers);
        }
    }

    fn drive(&self, registers: Registers) {
        self.irq.set_level(registers.isr != 0);
    }
}

fn is_running(status: u8) -> bool {
    status & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
}
