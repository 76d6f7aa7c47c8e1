//! Disks on a host that has no space left.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use clade_devices::virtio::block::{BlockBackend, BlockInfo, BlockOperation};

use vm_memory::{Bytes, GuestAddress};

use super::{RAM, buffer, open, output, qemu, ram, read, text};
use crate::patient::{Patient, failed_sync};
use crate::{Disk, Format};

/// A disk that fails in one way, as long as it has one, and keeps count of what it was asked.
#[derive(Clone, Default)]
struct Moody(Arc<Mutex<Mood>>);

#[derive(Default)]
struct Mood {
    error: Option<fn() -> io::Error>,
    asked: Vec<u16>,
    completed: VecDeque<(u16, io::Result<()>)>,
}

impl Moody {
    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.0.lock().expect("lock")
    }

    fn set(&self, error: Option<fn() -> io::Error>) {
        self.mood().error = error;
    }

    fn take_asked(&self) -> Vec<u16> {
        std::mem::take(&mut self.mood().asked)
    }
}

impl BlockBackend for Moody {
    fn info(&self) -> BlockInfo {
        BlockInfo {
            capacity: 1 << 20,
            read_only: false,
            discard_granularity: 512,
        }
    }

    fn begin(&mut self, tag: u16, operation: BlockOperation) {
        let mut mood = self.mood();
        mood.asked.push(tag);
        let result = match (mood.error, operation) {
            (_, BlockOperation::Read { .. }) | (None, _) => Ok(()),
            (Some(error), _) => Err(error()),
        };
        mood.completed.push_back((tag, result));
    }

    fn submit(&mut self) {}

    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        self.mood().completed.pop_front()
    }

    fn drain(&mut self) {}
}

const ZEROES: BlockOperation = BlockOperation::WriteZeroes {
    offset: 0,
    length: 512,
    unmap: false,
    durable: false,
};

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

fn patient(pause: Duration) -> (Patient<Moody>, Moody) {
    let disk = Moody::default();
    (Patient::new(disk.clone(), "test".into(), pause), disk)
}

#[test]
fn what_has_no_space_is_tried_again_until_it_has() {
    for error in [no_space, || io::Error::from_raw_os_error(libc::EDQUOT)] {
        let (mut patient, disk) = patient(Duration::ZERO);
        let waits = patient.is_waiting();
        let waits = || waits.load(Ordering::Acquire);
        disk.set(Some(error));
        patient.begin(1, ZEROES);
        patient.begin(2, BlockOperation::Flush);
        assert!(patient.completed().is_none() && waits());
        let buffer = buffer(&ram(), 512);
        patient.begin(3, BlockOperation::Read { offset: 0, buffer });
        patient.submit();
        // Others go on.
        assert!(matches!(patient.completed(), Some((3, Ok(())))));
        assert!(patient.completed().is_none() && waits());
        assert_eq!(disk.take_asked(), [1, 2, 3, 1, 2]);
        disk.set(None);
        patient.submit();
        assert!(matches!(patient.completed(), Some((1, Ok(())))) && waits());
        assert!(matches!(patient.completed(), Some((2, Ok(())))) && !waits());
        patient.submit();
        assert_eq!(disk.take_asked(), [1, 2]);
    }
}

#[test]
fn it_is_not_tried_before_its_time() {
    let (mut patient, disk) = patient(Duration::from_secs(3600));
    disk.set(Some(no_space));
    patient.begin(1, ZEROES);
    for _ in 0..3 {
        assert!(patient.completed().is_none());
        patient.submit();
    }
    assert_eq!(disk.take_asked(), [1]);
}

#[test]
fn other_errors_and_those_of_fsync_are_the_guests() {
    let (mut patient, disk) = patient(Duration::ZERO);
    let errors: [fn() -> io::Error; 2] = [
        || io::Error::from_raw_os_error(libc::EIO),
        || failed_sync(no_space()),
    ];
    for error in errors {
        disk.set(Some(error));
        patient.begin(1, BlockOperation::Flush);
        assert!(matches!(patient.completed(), Some((1, Err(_)))));
    }
}

