use std::io::Write;
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;

use super::message::Heard;
use super::port::Port;
use super::{SerialHost, SerialState};
use crate::StateError;
use crate::little_endian::put_from;
use crate::sync::lock;
use crate::virtio::{Activation, BadChain, DeviceState, VirtQueue, VirtioDevice, Waker};

/// As many ports a device has at most.
pub const PORTS_MAX: usize = 15;

/// Feature bit `VIRTIO_CONSOLE_F_MULTIPORT`: there are control queues, and more ports than one.
const FEATURE_MULTIPORT: u64 = 1 << 1;

/// The queues of section 5.3.2: port 0's two, which nobody uses here, then those for control, then
/// two for each port.
const CONTROL_RECEIVE: usize = 2;
const CONTROL_TRANSMIT: usize = 3;
const FIRST_PORT: usize = 4;
const FIRST_QUEUE_SIZES: [u16; FIRST_PORT] = [16, 16, 32, 32];
const PORT_QUEUE_SIZES: [u16; 2] = [128, 128];

/// How many buffers of a queue are moved before it is the next one's turn.
const BURST: usize = 16;

/// How many bursts there are in one call, so that it ends however busy both sides are.
const ROUNDS: usize = 16;

/// How many bytes are moved at a time.
const PIECE: usize = 1 << 16;

/// The device. Its work is done by [`VirtioSerial::process`]: no vCPU waits for the host.
pub struct VirtioSerial {
    queue_sizes: Vec<u16>,
    waker: Arc<dyn Waker>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// From port 1 on.
    ports: Vec<Port>,
    active: Option<Activation>,
    scratch: Vec<u8>,
}

impl VirtioSerial {
    /// A device with these ports, by name, of which the first [`PORTS_MAX`] count. `waker` gets
    /// [`VirtioSerial::process`] called.
    #[must_use]
    pub fn new(ports: Vec<(String, Box<dyn SerialHost>)>, waker: Arc<dyn Waker>) -> Arc<Self> {
        let ports: Vec<_> = ports
            .into_iter()
            .take(PORTS_MAX)
            .map(|(name, host)| Port::new(name, host))
            .collect();
        let mut queue_sizes = FIRST_QUEUE_SIZES.to_vec();
        queue_sizes.extend(ports.iter().flat_map(|_| PORT_QUEUE_SIZES));
        Arc::new(VirtioSerial {
            queue_sizes,
            waker,
            inner: Mutex::new(Inner {
                ports,
                active: None,
                scratch: vec![0; PIECE],
            }),
        })
    }

    /// Moves what can be moved between guest and host, without waiting for more. Called when the
    /// waker was woken, and when something happened at a host's end. Returns whether there is more
    /// to do right away.
    pub fn process(&self) -> bool {
        let mut inner = lock(&self.inner);
        let Some(active) = inner.active.clone() else {
            return false;
        };
        // Without it there is no port but port 0.
        if active.features & FEATURE_MULTIPORT == 0 {
            return false;
        }
        for _ in 0..ROUNDS {
            match inner.round(&active.queues) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(BadChain) => {
                    active.signals.needs_reset();
                    return false;
                }
            }
        }
        true
    }

    /// What the guest can observe of the device itself.
    #[must_use]
    pub fn save(&self) -> SerialState {
        let inner = lock(&self.inner);
        SerialState {
            ports: inner.ports.iter().map(|port| port.state.clone()).collect(),
        }
    }

    /// Continues from a saved state; the guest is told of who is no longer connected. Comes after
    /// the transport's own.
    ///
    /// # Errors
    /// When the state is of other ports.
    pub fn restore(&self, saved: &SerialState) -> Result<(), StateError> {
        let mut inner = lock(&self.inner);
        let here = inner.ports.iter().map(|port| &*port.state.name);
        let there = saved.ports.iter().map(|state| &*state.name);
        let (here, there): (Vec<_>, Vec<_>) = (here.collect(), there.collect());
        if here != there {
            let reason = format!(
                "it is of ports [{}], here are [{}]",
                there.join(", "),
                here.join(", ")
            );
            return Err(StateError::new("virtio serial ports", reason));
        }
        for (port, state) in inner.ports.iter_mut().zip(&saved.ports) {
            port.state = state.clone();
        }
        drop(inner);
        self.waker.wake();
        Ok(())
    }
}

