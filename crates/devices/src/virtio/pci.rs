//! Virtio over PCI (section 4.1).

use std::sync::{Arc, Mutex};

use clade_engine::GuestRam;
use virtio_queue::QueueT;

use super::signals::Subject;
use super::transport::Transport;
use super::{VirtioDevice, VirtioState};
use crate::StateError;
use crate::little_endian::{put, put_from, value_of};
use crate::pci::{BarKind, ConfigSpace, Doorbell, Identity, Msix, PciDevice, PciInterrupts};
use crate::sync::lock;

const VENDOR: u16 = 0x1af4;
/// A device's PCI ID is this plus its virtio ID (section 4.1.2.1).
const DEVICE_BASE: u16 = 0x1040;

/// The BAR of MSI-X.
const MSIX_BAR: u8 = 1;
/// The BAR of everything else, and the pages in it for each structure.
const BAR: u8 = 4;
const PAGE: u64 = 0x1000;
const COMMON: u64 = 0x0000;
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;
const BAR_SIZE: u64 = 0x4000;

/// Distance of two queues' notification addresses in bytes.
const NOTIFY_MULTIPLIER: u32 = 4;

const CAPABILITY_VENDOR: u8 = 0x09;

/// Types of virtio capabilities (section 4.1.4).
mod capability {
    pub(super) const COMMON: u8 = 1;
    pub(super) const NOTIFY: u8 = 2;
    pub(super) const ISR: u8 = 3;
    pub(super) const DEVICE: u8 = 4;
    pub(super) const PCI: u8 = 5;
}

/// Offsets in `struct virtio_pci_cap`.
const CAP_BAR: usize = 4;
const CAP_OFFSET: usize = 8;
const CAP_LENGTH: usize = 12;
const CAP_DATA: usize = 16;

/// A virtio device as a PCI function.
pub struct VirtioPci {
    transport: Transport,
    msix: Arc<Msix>,
    config: ConfigSpace,
    /// Where the capability for access through configuration space is (section 4.1.4.9).
    window: usize,
}

impl VirtioPci {
    /// Makes `device` a PCI function that works on `ram` and interrupts by `interrupts`: with a vector for
    /// each queue and one for changes of configuration, as far as there is room.
    ///
    /// # Panics
    /// When the device's queue sizes are not what [`VirtioDevice::queue_sizes`] allows, or there
    /// are more than 1024: a mistake in the device's code.
    #[must_use]
    pub fn new(
        device: Arc<dyn VirtioDevice>,
        ram: &Arc<GuestRam>,
        interrupts: PciInterrupts,
    ) -> Arc<Self> {
        let vectors = device.queue_sizes().len() as u16 + 1;
        let msix = Msix::new(interrupts.messages, MSIX_BAR, vectors);
        let transport = Transport::new(device, ram, interrupts.pin, Some(msix.clone()))
            .expect("valid queue sizes");
        let id = transport.device.device_id();
        let config = ConfigSpace::new(Identity {
            vendor: VENDOR,
            device: DEVICE_BASE + id,
            revision: 1,
            class: class_of(id),
            subsystem_vendor: VENDOR,
            subsystem: DEVICE_BASE + id,
        })
        .with_bar(BAR, BarKind::Memory64Prefetchable, BAR_SIZE)
        .with_interrupt_pin();
        let mut config = msix
            .describe(config)
            .expect("the first capability fits into configuration space");
        let window = add_capabilities(&mut config, transport.queue_count())
            .expect("five capabilities fit behind it");
        Arc::new(VirtioPci {
            transport,
            msix,
            config,
            window,
        })
    }

