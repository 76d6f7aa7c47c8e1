//! Warm images: machines of an image that were frozen when they had just booted, from which others go on.
//!
//! They are kept as templates are, in a folder beside those of the user, each by a key that stands for
//! all that it depends on. Nothing is lost with one: it is made again.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clade_store::snapshots::Snapshot;
use clade_store::{FileName, Lock};
use clade_vmm::spec::MachineSpec;

use crate::{Error, Machines, machine_of};

/// Most warm images that are kept.
const MOST: usize = 8;

/// Bytes of the disk that all of them may take, the one that was used last apart.
const ROOM: u64 = 4 << 30;

/// After a failure to make one, nobody tries again so soon.
const RETRY: Duration = Duration::from_secs(600);

/// The file that says what the last failure was of, and why.
const FAILED: &str = "failed";

/// The warm images of this user.
#[derive(Debug, Clone)]
pub struct WarmImages {
    folder: PathBuf,
    machines: Machines,
}

/// A warm image, and how it is kept.
#[derive(Debug)]
pub struct WarmImage {
    /// Its key.
    pub key: FileName,
    /// The machine that was frozen; `None` if that cannot be read.
    pub machine: Option<MachineSpec>,
    /// Bytes of the disk that are freed with it.
    pub own: u64,
    /// When a machine last went on from it.
    pub used: SystemTime,
}

/// Whoever has this is the only one to make the warm image of a key.
#[derive(Debug)]
pub struct Making {
    path: PathBuf,
    _lock: Lock,
}

impl WarmImages {
    /// Those that are beside these machines.
    ///
    /// # Errors
    /// When their folder cannot be made, or is not this user's alone.
    pub fn beside(machines: &Machines) -> Result<Self, Error> {
        let data = machines.folder().parent().unwrap_or(machines.folder());
        let folder = data.join("warm");
        clade_store::private_folder(&folder)?;
        Ok(Self {
            machines: machines.elsewhere(folder.join("machines"))?,
            folder,
        })
    }

    /// The machines that are to become warm images. Nobody else sees them.
    pub fn machines(&self) -> &Machines {
        &self.machines
    }

