//! Files on the host, as the loader reads them.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use clade_engine::GuestRam;

use super::error::{LoadError, Problem};
use super::space;

/// How much of a file that is copied is in flight at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// An opened file of known length. It can outlive the process's right to open files.
pub struct Source {
    name: String,
    len: u64,
    reader: Box<dyn Read + Send>,
}

impl Source {
    /// Opens the file at `path`. A pipe or device is read to its end at once; more than `limit`
    /// bytes (the machine's RAM) are refused.
    ///
    /// # Errors
    /// When the file is missing, a directory, not readable, empty, or larger than `limit`.
    pub fn open(path: &Path, limit: u64) -> Result<Self, LoadError> {
        let name = path.display().to_string();
        match Self::open_reader(path, limit) {
            Ok((reader, len)) => Self::checked(name, reader, len, limit),
            Err(problem) => Err(problem.of(name)),
        }
    }

    /// Takes `bytes` as a file; `name` is what errors call it.
    ///
    /// # Errors
    /// When there are none.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, LoadError> {
        let len = bytes.len() as u64;
        Self::checked(name.to_owned(), Box::new(Cursor::new(bytes)), len, len)
    }

    /// Takes the `len` bytes of an open file, however far it was read before.
    pub(crate) fn of_file(name: &str, file: Arc<File>, len: u64) -> Result<Self, LoadError> {
        let reader = FromStart { file, position: 0 };
        Self::checked(name.to_owned(), Box::new(reader), len, len)
    }

    fn open_reader(path: &Path, limit: u64) -> Result<(Box<dyn Read + Send>, u64), Problem> {
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Problem::Missing,
            _ => Problem::Unreadable(error),
        })?;
        let metadata = file.metadata().map_err(Problem::Unreadable)?;
        if metadata.is_dir() {
            return Err(Problem::Directory);
        }
        if metadata.is_file() {
            return Ok((Box::new(file), metadata.len()));
        }
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(Problem::Unreadable)?;
        let len = bytes.len() as u64;
        Ok((Box::new(Cursor::new(bytes)), len))
    }

    fn checked(
        name: String,
        reader: Box<dyn Read + Send>,
        len: u64,
        limit: u64,
    ) -> Result<Self, LoadError> {
        if len == 0 {
            return Err(Problem::Empty.of(name));
        }
        if len > limit {
            let (need, have) = (len, limit);
            return Err(Problem::TooLarge { need, have }.of(name));
        }
        Ok(Self { name, len, reader })
    }

    /// What errors call the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads it whole; returns its name and contents. More than `limit` bytes are refused.
    pub(super) fn read(mut self, limit: u64) -> Result<(String, Vec<u8>), LoadError> {
        if self.len > limit {
            let need = self.len;
            return Err(Problem::TooLarge { need, have: limit }.of(self.name));
        }
        let mut bytes = Vec::with_capacity(self.len as usize);
        match self.reader.by_ref().take(self.len).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 == self.len => Ok((self.name, bytes)),
            Ok(_) => Err(self.shrunk(bytes.len() as u64)),
            Err(error) => Err(Problem::Unreadable(error).of(self.name)),
        }
    }

    /// Copies it to guest physical address `start`, without holding it in memory.
    pub(crate) fn copy_to(mut self, ram: &GuestRam, start: u64) -> Result<(), LoadError> {
        let mut chunk = vec![0; CHUNK.min(self.len as usize)];
        let mut done = 0;
        while done < self.len {
            let wanted = chunk.len().min((self.len - done) as usize);
            let read = match self.reader.read(&mut chunk[..wanted]) {
                Ok(0) => return Err(self.shrunk(done)),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Problem::Unreadable(error).of(self.name)),
            };
            if let Err(problem) = space::write(ram, start + done, &chunk[..read]) {
                return Err(problem.of(self.name));
            }
            done += read as u64;
        }
        Ok(())
    }

    /// The error of a file that became shorter while it was read.
    fn shrunk(self, have: u64) -> LoadError {
        let need = self.len;
        Problem::Truncated { need, have }.of(self.name)
    }
}

/// Reads a file that others may be reading, too.
struct FromStart {
    file: Arc<File>,
    position: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
