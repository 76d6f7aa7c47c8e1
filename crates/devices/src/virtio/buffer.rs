//! Pieces of guest memory that a device hands on to its host's side.

use std::sync::Arc;

use clade_engine::GuestRam;
use vm_memory::bitmap::BS;
use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileMemory, VolatileSlice};

use super::BadChain;

/// Guest memory in pieces, all of it RAM, which it keeps alive. The guest may change the contents
/// at any time, and pieces may overlap.
#[derive(Clone)]
pub struct GuestBuffer {
    ram: Arc<GuestRam>,
    pieces: Vec<(GuestAddress, usize)>,
    length: u64,
}

/// A run of host memory that is guest memory too. Who writes by its pointer, rather than by its
/// methods, marks it dirty afterwards: [`GuestBuffer::mark_dirty`].
pub type GuestSlice<'a> = VolatileSlice<'a, BS<'a, vm_memory::bitmap::AtomicBitmap>>;

impl GuestBuffer {
    /// The buffer that consists of `pieces` of `ram`: addresses, and lengths in bytes.
    ///
    /// # Errors
    /// When a piece lies outside of guest memory.
    pub fn new(
        ram: Arc<GuestRam>,
        pieces: impl Iterator<Item = (GuestAddress, u32)>,
    ) -> Result<Self, BadChain> {
        let pieces: Vec<_> = pieces
            .map(|(address, length)| (address, length as usize))
            .filter(|(_, length)| *length != 0)
            .collect();
        let inside = |&(address, length): &(GuestAddress, usize)| {
            GuestMemoryBackend::check_range(&*ram, address, length)
        };
        if !pieces.iter().all(inside) {
            return Err(BadChain);
        }
        let length = pieces.iter().map(|&(_, length)| length as u64).sum();
        Ok(Self {
            ram,
            pieces,
            length,
        })
    }

    /// Length of all pieces in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is no byte in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes everything from byte `at` on out of this buffer and returns it; nothing when the
    /// buffer is no longer than that.
    #[must_use]
    pub fn split_off(&mut self, at: u64) -> Self {
        let mut tail = Self {
            ram: self.ram.clone(),
            pieces: Vec::new(),
            length: self.length.saturating_sub(at),
        };
        let mut before = 0;
        for index in 0..self.pieces.len() {
            let (address, length) = self.pieces[index];
            let within = at.saturating_sub(before);
            if within < length as u64 {
                let kept = within as usize;
                tail.pieces = self.pieces.split_off(index);
                tail.pieces[0] = (GuestAddress(address.0 + within), length - kept);
                if kept != 0 {
                    self.pieces.push((address, kept));
                }
                break;
            }
            before += length as u64;
        }
        self.length -= tail.length;
        tail
    }

    /// Where its bytes are in this process, in order.
    pub fn slices(&self) -> impl Iterator<Item = GuestSlice<'_>> {
        // All pieces were found to be RAM, and RAM does not shrink.
        self.pieces
            .iter()
            .flat_map(|&(address, length)| {
                GuestMemoryBackend::get_slices(&*self.ram, address, length)
            })
            .filter_map(Result::ok)
    }

    /// Notes that all of the buffer was written, so that dirty tracking sees it.
    pub fn mark_dirty(&self) {
        use vm_memory::bitmap::Bitmap;
        for slice in self.slices() {
            slice.bitmap().mark_dirty(0, slice.len());
        }
    }

    /// Copies the first `bytes.len()` bytes out of the buffer, or as many as there are; returns
    /// how many.
    pub fn copy_to(&self, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        for slice in self.slices() {
            done += slice.copy_to(&mut bytes[done..]);
        }
        done
    }

    /// Copies `bytes` to the buffer's beginning, as many as it has room for; returns how many.
    pub fn copy_from(&self, bytes: &[u8]) -> usize {
        let mut done = 0;
        for slice in self.slices() {
            let length = slice.len().min(bytes.len() - done);
            slice.copy_from(&bytes[done..done + length]);
            done += length;
        }
        done
    }

    /// Fills the buffer with zeroes.
    pub fn zero(&self) {
        const ZEROES: [u8; 4096] = [0; 4096];
        for slice in self.slices() {
            for offset in (0..slice.len()).step_by(ZEROES.len()) {
                let length = ZEROES.len().min(slice.len() - offset);
                if let Ok(part) = slice.get_slice(offset, length) {
                    part.copy_from(&ZEROES[..length]);
                }
            }
        }
    }
}
