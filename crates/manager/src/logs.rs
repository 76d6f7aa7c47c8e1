//! What a machine printed on its console.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clade_vmm::console::{LOG_FILE, OLD_LOG_FILE};

use crate::{Error, Machine};

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// After so many looks that found nothing, the machine is looked at, too: it may have ended.
const LOOKS: u32 = 5;

impl Machine {
    /// Writes what the machine printed on its console, as far as it is kept (the last 16 MiB at
    /// least), to `output`: the last `tail` lines of it, or all.
    ///
    /// # Errors
    /// When the log cannot be read, or the output not be written ([`LogError::Output`]).
    pub fn copy_log(&self, tail: Option<usize>, output: &mut impl Write) -> Result<(), LogError> {
        self.open_log(tail, output).map(drop)
    }

    /// [`Machine::copy_log`], and what it prints from now on, until it ends.
    ///
    /// # Errors
    /// As for [`Machine::copy_log`].
    pub fn follow_log(&self, tail: Option<usize>, output: &mut impl Write) -> Result<(), LogError> {
        let mut log = self.open_log(tail, output)?;
        let mut silent = 0;
        let mut ended = false;
        loop {
            if log.copy_new(output)? {
                silent = 0;
                continue;
            }
            if ended {
                return Ok(());
            }
            silent += 1;
            if silent % LOOKS == 0 {
                // Once more after the end: its last words may have come just now.
                ended = !self.refresh()?.is_some_and(|now| now.state.is_live());
            }
            thread::sleep(LOOK);
        }
    }

    fn open_log(&self, tail: Option<usize>, output: &mut impl Write) -> Result<Log, LogError> {
        let mut log = Log::open(self.folder())?;
        let mut bytes = log.read_old()?;
        log.read_new(&mut bytes)?;
        let from = tail.map_or(0, |lines| start_of_tail(&bytes, lines));
        write(output, &bytes[from..])?;
        Ok(log)
    }
}

/// Why a log could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It cannot be read.
    #[error(transparent)]
    Machine(#[from] Error),
    /// It cannot be written.
    #[error("the console's log cannot be written: {0}")]
    Output(io::Error),
}

/// A log that is being read.
struct Log {
    folder: PathBuf,
    /// The newest of the two files; none before there is one.
    file: Option<File>,
}

impl Log {
    fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self {
            folder: folder.to_owned(),
            file: open(&folder.join(LOG_FILE))?,
        })
    }

    fn read_old(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let path = self.folder.join(OLD_LOG_FILE);
        if let Some(mut old) = open(&path)? {
            old.read_to_end(&mut bytes).map_err(read_error(&path))?;
        }
        Ok(bytes)
    }

    /// Appends what has come since the last time.
    fn read_new(&mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let path = self.folder.join(LOG_FILE);
        if let Some(file) = &mut self.file {
            file.read_to_end(bytes).map_err(read_error(&path))?;
        }
        Ok(())
    }

    /// Writes what has come since the last time; returns whether there was any.
    fn copy_new(&mut self, output: &mut impl Write) -> Result<bool, LogError> {
        let mut bytes = Vec::new();
        self.read_new(&mut bytes)?;
        // The files change places when one is full: the rest of this one was read just now, unless
        // it was written between the two looks.
        let newest = open(&self.folder.join(LOG_FILE))?;
        if let Some(newest) = newest.filter(|newest| !same(Some(newest), self.file.as_ref())) {
            self.read_new(&mut bytes)?;
            self.file = Some(newest);
            self.read_new(&mut bytes)?;
        }
        write(output, &bytes)?;
        Ok(!bytes.is_empty())
    }
}

fn same(one: Option<&File>, other: Option<&File>) -> bool {
    let inode = |file: Option<&File>| file.and_then(|file| Some(file.metadata().ok()?.ino()));
    inode(one) == inode(other)
}

fn open(path: &Path) -> Result<Option<File>, Error> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(read_error(path)(error)),
    }
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    Error::io("read the console log", path)
}

fn write(output: &mut impl Write, bytes: &[u8]) -> Result<(), LogError> {
    let written = output.write_all(bytes).and_then(|()| output.flush());
    written.map_err(LogError::Output)
}

/// Where the last `lines` lines begin; the last may lack its end.
fn start_of_tail(bytes: &[u8], lines: usize) -> usize {
    let Some(above) = lines.checked_sub(1) else {
        return bytes.len();
    };
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let ends = (0..body.len()).rev().filter(|&at| body[at] == b'\n');
    ends.clone().nth(above).map_or(0, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        let log = b"one\ntwo\n\nfour";
        let tail = |log: &'static [u8], lines| &log[start_of_tail(log, lines)..];
        assert_eq!(tail(log, 0), b"");
        assert_eq!(tail(log, 1), b"four");
        assert_eq!(tail(log, 2), b"\nfour");
        assert_eq!(tail(log, 3), b"two\n\nfour");
        assert_eq!(tail(log, 4), log);
        assert_eq!(tail(log, usize::MAX), log);
        assert_eq!(tail(b"one\ntwo\n", 1), b"two\n");
        assert_eq!(tail(b"", 3), b"");
    }

    #[test]
    fn a_log_is_followed_across_the_change_of_its_files() {
        let home = tempfile::tempdir().expect("folder");
        let path = |name| home.path().join(name);
        let append = |name, text: &str| {
            let mut options = File::options();
            let mut file = options
                .create(true)
                .append(true)
                .open(path(name))
                .expect("log");
            file.write_all(text.as_bytes()).expect("log");
        };
        let mut log = Log::open(home.path()).expect("log");
        let mut seen = Vec::new();
        assert!(!log.copy_new(&mut seen).expect("read"));
        append(LOG_FILE, "a");
        append(OLD_LOG_FILE, "");
        assert!(log.copy_new(&mut seen).expect("read"));
        append(LOG_FILE, "b");
        fs::rename(path(LOG_FILE), path("aside")).expect("rename");
        fs::rename(path(OLD_LOG_FILE), path(LOG_FILE)).expect("rename");
        fs::rename(path("aside"), path(OLD_LOG_FILE)).expect("rename");
        append(LOG_FILE, "c");
        assert!(log.copy_new(&mut seen).expect("read"));
        assert!(!log.copy_new(&mut seen).expect("read"));
        append(LOG_FILE, "d");
        assert!(log.copy_new(&mut seen).expect("read"));
        assert_eq!(seen, b"abcd");
    }
}
