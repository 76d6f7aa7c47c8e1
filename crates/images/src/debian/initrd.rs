//! The initial RAM disk that mounts the system's disk.

use crate::Error;
use crate::initramfs::{Boot, BootParts};

/// The script that runs as PID 1.
const INIT: &str = include_str!("../../guest/debian/init");

/// Modules for the disk and what is on it, and for the sockets to the host, which systemd asks for
/// before it loads modules itself.
const MODULES: [&str; 4] = [
    "virtio_blk",
    "ext4",
    "crc32c_generic",
    "vmw_vsock_virtio_transport",
];

/// Changes with what is put into it besides packages.
pub(crate) fn recipe() -> String {
    format!("{} {INIT}", MODULES.join(" "))
}

/// The kernel, and the archive; `date`, in seconds since 1970, becomes its files' date.
pub(crate) fn assemble(parts: BootParts, date: u32) -> Result<Boot, Error> {
    parts.pack(date, INIT, &MODULES, |_| Ok(()))
}
