use serde::{Deserialize, Serialize};

use super::balloon::BalloonState;
use super::block::BlockState;
use super::console::ConsoleState;
use super::fs::FsState;
use super::input::InputState;
use super::net::NetState;
use super::serial::SerialState;
use super::vsock::VsockState;
use crate::StateError;

/// What the guest can observe of a device itself, whichever kind it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// A device that is all in its transport.
    Stateless,
    /// A balloon.
    Balloon(BalloonState),
    /// A disk.
    Block(BlockState),
    /// A console.
    Console(ConsoleState),
    /// A shared folder.
    Fs(FsState),
    /// A power button.
    Input(InputState),
    /// A network card.
    Net(NetState),
    /// Serial ports.
    Serial(SerialState),
    /// A socket device.
    Vsock(VsockState),
}

impl DeviceState {
    /// The refusal of a device that is of another kind than this state.
    pub(super) fn mismatch(&self, device: &'static str) -> StateError {
        StateError::new(device, format!("it is of another device ({self:?})"))
    }
}

/// All of a virtio device that a guest can observe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioState {
    /// What the transport keeps.
    pub transport: TransportState,
    /// What the device keeps.
    pub device: DeviceState,
}

/// Everything about a virtio transport that a guest can observe, but for what the device keeps
/// itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState {
    /// The device's ID (section 5).
    pub device_id: u16,
    /// Device status (section 2.1).
    pub status: u8,
    /// Reasons for an interrupt that the driver has not acknowledged.
    pub isr: u8,
    /// The MSI-X vector that tells of changes of configuration, or 0xffff.
    pub config_vector: u16,
    /// The MSI-X vectors that tell of used buffers, by queue, or 0xffff.
    pub queue_vectors: Vec<u16>,
    /// Which 32 feature bits of the device the driver looks at.
    pub device_feature_select: u32,
    /// Which 32 feature bits of its own the driver looks at.
    pub driver_feature_select: u32,
    /// The feature bits that the driver accepted.
    pub driver_features: u64,
    /// Which queue the driver looks at.
    pub queue_select: u16,
    /// The queues, by index.
    pub queues: Vec<QueueState>,
}

/// One virtqueue's registers and the device's place in its rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// Number of descriptors, a power of two.
    pub size: u16,
    /// The driver has enabled the queue.
    pub enabled: bool,
    /// Guest physical address of the descriptor area, a multiple of 16.
    pub descriptors: u64,
    /// Guest physical address of the driver area (available ring), a multiple of 2.
    pub available: u64,
    /// Guest physical address of the device area (used ring), a multiple of 4.
    pub used: u64,
    /// The available-ring index that the device takes next.
    pub next_available: u16,
    /// The used-ring index that the device fills next.
    pub next_used: u16,
}
