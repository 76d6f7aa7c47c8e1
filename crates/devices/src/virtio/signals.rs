//! What a device tells its driver: status, and interrupts with their reasons.

use std::sync::{Arc, Mutex};

use clade_engine::IrqLine;

use crate::pci::Msix;
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

/// Which MSI-X vector tells of something, if any does (section 4.1.5.1.2).
pub(super) const NO_VECTOR: u16 = 0xffff;

/// What an interrupt is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject {
    /// Buffers of this queue were used.
    Queue(u16),
    /// The device's configuration structure changed.
    Configuration,
}

/// The status and interrupt registers of one device, which the device's own threads change as
/// well as its driver.
pub struct Signals {
    pin: Arc<dyn IrqLine>,
    msix: Option<Arc<Msix>>,
    registers: Mutex<Registers>,
}

/// What a driver sees of them.
#[derive(Debug, Clone)]
pub(super) struct Registers {
    pub(super) status: u8,
    /// Reasons for an interrupt that the driver has not acknowledged; none while it gets messages.
    pub(super) isr: u8,
    pub(super) config_vector: u16,
    /// By queue.
    pub(super) queue_vectors: Vec<u16>,
}

impl Registers {
    fn reset(queues: usize) -> Self {
        Registers {
            status: 0,
            isr: 0,
            config_vector: NO_VECTOR,
            queue_vectors: vec![NO_VECTOR; queues],
        }
    }

    fn vector(&mut self, subject: Subject) -> Option<&mut u16> {
        match subject {
            Subject::Queue(queue) => self.queue_vectors.get_mut(usize::from(queue)),
            Subject::Configuration => Some(&mut self.config_vector),
        }
    }
}

impl Signals {
    /// Of a device with `queues` queues, which interrupts by messages once its driver has enabled that,
    /// if it can.
    pub(super) fn new(pin: Arc<dyn IrqLine>, msix: Option<Arc<Msix>>, queues: usize) -> Arc<Self> {
        Arc::new(Signals {
            pin,
            msix,
            registers: Mutex::new(Registers::reset(queues)),
        })
    }

    /// Interrupts the driver because buffers of queue `queue` were used.
    pub fn queue_used(&self, queue: u16) {
        self.interrupt(Subject::Queue(queue));
    }

    /// Interrupts the driver because the device's configuration structure changed.
    pub fn config_changed(&self) {
        self.interrupt(Subject::Configuration);
    }

    /// The device cannot go on, whatever the driver did to it: it takes no more buffers until it
    /// is reset (section 2.1.2).
    pub fn needs_reset(&self) {
        let mut registers = lock(&self.registers);
        registers.status |= status::NEEDS_RESET;
        if registers.status & status::DRIVER_OK != 0 {
            self.send(&mut registers, Subject::Configuration);
        }
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
        self.drive(&registers);
        before
    }

    /// The vector that tells of `subject`.
    pub(super) fn vector(&self, subject: Subject) -> u16 {
        let mut registers = lock(&self.registers);
        registers
            .vector(subject)
            .map_or(NO_VECTOR, |vector| *vector)
    }

    /// Lets `vector` tell of `subject`. One that does not exist becomes none (section 4.1.5.1.2.2).
    pub(super) fn set_vector(&self, subject: Subject, vector: u16) {
        let vector = if vector < self.vectors() {
            vector
        } else {
            NO_VECTOR
        };
        if let Some(place) = lock(&self.registers).vector(subject) {
            *place = vector;
        }
    }

    /// Number of vectors that there are.
    pub(super) fn vectors(&self) -> u16 {
        self.msix.as_ref().map_or(0, |msix| msix.vectors())
    }

    /// As after a reset: nothing is sent, not even what was to be sent later.
    pub(super) fn reset(&self) {
        let mut registers = lock(&self.registers);
        *registers = Registers::reset(registers.queue_vectors.len());
        self.drive(&registers);
        if let Some(msix) = &self.msix {
            msix.clear_pending();
        }
    }

    pub(super) fn save(&self) -> Registers {
        lock(&self.registers).clone()
    }

    /// Continues with what was saved, for as many queues as there are.
    pub(super) fn restore(&self, saved: Registers) {
        let mut registers = lock(&self.registers);
        *registers = saved;
        self.drive(&registers);
    }

    fn interrupt(&self, subject: Subject) {
        let mut registers = lock(&self.registers);
        // Nothing is sent before the driver is ready (section 2.1.2).
        if is_running(registers.status) {
            self.send(&mut registers, subject);
        }
    }

    /// By message if the driver wants messages, else by pin (section 4.1.5.1.3).
    fn send(&self, registers: &mut Registers, subject: Subject) {
        let vector = registers
            .vector(subject)
            .map_or(NO_VECTOR, |vector| *vector);
        let sent = self.msix.as_ref().is_some_and(|msix| msix.notify(vector));
        if !sent {
            registers.isr |= match subject {
                Subject::Queue(_) => isr::QUEUE,
                Subject::Configuration => isr::CONFIGURATION,
            };
            self.drive(registers);
        }
    }

    fn drive(&self, registers: &Registers) {
        self.pin.set_level(registers.isr != 0);
    }
}

fn is_running(status: u8) -> bool {
    status & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
}