impl Inner {
    /// Does some of what there is to do for each queue; returns whether there was anything.
    fn round(&mut self, queues: &[Arc<VirtQueue>]) -> Result<bool, BadChain> {
        let mut any = self.listen(&queues[CONTROL_TRANSMIT])?;
        self.ports.iter_mut().for_each(Port::welcome);
        any |= self.tell(&queues[CONTROL_RECEIVE])?;
        let pairs = queues[FIRST_PORT..].chunks_exact(PORT_QUEUE_SIZES.len());
        for (port, pair) in self.ports.iter_mut().zip(pairs) {
            let [receive, transmit] = pair else { continue };
            any |= burst(|| port.receive(receive, &mut self.scratch))?;
            any |= burst(|| port.transmit(transmit, &mut self.scratch))?;
        }
        Ok(any)
    }

    /// Takes what the driver has to say.
    fn listen(&mut self, queue: &VirtQueue) -> Result<bool, BadChain> {
        burst(|| {
            let Some(chain) = queue.pop() else {
                return Ok(false);
            };
            if let Some(heard) = Heard::read(&chain)? {
                self.hear(heard);
            }
            queue.push(&chain, 0);
            Ok(true)
        })
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::DeviceReady => {
                for port in &mut self.ports {
                    port.state.unannounced = true;
                }
            }
            Heard::PortReady { port, success } => {
                if let Some(port) = self.port(port) {
                    port.driver_ready(success);
                }
            }
            Heard::PortOpen { port, open } => {
                if let Some(port) = self.port(port).filter(|port| port.state.ready) {
                    port.state.guest_open = open;
                }
            }
        }
    }

    fn port(&mut self, number: u32) -> Option<&mut Port> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.ports.get_mut(index)
    }

    /// Tells the driver what it is to know, as far as it has buffers for that.
    fn tell(&mut self, queue: &VirtQueue) -> Result<bool, BadChain> {
        let mut any = false;
        for (number, port) in (1..).zip(&mut self.ports) {
            while let Some(news) = port.news() {
                let Some(chain) = queue.pop() else {
                    return Ok(any);
                };
                let message = news.bytes(number, &port.state.name);
                let mut writer = chain.writer()?;
                writer.write_all(&message).map_err(|_| BadChain)?;
                queue.push(&chain, message.len() as u32);
                port.told(news);
                any = true;
            }
        }
        Ok(any)
    }
}

/// Calls `step` until there is nothing to do, but not too often; returns whether there was anything.
fn burst(mut step: impl FnMut() -> Result<bool, BadChain>) -> Result<bool, BadChain> {
    for count in 0..BURST {
        if !step()? {
            return Ok(count > 0);
        }
    }
    Ok(true)
}

impl VirtioDevice for VirtioSerial {
    fn device_id(&self) -> u16 {
        VIRTIO_ID_CONSOLE as u16
    }

    fn features(&self) -> u64 {
        FEATURE_MULTIPORT
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    /// `struct virtio_console_config` (section 5.3.4): of its fields only `max_nr_ports` counts.
    fn config_read(&self, offset: u64, data: &mut [u8]) {
        let ports = lock(&self.inner).ports.len() as u32 + 1;
        let mut config = [0; 12];
        config[4..8].copy_from_slice(&ports.to_le_bytes());
        put_from(data, &config, offset);
    }

    fn activate(&self, activation: Activation) {
        lock(&self.inner).active = Some(activation);
        self.waker.wake();
    }

    fn waker(&self) -> Option<&Arc<dyn Waker>> {
        Some(&self.waker)
    }

    /// Whoever is connected on the host stays so, as with a cable to a computer that restarts.
    fn reset(&self) {
        let mut inner = lock(&self.inner);
        inner.active = None;
        inner.ports.iter_mut().for_each(Port::reset);
    }

    fn save_state(&self) -> DeviceState {
        DeviceState::Serial(self.save())
    }

    fn restore_state(&self, saved: &DeviceState) -> Result<(), StateError> {
        match saved {
            DeviceState::Serial(saved) => self.restore(saved),
            other => Err(other.mismatch("serial ports")),
        }
    }
}
