//! Virtio over memory-mapped I/O (section 4.2).

use std::sync::Arc;

use clade_engine::{GuestRam, IoDevice, IrqLine};
use virtio_queue::QueueT;

use super::transport::Transport;
use super::{TransportState, VirtioDevice};
use crate::StateError;
use crate::little_endian::{put, value_of};

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;
const VENDOR: u32 = u32::from_le_bytes(*b"CLDE");

/// Offset of the device's configuration structure.
const CONFIG: u64 = 0x100;

/// Register offsets (section 4.2.2).
mod register {
    pub(super) const MAGIC: u64 = 0x00;
    pub(super) const VERSION: u64 = 0x04;
    pub(super) const DEVICE_ID: u64 = 0x08;
    pub(super) const VENDOR_ID: u64 = 0x0c;
    pub(super) const DEVICE_FEATURES: u64 = 0x10;
    pub(super) const DEVICE_FEATURES_SELECT: u64 = 0x14;
    pub(super) const DRIVER_FEATURES: u64 = 0x20;
    pub(super) const DRIVER_FEATURES_SELECT: u64 = 0x24;
    pub(super) const QUEUE_SELECT: u64 = 0x30;
    pub(super) const QUEUE_SIZE_MAX: u64 = 0x34;
    pub(super) const QUEUE_SIZE: u64 = 0x38;
    pub(super) const QUEUE_READY: u64 = 0x44;
    pub(super) const QUEUE_NOTIFY: u64 = 0x50;
    pub(super) const INTERRUPT_STATUS: u64 = 0x60;
    pub(super) const INTERRUPT_ACK: u64 = 0x64;
    pub(super) const STATUS: u64 = 0x70;
    pub(super) const DESCRIPTORS_LOW: u64 = 0x80;
    pub(super) const DESCRIPTORS_HIGH: u64 = 0x84;
    pub(super) const DRIVER_LOW: u64 = 0x90;
    pub(super) const DRIVER_HIGH: u64 = 0x94;
    pub(super) const DEVICE_LOW: u64 = 0xa0;
    pub(super) const DEVICE_HIGH: u64 = 0xa4;
    pub(super) const SHARED_LENGTH_LOW: u64 = 0xb0;
    pub(super) const SHARED_LENGTH_HIGH: u64 = 0xb4;
    pub(super) const CONFIG_GENERATION: u64 = 0xfc;
}

/// A slot for a virtio device in the address space.
pub struct VirtioMmio {
    /// None in an empty slot.
    transport: Option<Transport>,
}

impl VirtioMmio {
    /// Size of a slot's register range in bytes.
    pub const SIZE: u64 = 0x1000;

    /// A slot with `device` in it, which works on `ram`.
    ///
    /// # Panics
    /// When the device's queue sizes are not what [`VirtioDevice::queue_sizes`] allows: a mistake
    /// in the device's code.
    #[must_use]
    pub fn new(
        device: Arc<dyn VirtioDevice>,
        ram: &Arc<GuestRam>,
        irq: Arc<dyn IrqLine>,
    ) -> Arc<Self> {
        let transport = Transport::new(device, ram, irq, None).expect("valid queue sizes");
        Arc::new(VirtioMmio {
            transport: Some(transport),
        })
    }

    /// An empty slot: it shows device ID 0, and the driver leaves it alone.
    #[must_use]
    pub fn empty() -> Arc<Self> {
        Arc::new(VirtioMmio { transport: None })
    }

    /// Everything about the transport that the guest can observe; none for an empty slot.
    #[must_use]
    pub fn save(&self) -> Option<TransportState> {
        self.transport.as_ref().map(Transport::save)
    }

    /// Continues from a saved state; the device's own is restored separately, before or after.
    ///
    /// # Errors
    /// When the slot is empty, the state is of another device, or no driver can have brought it
    /// about.
    pub fn restore(&self, saved: &TransportState) -> Result<(), StateError> {
        match &self.transport {
            Some(transport) => transport.restore(saved),
            None => Err(StateError::new("virtio slot", "the slot is empty")),
        }
    }
}

/// The registers; what is for writing only reads as 0.
fn read_register(transport: Option<&Transport>, offset: u64) -> u32 {
    match offset {
        register::MAGIC => return MAGIC,
        register::VERSION => return VERSION,
        register::VENDOR_ID => return VENDOR,
        _ => {}
    }
    let Some(transport) = transport else {
        return 0;
    };
    match offset {
        register::DEVICE_ID => transport.device.device_id().into(),
        register::DEVICE_FEATURES => transport.device_features(),
        register::QUEUE_SIZE_MAX => transport.queue().map_or(0, |queue| queue.max_size().into()),
        register::QUEUE_READY => transport
            .queue()
            .is_some_and(|queue| queue.enabled())
            .into(),
        register::INTERRUPT_STATUS => transport.signals.isr().into(),
        register::STATUS => transport.signals.status().into(),
        register::CONFIG_GENERATION => transport.device.config_generation().into(),
        // There are no shared memory regions (section 4.2.2).
        register::SHARED_LENGTH_LOW | register::SHARED_LENGTH_HIGH => u32::MAX,
        _ => 0,
    }
}

fn write_register(transport: &Transport, offset: u64, value: u32) {
    match offset {
        register::DEVICE_FEATURES_SELECT => transport.select_device_features(value),
        register::DRIVER_FEATURES => transport.accept_features(value),
        register::DRIVER_FEATURES_SELECT => transport.select_driver_features(value),
        // A queue beyond the 16 bits exists as little as the last of them.
        register::QUEUE_SELECT => transport.select_queue(u16::try_from(value).unwrap_or(u16::MAX)),
        register::QUEUE_READY => {
            if let Some(queue) = transport.queue() {
                match value {
                    0 => queue.disable(),
                    1 => queue.enable(),
                    _ => {}
                }
            }
        }
        register::QUEUE_NOTIFY => {
            if let Ok(queue) = u16::try_from(value) {
                transport.notify(queue);
            }
        }
        register::INTERRUPT_ACK => {
            transport.signals.acknowledge(value as u8);
        }
        register::STATUS => transport.write_status(value as u8),
        _ => transport.configure_queue(|queue| match offset {
            register::QUEUE_SIZE => {
                // What does not fit is no valid size, as 0 is none.
                queue.set_size(u16::try_from(value).unwrap_or(0));
            }
            register::DESCRIPTORS_LOW => queue.set_desc_table_address(Some(value), None),
            register::DESCRIPTORS_HIGH => queue.set_desc_table_address(None, Some(value)),
            register::DRIVER_LOW => queue.set_avail_ring_address(Some(value), None),
            register::DRIVER_HIGH => queue.set_avail_ring_address(None, Some(value)),
            register::DEVICE_LOW => queue.set_used_ring_address(Some(value), None),
            register::DEVICE_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }),
    }
}

impl IoDevice for VirtioMmio {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if offset >= CONFIG {
            if let Some(transport) = &self.transport {
                transport.device.config_read(offset - CONFIG, data);
            }
        } else if data.len() == 4 {
            // Section 4.2.2.2: control registers are accessed as aligned words only.
            put(data, read_register(self.transport.as_ref(), offset).into());
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let Some(transport) = &self.transport else {
            return;
        };
        if offset >= CONFIG {
            transport.device.config_write(offset - CONFIG, data);
        } else if data.len() == 4 {
            write_register(transport, offset, value_of(data) as u32);
        }
    }
}
