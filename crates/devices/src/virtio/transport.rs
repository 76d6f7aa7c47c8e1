//! What all transports have in common: feature negotiation, device status and queue set-up.

use std::sync::{Arc, Mutex};

use clade_engine::{GuestRam, IrqLine};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{Error, Queue};

use super::signals::{self, NO_VECTOR, Subject, isr, status};
use super::{Activation, Signals, TransportState, VirtQueue, VirtioDevice};
use crate::StateError;
use crate::pci::Msix;
use crate::sync::lock;

const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
const EVENT_INDEX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
const INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// A device with the registers by which a driver sets it up.
pub(super) struct Transport {
    pub(super) device: Arc<dyn VirtioDevice>,
    pub(super) signals: Arc<Signals>,
    queues: Vec<Arc<VirtQueue>>,
    registers: Mutex<Registers>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Registers {
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    queue_select: u16,
}

impl Transport {
    pub(super) fn new(
        device: Arc<dyn VirtioDevice>,
        ram: &Arc<GuestRam>,
        pin: Arc<dyn IrqLine>,
        msix: Option<Arc<Msix>>,
    ) -> Result<Self, Error> {
        let signals = Signals::new(pin, msix, device.queue_sizes().len());
        let queues = (0..)
            .zip(device.queue_sizes())
            .map(|(index, &size)| VirtQueue::new(index, size, ram.clone(), signals.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Transport {
            device,
            signals,
            queues,
            registers: Mutex::default(),
        })
    }

    pub(super) fn queue_count(&self) -> u16 {
        self.queues.len() as u16
    }

    fn offered(&self) -> u64 {
        self.device.features() | VERSION_1 | EVENT_INDEX | INDIRECT
    }

    pub(super) fn device_feature_select(&self) -> u32 {
        lock(&self.registers).device_feature_select
    }

    pub(super) fn select_device_features(&self, word: u32) {
        lock(&self.registers).device_feature_select = word;
    }

    pub(super) fn device_features(&self) -> u32 {
        word(self.offered(), self.device_feature_select())
    }

    pub(super) fn driver_feature_select(&self) -> u32 {
        lock(&self.registers).driver_feature_select
    }

    pub(super) fn select_driver_features(&self, word: u32) {
        lock(&self.registers).driver_feature_select = word;
    }

    pub(super) fn driver_features(&self) -> u32 {
        let registers = lock(&self.registers);
        word(registers.driver_features, registers.driver_feature_select)
    }

    /// Ignored once the features are agreed on (section 3.1.1).
    pub(super) fn accept_features(&self, value: u32) {
        let mut registers = lock(&self.registers);
        if self.signals.status() & status::FEATURES_OK != 0 {
            return;
        }
        let (value, keep) = match registers.driver_feature_select {
            0 => (u64::from(value), !u64::from(u32::MAX)),
            1 => (u64::from(value) << 32, u64::from(u32::MAX)),
            _ => return,
        };
        registers.driver_features = registers.driver_features & keep | value;
    }

    pub(super) fn queue_select(&self) -> u16 {
        lock(&self.registers).queue_select
    }

    pub(super) fn select_queue(&self, index: u16) {
        lock(&self.registers).queue_select = index;
    }

    /// What an interrupt about the queue that the driver looks at is about.
    pub(super) fn selected(&self) -> Subject {
        Subject::Queue(self.queue_select())
    }

    /// The queue that the driver looks at, if the device has it.
    pub(super) fn queue(&self) -> Option<&VirtQueue> {
        let index = self.queue_select();
        self.queues.get(usize::from(index)).map(|queue| &**queue)
    }

    pub(super) fn configure_queue(&self, configure: impl FnOnce(&mut Queue)) {
        if let Some(queue) = self.queue() {
            queue.configure(configure);
        }
    }

    pub(super) fn notify(&self, queue: u16) {
        if queue < self.queue_count() && self.signals.running() {
            self.device.notify(queue);
        }
    }

    /// A driver adds bits to the status one by one, or resets the device by writing 0.
    pub(super) fn write_status(&self, value: u8) {
        let registers = lock(&self.registers);
        if value == 0 {
            self.reset(registers);
            return;
        }
        let before = self.signals.status();
        let mut added = value & status::DRIVERS & !before;
        // Section 2.2.2: a subset that the device does not accept leaves FEATURES_OK clear.
        if added & status::FEATURES_OK != 0 && !self.acceptable(registers.driver_features) {
            added &= !status::FEATURES_OK;
        }
        if (before | added) & status::FEATURES_OK == 0 {
            added &= !status::DRIVER_OK;
        }
        self.signals.add_status(added);
        if added & status::DRIVER_OK != 0 {
            self.activate(registers.driver_features);
            drop(registers);
            // Buffers may have been waiting.
            (0..self.queue_count()).for_each(|queue| self.notify(queue));
        }
    }

    fn acceptable(&self, features: u64) -> bool {
        features & !self.offered() == 0 && features & VERSION_1 != 0
    }

    fn activate(&self, features: u64) {
        for queue in &self.queues {
            queue.set_event_index(features & EVENT_INDEX != 0);
        }
        self.device.activate(Activation {
            features,
            queues: self.queues.clone(),
            signals: self.signals.clone(),
        });
    }

    fn reset(&self, mut registers: std::sync::MutexGuard<'_, Registers>) {
        // Without its status the device gets no more buffers and sends no more interrupts.
        self.signals.reset();
        self.queues.iter().for_each(|queue| queue.reset());
        self.device.reset();
        *registers = Registers::default();
    }

    pub(super) fn save(&self) -> TransportState {
        let registers = lock(&self.registers);
        let signals = self.signals.save();
        TransportState {
            device_id: self.device.device_id(),
            status: signals.status,
            isr: signals.isr,
            config_vector: signals.config_vector,
            queue_vectors: signals.queue_vectors,
            device_feature_select: registers.device_feature_select,
            driver_feature_select: registers.driver_feature_select,
            driver_features: registers.driver_features,
            queue_select: registers.queue_select,
            queues: self.queues.iter().map(|queue| queue.save()).collect(),
        }
    }

    pub(super) fn restore(&self, saved: &TransportState) -> Result<(), StateError> {
        let queues = self.check(saved)?;
        let mut registers = lock(&self.registers);
        // It sends nothing before all is restored.
        self.signals.add_status(status::NEEDS_RESET);
        self.device.reset();
        *registers = Registers {
            device_feature_select: saved.device_feature_select,
            driver_feature_select: saved.driver_feature_select,
            driver_features: saved.driver_features,
            queue_select: saved.queue_select,
        };
        for (queue, restored) in self.queues.iter().zip(queues) {
            queue.replace(restored);
        }
        self.signals.restore(signals::Registers {
            status: saved.status,
            isr: saved.isr,
            config_vector: saved.config_vector,
            queue_vectors: saved.queue_vectors.clone(),
        });
        if saved.status & status::DRIVER_OK != 0 {
            self.activate(saved.driver_features);
        }
        Ok(())
    }

    fn check(&self, saved: &TransportState) -> Result<Vec<Queue>, StateError> {
        let refuse = |reason: String| Err(StateError::new("virtio device", reason));
        if saved.device_id != self.device.device_id() || saved.queues.len() != self.queues.len() {
            return refuse(format!(
                "it is of device {} with {} queues, here is device {} with {}",
                saved.device_id,
                saved.queues.len(),
                self.device.device_id(),
                self.queues.len()
            ));
        }
        let agreed = saved.status & status::FEATURES_OK != 0;
        if saved.status & !(status::DRIVERS | status::NEEDS_RESET) != 0
            || saved.isr & !isr::ALL != 0
            || saved.status & status::DRIVER_OK != 0 && !agreed
        {
            return refuse(format!(
                "status {:#x} with interrupt reasons {:#x} is not possible",
                saved.status, saved.isr
            ));
        }
        let vectors = self.signals.vectors();
        let assigned = saved.queue_vectors.iter().chain([&saved.config_vector]);
        if saved.queue_vectors.len() != self.queues.len()
            || assigned
                .into_iter()
                .any(|&vector| vector != NO_VECTOR && vector >= vectors)
        {
            return refuse(format!(
                "its MSI-X vectors are not among the {vectors} here"
            ));
        }
        if agreed && !self.acceptable(saved.driver_features) {
            return refuse(format!(
                "its driver uses features {:#x}, here are {:#x}",
                saved.driver_features,
                self.offered()
            ));
        }
        let event_index = agreed && saved.driver_features & EVENT_INDEX != 0;
        let restored = (0..).zip(&self.queues).zip(&saved.queues);
        restored
            .map(|((index, queue), saved): ((usize, _), _)| {
                queue.restored(saved, event_index).ok_or_else(|| {
                    StateError::new("virtio device", format!("queue {index} is not valid"))
                })
            })
            .collect()
    }
}

fn word(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}