    /// Everything that the guest can observe, but for configuration space, which the PCI host
    /// keeps.
    #[must_use]
    pub fn save(&self) -> VirtioState {
        // The device first: what it finishes on this occasion, the transport knows of.
        let device = self.transport.device.save_state();
        VirtioState {
            transport: self.transport.save(),
            device,
        }
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// When the state is of another device, or no driver can have brought it about.
    pub fn restore(&self, saved: &VirtioState) -> Result<(), StateError> {
        // The transport first: it resets the device.
        self.transport.restore(&saved.transport)?;
        self.transport.device.restore_state(&saved.device)
    }

    /// The common configuration structure as the driver reads it (section 4.1.4.3).
    fn common(&self) -> [u8; 64] {
        let transport = &self.transport;
        let queue = transport.queue();
        let state = queue.map(|queue| queue.save());
        let mut bytes = [0; 64];
        let mut set = |offset: usize, value: &[u8]| {
            bytes[offset..offset + value.len()].copy_from_slice(value);
        };
        set(0x00, &transport.device_feature_select().to_le_bytes());
        set(0x04, &transport.device_features().to_le_bytes());
        set(0x08, &transport.driver_feature_select().to_le_bytes());
        set(0x0c, &transport.driver_features().to_le_bytes());
        let vector = transport.signals.vector(Subject::Configuration);
        set(0x10, &vector.to_le_bytes());
        set(0x12, &transport.queue_count().to_le_bytes());
        set(0x14, &[transport.signals.status()]);
        set(0x15, &[transport.device.config_generation()]);
        set(0x16, &transport.queue_select().to_le_bytes());
        // A queue that the device does not have reads as size 0.
        if let Some(state) = state {
            set(0x18, &state.size.to_le_bytes());
            let vector = transport.signals.vector(transport.selected());
            set(0x1a, &vector.to_le_bytes());
            set(0x1c, &u16::from(state.enabled).to_le_bytes());
            set(0x1e, &transport.queue_select().to_le_bytes());
            set(0x20, &state.descriptors.to_le_bytes());
            set(0x28, &state.available.to_le_bytes());
            set(0x30, &state.used.to_le_bytes());
        }
        bytes
    }

    /// Writes one field of the common configuration structure. Fields are written whole, those of
    /// 64 bits as two halves (section 4.1.3.1).
    fn write_common(&self, offset: u64, data: &[u8]) {
        let transport = &self.transport;
        let value = value_of(data) as u32;
        match (offset, data.len()) {
            (0x00, 4) => transport.select_device_features(value),
            (0x08, 4) => transport.select_driver_features(value),
            (0x0c, 4) => transport.accept_features(value),
            (0x10, 2) => {
                let signals = &transport.signals;
                signals.set_vector(Subject::Configuration, value as u16);
            }
            (0x14, 1) => transport.write_status(value as u8),
            (0x16, 2) => transport.select_queue(value as u16),
            (0x18, 2) => transport.configure_queue(|queue| queue.set_size(value as u16)),
            (0x1a, 2) => {
                let signals = &transport.signals;
                signals.set_vector(transport.selected(), value as u16);
            }
            (0x1c, 2) if value == 1 => {
                if let Some(queue) = transport.queue() {
                    queue.enable();
                }
            }
            (0x20..0x38, 4) => {
                let (low, high) = if offset & 4 == 0 {
                    (Some(value), None)
                } else {
                    (None, Some(value))
                };
                transport.configure_queue(|queue| match offset & !7 {
                    0x20 => queue.set_desc_table_address(low, high),
                    0x28 => queue.set_avail_ring_address(low, high),
                    0x30 => queue.set_used_ring_address(low, high),
                    _ => {}
                });
            }
            (0x20..0x38, 8) => {
                self.write_common(offset, &data[..4]);
                self.write_common(offset + 4, &data[4..]);
            }
            _ => {}
        }
    }

    /// Whether an access to configuration space touches the window's data field.
    fn touches_window(&self, offset: usize, length: usize) -> bool {
        let data = self.window + CAP_DATA;
        offset < data + 4 && data < offset + length
    }

    /// The access to the BAR that the guest has set the window up for: offset and length.
    fn window_target(&self, config: &Mutex<ConfigSpace>) -> Option<(u64, usize)> {
        let mut capability = [0; CAP_DATA];
        lock(config).read(self.window, &mut capability);
        let field = |at: usize| value_of(&capability[at..at + 4]);
        let (offset, length) = (field(CAP_OFFSET), field(CAP_LENGTH));
        let valid = capability[CAP_BAR] == BAR
            && matches!(length, 1 | 2 | 4)
            && offset.is_multiple_of(length)
            && offset < BAR_SIZE;
        valid.then_some((offset, length as usize))
    }
}

/// Describes where in the BAR each structure is; returns the place of the last capability.
fn add_capabilities(config: &mut ConfigSpace, queues: u16) -> Option<usize> {
    let notify_length = u64::from(queues) * u64::from(NOTIFY_MULTIPLIER);
    if notify_length > PAGE {
        return None;
    }
    let structures = [
        (capability::COMMON, COMMON, PAGE),
        (capability::ISR, ISR, PAGE),
        (capability::DEVICE, DEVICE, PAGE),
    ];
    for (kind, offset, length) in structures {
        config.add_capability(
            CAPABILITY_VENDOR,
            &capability_body(kind, BAR, offset, length, &[]),
            &[],
        )?;
    }
    let multiplier = NOTIFY_MULTIPLIER.to_le_bytes();
    config.add_capability(
        CAPABILITY_VENDOR,
        &capability_body(capability::NOTIFY, BAR, NOTIFY, PAGE, &multiplier),
        &[],
    )?;
    let all = [0xff; 4];
    let mut writable = capability_body(0, 0xff, u32::MAX.into(), u32::MAX.into(), &all);
    writable[0] = 0;
    config.add_capability(
        CAPABILITY_VENDOR,
        &capability_body(capability::PCI, 0, 0, 0, &[0; 4]),
        &writable,
    )
}

/// `struct virtio_pci_cap` after its first two bytes, with `tail` behind it.
fn capability_body(kind: u8, bar: u8, offset: u64, length: u64, tail: &[u8]) -> Vec<u8> {
    let size = (CAP_DATA + tail.len()) as u8;
    let mut body = vec![size, kind, bar, 0, 0, 0];
    body.extend((offset as u32).to_le_bytes());
    body.extend((length as u32).to_le_bytes());
    body.extend(tail);
    body
}

/// PCI class code of a kind of virtio device, as other monitors give it.
fn class_of(device_id: u16) -> u32 {
    match device_id {
        1 => 0x02_00_00,
        2 | 8 => 0x01_00_00,
        3 => 0x07_80_00,
        18 => 0x09_80_00,
        _ => 0x00_ff_00,
    }
}

impl PciDevice for VirtioPci {
    fn config_space(&self) -> ConfigSpace {
        self.config.clone()
    }

