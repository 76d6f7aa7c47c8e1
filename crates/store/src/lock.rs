use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Error;

/// An advisory lock (flock(2)) on a file that stands for a thing being changed.
///
/// The kernel lets go of it when the holder drops it or dies, however it dies. The file itself stays.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting for as long as another holds it; `waiting` is called once before
    /// the wait, so that the user can be told. The file and its folder are created if missing.
    ///
    /// # Errors
    /// The lock file cannot be created or locked.
    pub fn acquire(path: &Path, waiting: impl FnOnce()) -> Result<Self, Error> {
        Self::wait_for(path, waiting, File::try_lock, File::lock)
    }

    /// As [`Lock::acquire`], but several may hold it so at a time, while nobody has it alone.
    ///
    /// # Errors
    /// As for [`Lock::acquire`].
    pub fn share(path: &Path, waiting: impl FnOnce()) -> Result<Self, Error> {
        Self::wait_for(path, waiting, File::try_lock_shared, File::lock_shared)
    }

    fn wait_for(
        path: &Path,
        waiting: impl FnOnce(),
        at_once: impl Fn(&File) -> Result<(), TryLockError>,
        patiently: impl Fn(&File) -> io::Result<()>,
    ) -> Result<Self, Error> {
        let mut waiting = Some(waiting);
        loop {
            let file = open(path)?;
            match at_once(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if let Some(tell) = waiting.take() {
                        tell();
                    }
                    patiently(&file).map_err(|error| Error::io("lock", path, error))?;
                }
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", path, error)),
            }
            if still_named(&file, path) {
                return Ok(Self { _file: file });
            }
        }
    }

    /// Takes the lock if nobody holds it; `None` if somebody does.
    ///
    /// # Errors
    /// The lock file cannot be created or locked.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, Error> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(still_named(&file, path).then_some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    if let Some(folder) = path.parent() {
        crate::create_folder(folder)?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| Error::io("open the lock file", path, error))
}

/// Whether the name still leads to the locked file: it may have been removed between open and lock.
fn still_named(file: &File, path: &Path) -> bool {
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(locked), Ok(named)) => identity(locked) == identity(named),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn a_second_taker_is_told_waits_and_then_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/thing.lock");
        let first = Lock::acquire(&path, || panic!("nobody holds it")).unwrap();
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        let (told, is_told) = mpsc::channel();
        let second = thread::spawn({
            let path = path.clone();
            move || drop(Lock::acquire(&path, || told.send(()).unwrap()).unwrap())
        });
        is_told.recv().unwrap();
        drop(first);
        second.join().unwrap();
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn several_share_it_while_nobody_has_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::share(&path, || panic!("nobody holds it")).unwrap();
        let second = Lock::share(&path, || panic!("nobody has it alone")).unwrap();
        drop(first);
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        drop(second);
        let alone = Lock::try_acquire(&path).unwrap();
        let (told, is_told) = mpsc::channel();
        let third = thread::spawn({
            let path = path.clone();
            move || drop(Lock::share(&path, || told.send(()).unwrap()).unwrap())
        });
        is_told.recv().unwrap();
        drop(alone);
        third.join().unwrap();
    }

    #[test]
    fn only_one_holds_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let inside = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = Lock::acquire(&path, || ()).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
