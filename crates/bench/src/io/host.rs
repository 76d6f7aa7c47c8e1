//! The host's side of what is measured: a disk, a folder, a server.

use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::guest::Devices;

/// Size of the disk, in bytes.
const DISK: u64 = 512 << 20;

/// New for every guest, gone with it.
pub(super) struct Host {
    /// Goes with this.
    _folder: TempDir,
    disk: PathBuf,
    share: PathBuf,
    server: Option<Server>,
}

/// iperf3, which takes one client after the other.
struct Server {
    child: Child,
    port: u16,
}

impl Host {
    pub(super) fn new() -> Result<Self, String> {
        let make = || -> io::Result<Self> {
            let folder = tempfile::tempdir()?;
            let disk = folder.path().join("disk");
            let share = folder.path().join("share");
            make_disk(&disk)?;
            fs::create_dir(&share)?;
            let server = start_server()
                .inspect_err(|error| eprintln!("SKIPPED: network: iperf3 cannot be run: {error}"))
                .ok();
            Ok(Self {
                _folder: folder,
                disk,
                share,
                server,
            })
        };
        make().map_err(|error| format!("the host's side cannot be made: {error}"))
    }

    /// What the guest gets of it; a folder only if there are rows about that.
    pub(super) fn devices(&self, share: bool) -> Devices<'_> {
        Devices {
            disk: Some(&self.disk),
            network: true,
            share: share.then_some(&*self.share),
        }
    }

    /// Where the guest finds the server, if there is one.
    pub(super) fn port(&self) -> Option<u16> {
        self.server.as_ref().map(|server| server.port)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.child.kill();
            let _ = server.child.wait();
        }
    }
}

/// All blocks are there, so that nobody is measured at allocating them.
fn make_disk(path: &Path) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    let chunk: Vec<u8> = (0..1u32 << 20).map(|byte| (byte >> 7) as u8).collect();
    for _ in 0..DISK / chunk.len() as u64 {
        file.write_all(&chunk)?;
    }
    file.sync_all()
}

fn start_server() -> io::Result<Server> {
    // Somebody may take the port before the server does; then the rows about the network fail.
    let port = free_port()?;
    let child = Command::new("iperf3")
        .args(["--server", "--bind", "127.0.0.1"])
        .args(["--port", &port.to_string()])
        .stdout(Stdio::null())
        .spawn()?;
    thread::sleep(Duration::from_millis(300));
    Ok(Server { child, port })
}

/// A port of this host that nobody listens at.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
