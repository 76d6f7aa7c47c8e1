//! The server of a shared folder, for QEMU's guest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Where distributions put it.
const PROGRAMS: [&str; 3] = [
    "/usr/libexec/virtiofsd",
    "/usr/lib/qemu/virtiofsd",
    "/usr/lib/virtiofsd",
];

/// Until it listens.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running virtiofsd; dropped, it ends.
pub(crate) struct Virtiofsd {
    child: Child,
    socket: PathBuf,
    /// Where the socket is.
    _folder: TempDir,
}

impl Virtiofsd {
    /// Starts one for `folder`, with its own defaults for caching.
    ///
    /// # Errors
    /// There is none on this host, or it ends at once, as it may where this user is not root.
    pub(crate) fn start(folder: &Path) -> io::Result<Self> {
        let program = PROGRAMS.iter().find(|path| Path::new(path).exists());
        let program = program.ok_or_else(|| io::Error::other("it is not installed"))?;
        let own = tempfile::tempdir()?;
        let socket = own.path().join("socket");
        let child = Command::new(program)
            .arg(format!("--socket-path={}", socket.display()))
            .arg("-o")
            .arg(format!("source={}", folder.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut server = Self {
            child,
            socket,
            _folder: own,
        };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.socket.exists() {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it ended at once: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Where QEMU finds it.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Itself, and its child that is confined and does the work.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        std::iter::once(pid).chain(children).collect()
    }
}

impl Drop for Virtiofsd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
