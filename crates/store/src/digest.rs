//! Checksums of files that never change, and when to believe in them without reading the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::thread;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ContentError, Error};

/// A BLAKE3 checksum of 32 bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Blake3(blake3::Hash);

impl Blake3 {
    /// The checksum of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes))
    }

    /// The checksum of a file's whole content: of its length, and of the number and content of each
    /// piece of 1 MiB that is not zero. So holes cost nothing, and where they are does not matter.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_file(file: &File) -> io::Result<Self> {
        Self::of_file_with(file, &mut |_| ())
    }

    /// The same, telling `progress` of every few bytes how many they are.
    fn of_file_with(file: &File, progress: &mut dyn FnMut(u64)) -> io::Result<Self> {
        let mut told = 0;
        let mut tell = |read: u64| {
            progress(read.saturating_sub(told));
            told = read;
        };
        let length = file.metadata()?.len();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&length.to_le_bytes());
        let mut buffer = vec![0; PIECE as usize];
        let mut next = next_data(file, 0)?;
        while let Some(offset) = next.filter(|offset| *offset < length) {
            let number = offset / PIECE;
            let start = number * PIECE;
            let piece = &mut buffer[..PIECE.min(length - start) as usize];
            file.read_exact_at(piece, start)?;
            if piece.iter().any(|byte| *byte != 0) {
                hasher.update(&number.to_le_bytes());
                hasher.update(piece);
            }
            tell(start + piece.len() as u64);
            next = next_data(file, start + PIECE)?;
        }
        tell(length);
        Ok(Self(hasher.finalize()))
    }
}

/// Bytes of what is looked at in one piece.
const PIECE: u64 = 1 << 20;

/// Where the first byte from `offset` on is that is in no hole.
fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that does not know its holes has none.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
        Err(error) => Err(error.into()),
    }
}

impl fmt::Display for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Blake3 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Blake3 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = blake3::Hash::from_hex(&text);
        hash.map(Self).map_err(serde::de::Error::custom)
    }
}

/// What a file was when it was whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its length in bytes.
    pub size: u64,
    /// The checksum of its content.
    pub blake3: Blake3,
    /// When it was last written to, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Its number in its file system, the same under all its names.
    pub inode: u64,
}

/// Why a file is believed to be what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It is the same file, and nobody has written to it.
    Trusted,
    /// Its content was read, and has the right checksum.
    Verified,
}

impl FileRecord {
    /// Reads a file and says what it is.
    ///
    /// # Errors
    /// The file cannot be read, or is written to meanwhile.
    pub fn of(file: &File) -> Result<Self, ContentError> {
        let before = file.metadata()?;
        let blake3 = Blake3::of_file(file)?;
        let record = |meta: &Metadata| Self {
            size: meta.len(),
            blake3,
            mtime_ns: mtime_ns(meta),
            inode: meta.ino(),
        };
        if record(&before) == record(&file.metadata()?) {
            Ok(record(&before))
        } else {
            Err(ContentError::damaged("it was written to while it was read"))
        }
    }

    /// Reads a file and says what it is, and meanwhile makes sure that it is on disk.
    fn of_synced(file: &File) -> Result<Self, ContentError> {
        thread::scope(|scope| {
            let sync = thread::Builder::new().spawn_scoped(scope, || file.sync_all());
            let record = Self::of(file)?;
            match sync.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(synced)) => synced?,
                // Where the host has no more threads, one after the other.
                _ => file.sync_all()?,
            }
            Ok(record)
        })
    }

    /// Makes sure that an open file is the one recorded: at a glance if it has the recorded size, date
    /// and number, by its checksum otherwise, as when it was copied from elsewhere.
    ///
    /// # Errors
    /// The file cannot be read, or has another content.
    pub fn check(&self, file: &File) -> Result<Checked, ContentError> {
        let meta = file.metadata()?;
        let seen = (meta.len(), mtime_ns(&meta), meta.ino());
        if seen == (self.size, self.mtime_ns, self.inode) {
            return Ok(Checked::Trusted);
        }
        self.verify(file).map(|()| Checked::Verified)
    }

    /// Makes sure by its checksum that an open file has the recorded content.
    ///
    /// # Errors
    /// The file cannot be read, or has another content.
    pub fn verify(&self, file: &File) -> Result<(), ContentError> {
        self.verify_with(file, &mut |_| ())
    }

    fn verify_with(&self, file: &File, progress: &mut dyn FnMut(u64)) -> Result<(), ContentError> {
        let (size, expected) = (file.metadata()?.len(), self.size);
        if size != expected {
            let reason = format!("it has {size} bytes in place of {expected}");
            return Err(ContentError::damaged(reason));
        }
        if Blake3::of_file_with(file, progress)? != self.blake3 {
            return Err(ContentError::no_match());
        }
        Ok(())
    }

    /// [`FileRecord::check`] of the file with this name.
    ///
    /// # Errors
    /// As there, naming the file.
    pub fn check_path(&self, path: &Path) -> Result<Checked, Error> {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        self.check(&file)
            .map_err(|error| Error::content(path, error))
    }

    /// [`FileRecord::verify`] of the file with this name.
    ///
    /// # Errors
    /// As there, naming the file.
    pub fn verify_path(&self, path: &Path) -> Result<(), Error> {
        Verifier::default().verify(self, path, &mut |_| ())
    }
}

/// Files that were on disk, and what they were when they were last read: those that still are so at a
/// glance need be neither synced nor read again.
#[derive(Debug, Default)]
pub struct KnownFiles(BTreeMap<u64, FileRecord>);

impl KnownFiles {
    /// Adds files.
    pub fn know(&mut self, records: impl IntoIterator<Item = FileRecord>) {
        let by_inode = records.into_iter().map(|record| (record.inode, record));
        self.0.extend(by_inode);
    }

