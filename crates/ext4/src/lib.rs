//! Writes ext4 file systems into image files, entry by entry, without mounting anything.
//!
//! What comes out is what `mke2fs -t ext4` makes and a kernel then fills: 64-bit block numbers, extents,
//! metadata checksums and a journal. The image file stays sparse: blocks that nothing was written to take
//! no space on the host. Section numbers in this crate are those of the kernel's
//! `Documentation/filesystems/ext4`, named by their titles.
//!
//! The content of files goes to the image at once; the tree is kept in memory until [`Builder::finish`],
//! so entries may be replaced, linked to and removed at any time before.
//!
//! ```
//! # fn main() -> Result<(), clade_ext4::Error> {
//! use clade_ext4::{Builder, Metadata, Options};
//! let file = tempfile::tempfile().unwrap();
//! let mut image = Builder::new(file, &Options { size: 64 << 20, ..Options::default() })?;
//! image.folder("etc", &Metadata::folder())?;
//! image.file("etc/hostname", &Metadata::file(), &b"clade\n"[..])?;
//! image.symlink("etc/alias", &Metadata::default(), "hostname")?;
//! image.finish()?;
//! # Ok(())
//! # }
//! ```

mod blocks;
mod builder;
mod checksum;
mod directory;
mod error;
mod extent;
mod fields;
mod geometry;
mod inode;
mod journal;
mod superblock;
mod tree;
mod xattr;

pub use builder::{Builder, Options};
pub use error::Error;
pub use tree::{Kind, Metadata, Special};