    /// The warm image of this key, if there is one.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub fn get(&self, key: &FileName) -> Result<Option<Snapshot>, Error> {
        self.machines.template(key.as_str())
    }

    /// Notes that a machine went on from it just now.
    pub fn used(&self, image: &Snapshot) {
        let folder = File::open(image.folder());
        // It may be gone; and at worst it goes before its time.
        let _ = folder.and_then(|folder| folder.set_modified(SystemTime::now()));
    }

    /// All of them, the one that was used last first. Clears away what dead processes left behind.
    ///
    /// # Errors
    /// When their folder cannot be read.
    pub fn list(&self) -> Result<Vec<WarmImage>, Error> {
        self.clear_claims()?;
        let templates = self.machines.templates()?;
        let survey = templates.list()?;
        let unreadable = survey.unreadable.into_iter();
        let unreadable = unreadable.map(|one| (one.name, None, 0));
        let readable = survey.snapshots.into_iter().map(|one| {
            let own = one.size().map_or(0, |size| size.own);
            (one.name.clone(), machine_of(&one).ok(), own)
        });
        let described = readable.chain(unreadable).map(|(key, machine, own)| {
            let meta = fs::metadata(templates.folder().join(&key));
            let used = meta.and_then(|meta| meta.modified());
            WarmImage {
                used: used.unwrap_or(SystemTime::UNIX_EPOCH),
                key,
                machine,
                own,
            }
        });
        let mut images: Vec<_> = described.collect();
        images.sort_by_key(|image| std::cmp::Reverse(image.used));
        Ok(images)
    }

    /// Removes one; machines that went on from it stay as they are. It may be gone already.
    ///
    /// # Errors
    /// When its folder cannot be removed.
    pub fn remove(&self, key: &FileName) -> Result<(), Error> {
        match self.machines.templates()?.remove(key) {
            Err(clade_store::Error::NoSnapshot { .. }) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Removes those that were not used for longest, if they are too many or too large, and those that
    /// cannot be read.
    ///
    /// # Errors
    /// As [`WarmImages::list`] and [`WarmImages::remove`].
    pub fn trim(&self) -> Result<(), Error> {
        for key in excess(&self.list()?) {
            self.remove(key)?;
        }
        Ok(())
    }

    /// The right to make the warm image of this key; `None` if somebody else has it.
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn claim(&self, key: &FileName) -> Result<Option<Making>, Error> {
        let path = self.folder.join(format!("{key}.lock"));
        let lock = Lock::try_acquire(&path)?;
        Ok(lock.map(|_lock| Making { path, _lock }))
    }

    /// Removes the locks of those who were killed.
    fn clear_claims(&self) -> Result<(), Error> {
        let list = || Error::io("list", &self.folder);
        for entry in fs::read_dir(&self.folder).map_err(list())? {
            let name = entry.map_err(list())?.file_name();
            let name = name.to_string_lossy();
            let key = name.strip_suffix(".lock").map(FileName::new);
            if let Some(Ok(key)) = key {
                drop(self.claim(&key)?);
            }
        }
        Ok(())
    }

    /// Waits until nobody else makes any, and keeps others from it.
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn turn(&self) -> Result<Lock, Error> {
        Ok(Lock::acquire(&self.folder.join(".lock"), || ())?)
    }

    /// Notes why the one of this key could not be made.
    pub fn note_failure(&self, key: &FileName, reason: &str) {
        // Who cannot note it tries again sooner.
        let _ = fs::write(self.folder.join(FAILED), format!("{key}\n{reason}\n"));
    }

    /// Whether the one of this key could not be made a while ago, so that it is too early to try again.
    pub fn failed_lately(&self, key: &FileName) -> bool {
        let path = self.folder.join(FAILED);
        let said = fs::read_to_string(&path).unwrap_or_default();
        let when = fs::metadata(&path).and_then(|meta| meta.modified());
        let age = when.map(|when| when.elapsed().unwrap_or_default());
        said.lines().next() == Some(key.as_str()) && age.is_ok_and(|age| age < RETRY)
    }
}

/// Of all, the one that was used last first, those that are to go.
fn excess(images: &[WarmImage]) -> Vec<&FileName> {
    let mut taken = 0;
    let stays = |(number, image): (usize, &WarmImage)| {
        taken += image.own;
        image.machine.is_some() && number < MOST && (number == 0 || taken <= ROOM)
    };
    let stay: Vec<bool> = images.iter().enumerate().map(stays).collect();
    let gone = images.iter().zip(stay).filter(|(_, stays)| !stays);
    gone.map(|(image, _)| &image.key).collect()
}

impl Drop for Making {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                eprintln!("{} cannot be removed: {error}", self.path.display());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(sizes: &[u64]) -> Vec<WarmImage> {
        let spec = MachineSpec {
            id: "0123456789ab".to_owned(),
            name: "mini".to_owned(),
            image: Some("mini:trixie".to_owned()),
            created: 0,
            temporary: true,
            origin: None,
            mac: None,
            unsettled: None,
            config: Default::default(),
        };
        let image = |(number, own): (usize, &u64)| WarmImage {
            key: FileName::new(format!("k{number}")).expect("plain"),
            machine: Some(spec.clone()),
            own: *own,
            used: SystemTime::now(),
        };
        sizes.iter().enumerate().map(image).collect()
    }

    fn gone(images: &[WarmImage]) -> Vec<&str> {
        excess(images).into_iter().map(FileName::as_str).collect()
    }

    #[test]
    fn those_go_that_were_not_used_for_longest() {
        assert!(excess(&[]).is_empty());
        assert!(excess(&images(&[1; MOST])).is_empty());
        assert_eq!(gone(&images(&[1; MOST + 2])), ["k8", "k9"]);
        // One that is too large for all others stays alone.
        assert_eq!(gone(&images(&[ROOM + 1, 1])), ["k1"]);
        assert_eq!(gone(&images(&[ROOM / 2, ROOM / 2, 1])), ["k2"]);
        let mut damaged = images(&[1, 1]);
        damaged[0].machine = None;
        assert_eq!(gone(&damaged), ["k0"]);
    }
}
