use std::io::Write;

use super::message::News;
use super::{PortState, SerialHost};
use crate::virtio::{BadChain, VirtQueue};

/// A serial port: what the guest knows of it, and its end on the host.
pub(super) struct Port {
    pub(super) state: PortState,
    host: Box<dyn SerialHost>,
}

impl Port {
    pub(super) fn new(name: String, host: Box<dyn SerialHost>) -> Self {
        let state = PortState {
            name,
            ..PortState::default()
        };
        Self { state, host }
    }

    /// The driver has gone.
    pub(super) fn reset(&mut self) {
        self.state = PortState {
            name: std::mem::take(&mut self.state.name),
            ..PortState::default()
        };
    }

    /// The driver has set the port up, or could not. It takes it for one that is closed on both sides.
    pub(super) fn driver_ready(&mut self, success: bool) {
        self.state.ready = success;
        self.state.unnamed = success;
        self.state.guest_open = false;
        self.state.host_open = false;
    }

    /// Lets the next client in when the driver knows that the last one has gone: it hears of every
    /// hang-up.
    pub(super) fn welcome(&mut self) {
        if !self.state.host_open && !self.host.connected() {
            self.host.accept();
        }
    }

    /// What the driver has to be told next.
    pub(super) fn news(&mut self) -> Option<News> {
        if self.state.unannounced {
            return Some(News::Add);
        }
        if self.state.unnamed {
            return Some(News::Name);
        }
        let open = self.host.connected();
        (self.state.ready && open != self.state.host_open).then_some(News::Open(open))
    }

    /// The driver was told.
    pub(super) fn told(&mut self, news: News) {
        match news {
            News::Add => self.state.unannounced = false,
            News::Name => self.state.unnamed = false,
            News::Open(open) => self.state.host_open = open,
        }
    }

    /// Fills one buffer with what the host sends. Returns whether there was one, and something to
    /// put into it. Before a program in the guest has opened the port, Linux would throw it away.
    pub(super) fn receive(
        &mut self,
        queue: &VirtQueue,
        scratch: &mut [u8],
    ) -> Result<bool, BadChain> {
        if !(self.state.host_open && self.state.guest_open) {
            return Ok(false);
        }
        let Some(chain) = queue.pop() else {
            return Ok(false);
        };
        let room = chain.writable()?.min(scratch.len());
        if room == 0 {
            queue.push(&chain, 0);
            return Ok(true);
        }
        let count = self.host.read(&mut scratch[..room]);
        if count == 0 {
            queue.unpop(&chain);
            return Ok(false);
        }
        let mut writer = chain.writer()?;
        writer.write_all(&scratch[..count]).map_err(|_| BadChain)?;
        queue.push(&chain, count as u32);
        Ok(true)
    }

    /// Hands one buffer of the guest's to the host, or a part of it. It stays the driver's next one
    /// until all of it is taken. Returns whether anything could be done.
    pub(super) fn transmit(
        &mut self,
        queue: &VirtQueue,
        scratch: &mut [u8],
    ) -> Result<bool, BadChain> {
        let Some(chain) = queue.pop() else {
            return Ok(false);
        };
        let (mut buffer, _) = chain.buffers()?;
        let rest = buffer.split_off(self.state.taken);
        let length = rest.copy_to(scratch);
        let taken = self.host.write(&scratch[..length]);
        if taken as u64 == rest.len() {
            queue.push(&chain, 0);
            self.state.taken = 0;
            return Ok(true);
        }
        queue.unpop(&chain);
        self.state.taken += taken as u64;
        Ok(taken > 0)
    }
}
