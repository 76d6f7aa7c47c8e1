//! The console's output on disk, bounded.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Size of each of the two log files in bytes.
const LOG_LIMIT: u64 = 16 << 20;

/// Name of the file in a machine's folder that holds the latest console output.
pub const LOG_FILE: &str = "console.log";

/// Name of the file that holds what came before [`LOG_FILE`].
pub const OLD_LOG_FILE: &str = "console.log.1";

/// Writes two files in turn, each of at most 16 MiB, so that the last 16 MiB of output at least
/// are always there.
///
/// Both stay open from the start: the machine's process may open nothing later.
#[derive(Debug)]
pub struct ConsoleLog {
    folder: PathBuf,
    current: File,
    old: File,
    written: u64,
    limit: u64,
}

impl ConsoleLog {
    /// Goes on with the two files in `folder`, made if missing.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Self::with_limit(folder, LOG_LIMIT)
    }

    fn with_limit(folder: &Path, limit: u64) -> io::Result<Self> {
        let open = |name| {
            let mut options = File::options();
            options.create(true).append(true).open(folder.join(name))
        };
        let current = open(LOG_FILE)?;
        Ok(Self {
            folder: folder.to_owned(),
            written: current.metadata()?.len(),
            current,
            old: open(OLD_LOG_FILE)?,
            limit,
        })
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.written + bytes.len() as u64 > self.limit && self.written > 0 {
            self.rotate()?;
        }
        self.current.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.old.set_len(0)?;
        let path = |name| self.folder.join(name);
        let aside = path("console.log.2");
        fs::rename(path(LOG_FILE), &aside)?;
        fs::rename(path(OLD_LOG_FILE), path(LOG_FILE))?;
        fs::rename(aside, path(OLD_LOG_FILE))?;
        std::mem::swap(&mut self.current, &mut self.old);
        self.written = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_bytes_in_two_bounded_files() {
        let folder = tempfile::tempdir().expect("folder");
        let mut log = ConsoleLog::with_limit(folder.path(), 10).expect("log");
        let mut whole = Vec::new();
        for line in 0..9 {
            if line == 4 {
                // The machine starts again.
                log = ConsoleLog::with_limit(folder.path(), 10).expect("log");
            }
            let text = format!("<{line}>\n");
            log.append(text.as_bytes()).expect("append");
            whole.extend(text.into_bytes());
            let current = fs::read(folder.path().join(LOG_FILE)).expect("current");
            let old = fs::read(folder.path().join(OLD_LOG_FILE)).expect("old");
            assert!(current.len() <= 10 && old.len() <= 10);
            let kept = [old, current].concat();
            assert!(whole.ends_with(&kept), "line {line}");
            assert!(kept.len() >= whole.len().min(10), "line {line}");
        }
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 2);
    }
}