    /// What a file is, which is on disk when this returns. Nobody writes to it.
    ///
    /// # Errors
    /// It cannot be synced or read, or is written to after all.
    pub fn seal(&self, file: &File) -> Result<FileRecord, ContentError> {
        let known = self.0.get(&file.metadata()?.ino());
        match known.filter(|known| matches!(known.check(file), Ok(Checked::Trusted))) {
            Some(known) => Ok(*known),
            None => FileRecord::of_synced(file),
        }
    }
}

/// Verifies files, of which several may be one under different names: that is read once.
#[derive(Debug, Default)]
pub struct Verifier {
    /// Device, number and checksum of those that are as they should be.
    whole: BTreeSet<(u64, u64, [u8; 32])>,
}

impl Verifier {
    /// [`FileRecord::verify`] of the file with this name. `progress` is told of every few bytes that
    /// were read, or need not be, how many they are.
    ///
    /// # Errors
    /// As there, naming the file.
    pub fn verify(
        &mut self,
        record: &FileRecord,
        path: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let failed = |error| Error::io("open", path, error);
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        let key = (meta.dev(), meta.ino(), *record.blake3.0.as_bytes());
        if self.whole.contains(&key) {
            progress(record.size);
            return Ok(());
        }
        record
            .verify_with(&file, progress)
            .map_err(|error| Error::content(path, error))?;
        self.whole.insert(key);
        Ok(())
    }
}

fn mtime_ns(meta: &Metadata) -> i64 {
    meta.mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(meta.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    // The empty input of the official test vectors.
    const EMPTY: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    fn recorded(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf, FileRecord) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layer");
        fs::write(&path, content).unwrap();
        let record = FileRecord::of(&File::open(&path).unwrap()).unwrap();
        (folder, path, record)
    }

    #[test]
    fn one_file_under_two_names_is_read_once_and_told_of_twice() {
        let (folder, path, record) = recorded(&vec![7; 3_000_000]);
        let link = folder.path().join("link");
        fs::hard_link(&path, &link).unwrap();
        let mut verifier = Verifier::default();
        let mut told = Vec::new();
        for name in [&path, &link] {
            let mut bytes = 0;
            let mut progress = |more| bytes += more;
            verifier.verify(&record, name, &mut progress).unwrap();
            told.push(bytes);
        }
        assert_eq!(told, [3_000_000; 2]);
        // Whatever is read again is found to be damaged.
        fs::write(&path, vec![8; 3_000_000]).unwrap();
        verifier.verify(&record, &link, &mut |_| ()).unwrap();
        let again = Verifier::default().verify(&record, &link, &mut |_| ());
        assert!(again.unwrap_err().to_string().contains("link"));
        let other = FileRecord {
            blake3: Blake3::of(b"other"),
            ..record
        };
        assert!(verifier.verify(&other, &link, &mut |_| ()).is_err());
    }

    #[test]
    fn sums_in_memory_are_as_the_authors_say() {
        assert_eq!(Blake3::of(b"").to_string(), EMPTY);
    }

    #[test]
    fn a_files_sum_is_that_of_its_content_and_not_of_its_holes() {
        let mut content = vec![0; 5 << 20];
        let piece = (1 << 20) + 700..(3 << 20) - 700;
        for (n, byte) in (1..).zip(&mut content[piece.clone()]) {
            *byte = (n % 251) as u8;
        }
        let (folder, path, record) = recorded(&content);
        assert_eq!(record.size, content.len() as u64);
        let sparse = folder.path().join("sparse");
        let file = File::create(&sparse).unwrap();
        file.set_len(content.len() as u64).unwrap();
        let data = &content[piece.clone()];
        file.write_all_at(data, piece.start as u64).unwrap();
        let of = |path| FileRecord::of(&File::open(path).unwrap()).unwrap().blake3;
        assert_eq!(of(&sparse), record.blake3);
        // Moved by a piece, longer by zeroes, or with one byte more than zero, it is another.
        fs::write(&path, [&[0; 1 << 20], &content[..4 << 20]].concat()).unwrap();
        assert_ne!(of(&path), record.blake3);
        file.set_len(content.len() as u64 + 1).unwrap();
        assert_ne!(of(&sparse), record.blake3);
        content[4 << 20] = 1;
        fs::write(&path, &content).unwrap();
        assert_ne!(of(&path), record.blake3);
    }

    #[test]
    fn the_same_file_is_trusted_and_a_copy_is_read() {
        let (folder, path, record) = recorded(b"content");
        let link = folder.path().join("link");
        fs::hard_link(&path, &link).unwrap();
        assert_eq!(record.check_path(&link).unwrap(), Checked::Trusted);
        let copy = folder.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        assert_eq!(record.check_path(&copy).unwrap(), Checked::Verified);
    }

    #[test]
    fn a_changed_file_is_refused_by_name() {
        let (_folder, path, record) = recorded(b"content");
        for changed in [&b"contenu"[..], b"conten", b""] {
            fs::write(&path, changed).unwrap();
            let error = record.check_path(&path).unwrap_err().to_string();
            assert!(error.contains("layer: it is damaged"), "{error}");
        }
    }

    #[test]
    fn only_verifying_finds_a_change_that_left_the_date() {
        let (_folder, path, record) = recorded(b"content");
        let date = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, b"contenu").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(date).unwrap();
        assert_eq!(record.check_path(&path).unwrap(), Checked::Trusted);
        assert!(record.verify_path(&path).is_err());
    }

    #[test]
    fn a_record_round_trips_as_json() {
        let (_folder, _path, record) = recorded(b"content");
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<FileRecord>(&json).unwrap(), record);
        assert!(serde_json::from_str::<Blake3>("\"00\"").is_err());
    }
}
