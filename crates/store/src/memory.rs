//! Guest memory as it is kept: pages in immutable layers, and an index of where each page is.
//!
//! A *layer* is a file of pages, one behind the other: slot `n` is at byte `n * PAGE`. A
//! [`MemoryIndex`] names for every page that is not zero the layer and the slot, whatever the number of
//! snapshots before it. [`LayerWriter`] makes a layer of what a machine wrote since an earlier index.
//!
//! Pages are numbered by guest-physical address divided by [`PAGE`].

mod format;
mod index;
mod overlay;
mod page_map;
mod writer;

pub use index::{MAX_PAGES, MAX_RUNS, MemoryIndex, Run};
pub use writer::{Joining, LayerSummary, LayerWriter};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// The file name of a layer, which lies in the same folder as the index.
pub type LayerName = crate::FileName;

#[cfg(test)]
mod tests;
