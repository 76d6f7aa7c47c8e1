//! Fetching files from elsewhere, with resumption.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clade_store::Sha256;

use crate::release::Expected;
use crate::{Error, Progress};

/// How often a fetch that gets no further is tried.
const ATTEMPTS: u32 = 4;

/// A file that is somewhere else.
pub(crate) trait Remote {
    /// Where it is, for people.
    fn url(&self) -> &str;

    /// What to call it in few words: the last part of its address.
    fn label(&self) -> &str {
        let url = self.url();
        url.rsplit('/').next().unwrap_or(url)
    }

    /// Opens the file at byte `from`, or at its beginning where the other side can do no better.
    fn open(&self, from: u64) -> Result<Piece<'_>, Failure>;
}

/// What a [`Remote`] sends.
pub(crate) struct Piece<'a> {
    /// The first byte's place in the file.
    pub(crate) from: u64,
    /// Bytes that the other side says will come; none if it does not say.
    pub(crate) length: Option<u64>,
    pub(crate) body: Box<dyn Read + 'a>,
}

/// How one attempt failed.
pub(crate) enum Failure {
    /// Another attempt may help; `headway` tells whether this one got further than all before.
    Transient { reason: String, headway: bool },
    /// None will.
    Final(Error),
}

impl Failure {
    pub(crate) fn transient(reason: impl Into<String>) -> Self {
        Self::Transient {
            reason: reason.into(),
            headway: false,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::transient(error.to_string())
    }
}

/// Fetches a file of known checksum to `target`, going on where an earlier fetch broke off. What
/// arrives is kept as `target.partial`, and named `target` only when its checksum is right; with a
/// wrong one it is thrown away.
pub(crate) fn download(
    remote: &dyn Remote,
    target: &Path,
    expected: Expected,
    pause: Duration,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let partial = partial_name(target);
    let resumed = length(&partial) > 0;
    ensure_space(target, expected.size.saturating_sub(length(&partial)))?;
    let mut result = download_once(remote, &partial, expected, pause, progress);
    if resumed && matches!(result, Err(Error::Checksum { .. })) {
        // Perhaps the piece was of another file of this name: start over before giving up.
        result = download_once(remote, &partial, expected, pause, progress);
    }
    result?;
    Ok(clade_store::rename(&partial, target)?)
}

fn download_once(
    remote: &dyn Remote,
    partial: &Path,
    expected: Expected,
    pause: Duration,
    progress: &dyn Progress,
) -> Result<(), Error> {
    progress.begin(remote.label(), expected.size);
    progress.advance(length(partial).min(expected.size));
    let fetched = retry(remote.url(), pause, |attempt| {
        if attempt > 0 {
            progress.message(&format!(
                "the connection broke; resuming {}",
                remote.label()
            ));
        }
        append(remote, partial, expected.size, progress)
    });
    progress.finish();
    fetched?;
    let actual = Sha256::of_file(partial)?;
    if actual != expected.sha256 {
        fs::remove_file(partial)
            .map_err(|error| clade_store::Error::io("remove", partial, error))?;
        return Err(Error::Checksum {
            url: remote.url().to_owned(),
            expected: expected.sha256,
            actual,
        });
    }
    Ok(())
}

/// Opens what is still missing, once, and writes it behind what there is.
fn append(
    remote: &dyn Remote,
    partial: &Path,
    size: u64,
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let write_error = |error| write_failure(partial, size, error);
    let had = length(partial);
    if had == size && had > 0 {
        return Ok(());
    }
    // A piece longer than the file is not of this file.
    let wanted = if had < size { had } else { 0 };
    let piece = remote.open(wanted)?;
    let resumes = piece.from > 0 && piece.from == had;
    let mut have = if resumes { had } else { 0 };
    let mut file = File::options()
        .create(true)
        .write(true)
        .append(resumes)
        .truncate(!resumes)
        .open(partial)
        .map_err(write_error)?;
    if !resumes && had > 0 {
        progress.begin(remote.label(), size);
    }
    let complete = piece
        .length
        .is_some_and(|length| have.saturating_add(length) < size);
    let mut body = piece.body.take(size - have);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) if have == size || complete => return Ok(()),
            Ok(0) => {
                let reason = format!("the connection ended after {have} of {size} bytes");
                return Err(Failure::Transient {
                    reason,
                    headway: have > had,
                });
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let reason = error.to_string();
                return Err(Failure::Transient {
                    reason,
                    headway: have > had,
                });
            }
        };
        file.write_all(&buffer[..count]).map_err(write_error)?;
        have += count as u64;
        progress.advance(count as u64);
    }
}

/// Tries until it works, fails for good, or has made no headway [`ATTEMPTS`] times; waits `pause`
/// before the second attempt, and twice as long before each further one.
pub(crate) fn retry<T>(
    url: &str,
    pause: Duration,
    mut attempt: impl FnMut(u32) -> Result<T, Failure>,
) -> Result<T, Error> {
    let (mut total, mut fruitless) = (0, 0);
    loop {
        match attempt(total) {
            Ok(value) => return Ok(value),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Transient { reason, headway }) => {
                fruitless = if headway { 1 } else { fruitless + 1 };
                if fruitless >= ATTEMPTS {
                    let url = url.to_owned();
                    return Err(Error::Network { url, reason });
                }
                std::thread::sleep(pause * (1 << (fruitless - 1)));
            }
        }
        total += 1;
    }
}

fn write_failure(path: &Path, missing: u64, error: io::Error) -> Failure {
    let error = clade_store::Error::io("write", path, error);
    Failure::Final(match error {
        clade_store::Error::DiskFull { free, .. } => no_space(path, missing, free),
        other => Error::Store(other),
    })
}

fn no_space(target: &Path, needed: u64, free: u64) -> Error {
    let what = target
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let folder = target.parent().unwrap_or(target).to_owned();
    Error::NoSpace {
        what,
        folder,
        needed,
        free,
    }
}

fn ensure_space(target: &Path, needed: u64) -> Result<(), Error> {
    let free = clade_store::free_space(target)?;
    if free < needed {
        Err(no_space(target, needed, free))
    } else {
        Ok(())
    }
}

fn partial_name(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}