    fn msix(&self) -> Option<&Msix> {
        Some(&self.msix)
    }

    fn doorbells(&self) -> Vec<Doorbell> {
        let Some(waker) = self.transport.device.waker() else {
            return Vec::new();
        };
        let queues = 0..u64::from(self.transport.queue_count());
        queues
            .map(|queue| Doorbell {
                bar: BAR,
                offset: NOTIFY + queue * u64::from(NOTIFY_MULTIPLIER),
                waker: waker.clone(),
            })
            .collect()
    }

    fn bar_read(&self, _bar: u8, offset: u64, data: &mut [u8]) {
        let within = offset % PAGE;
        match offset - within {
            COMMON => put_from(data, &self.common(), within),
            // Reading withdraws the interrupt (section 4.1.4.5).
            ISR if within == 0 => {
                let reasons = self.transport.signals.acknowledge(super::signals::isr::ALL);
                put(data, reasons.into());
            }
            DEVICE => self.transport.device.config_read(within, data),
            _ => data.fill(0),
        }
    }

    fn bar_write(&self, _bar: u8, offset: u64, data: &[u8]) {
        let within = offset % PAGE;
        match offset - within {
            COMMON => self.write_common(within, data),
            DEVICE => self.transport.device.config_write(within, data),
            NOTIFY => {
                let queue = within / u64::from(NOTIFY_MULTIPLIER);
                self.transport.notify(queue as u16);
            }
            _ => {}
        }
    }

    fn config_read(&self, config: &Mutex<ConfigSpace>, offset: usize, data: &mut [u8]) {
        if self.touches_window(offset, data.len())
            && let Some((target, length)) = self.window_target(config)
        {
            let mut value = [0; 4];
            self.bar_read(BAR, target, &mut value[..length]);
            lock(config).write(self.window + CAP_DATA, &value);
        }
        lock(config).read(offset, data);
    }

    fn config_write(&self, config: &Mutex<ConfigSpace>, offset: usize, data: &[u8]) {
        lock(config).write(offset, data);
        if self.touches_window(offset, data.len())
            && let Some((target, length)) = self.window_target(config)
        {
            let mut value = [0; 4];
            lock(config).read(self.window + CAP_DATA, &mut value);
            self.bar_write(BAR, target, &value[..length]);
        }
    }
}
