use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;

use super::ConsoleState;
use super::transmitter::Transmitter;
use crate::StateError;
use crate::little_endian::put_from;
use crate::sync::lock;
use crate::virtio::{Activation, Chain, DeviceState, VirtQueue, VirtioDevice};
use crate::{ConsoleHost, ConsolePort};

/// Feature bit: the configuration structure holds the terminal's size.
const FEATURE_SIZE: u64 = 1 << 0;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const QUEUE_SIZES: [u16; 2] = [256, 256];

/// How much a guest may print with one buffer, in bytes. Far above what drivers use (a page), and
/// a bound on how long one notification takes.
const MAX_PRINT: usize = 1 << 20;

/// The device.
pub struct VirtioConsole {
    host: Arc<dyn ConsoleHost>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    state: ConsoleState,
    active: Option<Activation>,
    transmitter: Transmitter,
}

impl VirtioConsole {
    /// A console whose terminal is `host`.
    #[must_use]
    pub fn new(host: Arc<dyn ConsoleHost>) -> Arc<Self> {
        Arc::new(VirtioConsole {
            host,
            inner: Mutex::default(),
        })
    }

    /// What the guest can observe of the device itself.
    #[must_use]
    pub fn save(&self) -> ConsoleState {
        lock(&self.inner).state
    }

    /// Continues from a saved state.
    pub fn restore(&self, saved: &ConsoleState) {
        lock(&self.inner).state = *saved;
    }

    /// Prints on the vCPU's own thread: Linux's driver spins until its buffer is used, so to change
    /// threads for each would cost more than it saves.
    fn transmit(&self) {
        if !lock(&self.inner).transmitter.begin() {
            return;
        }
        loop {
            if let Some(queue) = self.transmit_queue() {
                self.print_all(&queue);
            }
            if lock(&self.inner).transmitter.finish() {
                return;
            }
        }
    }

    fn print_all(&self, queue: &VirtQueue) {
        while let Some(chain) = queue.pop() {
            if self.print(&chain) {
                queue.push(&chain, 0);
            } else {
                self.fail();
            }
        }
    }

    fn transmit_queue(&self) -> Option<Arc<VirtQueue>> {
        let inner = lock(&self.inner);
        let active = inner.active.as_ref()?;
        active.queues.get(usize::from(TRANSMIT)).cloned()
    }

    /// Prints a buffer; returns false if it is not a possible one.
    fn print(&self, chain: &Chain) -> bool {
        let Ok(mut reader) = chain.reader() else {
            return false;
        };
        let mut piece = [0; 4096];
        let mut printed = 0;
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return true,
                Ok(length) => {
                    self.host.output(&piece[..length]);
                    printed += length;
                }
                Err(_) => return false,
            }
            if printed > MAX_PRINT {
                return false;
            }
        }
    }

    fn fail(&self) {
        if let Some(active) = &lock(&self.inner).active {
            active.signals.needs_reset();
        }
    }
}

impl VirtioDevice for VirtioConsole {
    fn device_id(&self) -> u16 {
        VIRTIO_ID_CONSOLE as u16
    }

    fn features(&self) -> u64 {
        FEATURE_SIZE
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_console_config` (section 5.3.4).
    fn config_read(&self, offset: u64, data: &mut [u8]) {
        let state = self.save();
        let mut config = [0; 12];
        config[0..2].copy_from_slice(&state.columns.to_le_bytes());
        config[2..4].copy_from_slice(&state.rows.to_le_bytes());
        config[4..8].copy_from_slice(&1u32.to_le_bytes());
        put_from(data, &config, offset);
    }

    fn config_generation(&self) -> u8 {
        lock(&self.inner).state.generation
    }

    fn activate(&self, activation: Activation) {
        lock(&self.inner).active = Some(activation);
    }

    fn notify(&self, queue: u16) {
        match queue {
            RECEIVE => self.host.input_room(),
            TRANSMIT => self.transmit(),
            _ => {}
        }
    }

    fn reset(&self) {
        lock(&self.inner).active = None;
    }

    fn save_state(&self) -> DeviceState {
        DeviceState::Console(self.save())
    }

    fn restore_state(&self, saved: &DeviceState) -> Result<(), StateError> {
        match saved {
            DeviceState::Console(saved) => {
                self.restore(saved);
                Ok(())
            }
            other => Err(other.mismatch("virtio console")),
        }
    }
}

impl ConsolePort for VirtioConsole {
    fn input(&self, bytes: &[u8]) -> usize {
        let inner = lock(&self.inner);
        let Some(active) = &inner.active else {
            return 0;
        };
        let queue = &active.queues[usize::from(RECEIVE)];
        let mut taken = 0;
        // A driver may offer buffers without room for ever; each is tried once.
        for _ in 0..queue.size() {
            if taken == bytes.len() {
                break;
            }
            let Some(chain) = queue.pop() else {
                break;
            };
            let written = chain
                .writer()
                .ok()
                .and_then(|mut writer| writer.write(&bytes[taken..]).ok());
            let Some(written) = written else {
                active.signals.needs_reset();
                break;
            };
            taken += written;
            queue.push(&chain, written as u32);
        }
        taken
    }

    fn resize(&self, columns: u16, rows: u16) {
        let mut inner = lock(&self.inner);
        if (inner.state.columns, inner.state.rows) == (columns, rows) {
            return;
        }
        inner.state = ConsoleState {
            columns,
            rows,
            generation: inner.state.generation.wrapping_add(1),
        };
        if let Some(active) = &inner.active {
            active.signals.config_changed();
        }
    }
}
