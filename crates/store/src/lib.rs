//! What Clade keeps on disk: folders, locks, checksums and writes that survive a crash.
//!
//! Nothing here knows what machines are. The rules are the same for images, snapshots and machines:
//! a file appears under its name whole and synced or not at all ([`Staged`]), one process at a time
//! changes a thing ([`Lock`]), and what is read back is checked against its checksum: of what others
//! made ([`Sha256`]), of files that never change ([`digest`]), of documents of ours ([`sealed`]) and of
//! the index of a machine's memory ([`memory`]). All come together in [`snapshots`].

mod checksum;
mod content;
pub mod digest;
mod error;
mod file_name;
mod folders;
mod link;
mod lock;
pub mod memory;
pub mod sealed;
pub mod snapshots;
mod staged;

pub use checksum::{ParseSha256Error, Sha256, Sha256Writer};
pub use content::ContentError;
pub use error::Error;
pub use file_name::{BadFileName, FileName};
pub use folders::{Folders, free_space, private_folder};
pub use link::link_or_copy;
pub use lock::Lock;
pub use staged::{Staged, clear_staged, create_folder, rename, sync_folder, write};