#[test]
fn who_cannot_wait_gets_the_error() {
    let (mut patient, disk) = patient(Duration::ZERO);
    disk.set(Some(no_space));
    patient.begin(1, ZEROES);
    assert!(patient.completed().is_none());
    patient.begin(2, ZEROES);
    patient.drain();
    let mut failed = [patient.completed(), patient.completed()].map(|completed| {
        let (tag, result) = completed.expect("complete");
        assert_eq!(
            result.expect_err("no space").kind(),
            io::ErrorKind::StorageFull
        );
        tag
    });
    failed.sort_unstable();
    assert_eq!(failed, [1, 2]);
    assert!(patient.completed().is_none());
    assert!(!patient.is_waiting().load(Ordering::Acquire));
}

/// A file system of 2 MiB; none, said aloud, where this user may mount none.
struct Small(PathBuf);

impl Small {
    fn mount(test: &str, folder: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "none"]);
        match output(mount.arg(folder)) {
            Ok(output) if output.status.success() => Some(Self(folder.to_owned())),
            refused => {
                eprintln!("SKIPPED {test}: only root can mount a small file system: {refused:?}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = output(Command::new("umount").arg("-l").arg(&self.0));
    }
}

const BLOCK: usize = 64 << 10;

/// Does one operation, as the device's thread would, however long it takes.
fn perform(disk: &mut Disk, operation: BlockOperation) -> io::Result<()> {
    disk.begin(3, operation);
    loop {
        disk.submit();
        if let Some((_, result)) = disk.completed() {
            return result;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Writes so many blocks, each with bytes of its own, and flushes.
fn fill(disk: &mut Disk, blocks: usize) -> io::Result<()> {
    let ram = ram();
    for block in 0..blocks {
        ram.write_slice(&[block as u8 + 1; BLOCK], GuestAddress(RAM))
            .expect("memory");
        let write = BlockOperation::Write {
            offset: (block * BLOCK) as u64,
            buffer: buffer(&ram, BLOCK),
            durable: block % 2 == 0,
        };
        perform(disk, write)?;
    }
    perform(disk, BlockOperation::Flush)
}

#[test]
fn a_full_host_keeps_the_guest_waiting_and_loses_nothing() {
    const TEST: &str = "a_full_host_keeps_the_guest_waiting_and_loses_nothing";
    const BLOCKS: usize = 20;
    for format in [Format::Raw, Format::Qcow2] {
        let folder = tempfile::tempdir().expect("folder");
        let Some(small) = Small::mount(TEST, folder.path()) else {
            return;
        };
        let path = small.0.join("disk");
        match format {
            Format::Raw => {
                let file = fs::File::create_new(&path).expect("file");
                file.set_len(4 << 20).expect("sparse");
            }
            Format::Qcow2 => {
                let made = qemu(&["qemu-img", "create", "-f", "qcow2", text(&path), "4M"]);
                let Some(true) = made else { return };
            }
        }
        let ballast = small.0.join("ballast");
        fs::write(&ballast, vec![0; 1 << 20]).expect("file");

        let mut hasty = open(&path, format, false).expect("disk");
        let error = fill(&mut hasty, BLOCKS).expect_err("no space");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error:?}");
        drop(hasty);

        let mut patient = open(&path, format, false)
            .expect("disk")
            .waiting_for_space();
        let room = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            fs::remove_file(ballast).expect("removed");
        });
        let started = Instant::now();
        fill(&mut patient, BLOCKS).expect("there is space in the end");
        assert_eq!(patient.next_try(), None);
        assert!(started.elapsed() > Duration::from_millis(300));
        room.join().expect("room");
        for block in 0..BLOCKS {
            let content = read(&mut patient, (block * BLOCK) as u64, BLOCK).expect("read");
            assert!(content.iter().all(|&byte| byte == block as u8 + 1));
        }
        drop(patient);
        if format == Format::Qcow2 {
            assert_eq!(qemu(&["qemu-img", "check", text(&path)]), Some(true));
        }
    }
}
