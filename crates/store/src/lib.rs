//! What Clade keeps on disk: folders, locks, checksums and writes that survive a crash.
//!
//! Nothing here knows what is kept. The rules are the same for images, snapshots and machines:
//! a file appears under its name whole and synced or not at all ([`Staged`]), one process at a time
//! changes a thing ([`Lock`]), and what is read back is checked against its checksum ([`Sha256`]).

mod checksum;
mod error;
mod folders;
mod lock;
mod staged;

pub use checksum::{ParseSha256Error, Sha256, Sha256Writer};
pub use error::Error;
pub use folders::{Folders, free_space, private_folder};
pub use lock::Lock;
pub use staged::{Staged, create_folder, rename, sync_folder, write};
