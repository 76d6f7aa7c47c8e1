//! `struct virtio_console_control` (section 5.3.6.2).

use std::io::Read;

use crate::virtio::{BadChain, Chain};

/// Without a name.
const SIZE: usize = 8;

/// What control messages say.
mod event {
    pub(super) const DEVICE_READY: u16 = 0;
    pub(super) const DEVICE_ADD: u16 = 1;
    pub(super) const PORT_READY: u16 = 3;
    pub(super) const PORT_OPEN: u16 = 6;
    pub(super) const PORT_NAME: u16 = 7;
}

/// What the driver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It wants to know the ports.
    DeviceReady,
    /// It has set up a port, or could not.
    PortReady { port: u32, success: bool },
    /// A program has opened or closed a port.
    PortOpen { port: u32, open: bool },
}

impl Heard {
    /// Reads a message; none for what has no meaning. Bytes beyond it are ignored.
    pub(super) fn read(chain: &Chain) -> Result<Option<Self>, BadChain> {
        let mut bytes = [0; SIZE];
        let complete = chain.reader()?.read_exact(&mut bytes).is_ok();
        Ok(complete.then(|| Self::of(bytes)).flatten())
    }

    fn of(bytes: [u8; SIZE]) -> Option<Self> {
        let [p0, p1, p2, p3, e0, e1, v0, v1] = bytes;
        let port = u32::from_le_bytes([p0, p1, p2, p3]);
        let value = u16::from_le_bytes([v0, v1]);
        match u16::from_le_bytes([e0, e1]) {
            event::DEVICE_READY if value == 1 => Some(Self::DeviceReady),
            event::PORT_READY => Some(Self::PortReady {
                port,
                success: value == 1,
            }),
            event::PORT_OPEN => Some(Self::PortOpen {
                port,
                open: value != 0,
            }),
            _ => None,
        }
    }
}

/// What the driver is to be told of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It exists.
    Add,
    /// Its name.
    Name,
    /// Somebody on the host has it open, or nobody any more.
    Open(bool),
}

impl News {
    /// The message about port `port`, which is called `name`.
    pub(super) fn bytes(self, port: u32, name: &str) -> Vec<u8> {
        let (event, value, tail) = match self {
            Self::Add => (event::DEVICE_ADD, 1, ""),
            Self::Name => (event::PORT_NAME, 1, name),
            Self::Open(open) => (event::PORT_OPEN, u16::from(open), ""),
        };
        let mut bytes = Vec::with_capacity(SIZE + tail.len());
        bytes.extend(port.to_le_bytes());
        bytes.extend(event.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes.extend(tail.as_bytes());
        bytes
    }
}
