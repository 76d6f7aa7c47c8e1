//! New layers for disks.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clade_disk::{Format, create_overlay};
use clade_vmm::spec::{DiskSpec, MachineSpec};

use crate::Error;

/// Whether a disk is written, and so needs a new layer at each snapshot.
pub(super) fn is_written(disk: &DiskSpec) -> bool {
    !disk.read_only
}

/// Refuses machines that have what cannot be kept.
pub(super) fn check(spec: &MachineSpec) -> Result<(), Error> {
    let refuse = |reason: String| {
        Err(Error::CannotKeep {
            name: spec.name.clone(),
            reason,
        })
    };
    let config = &spec.config;
    if let Some(share) = config.shares.first() {
        return refuse(format!(
            "it shares the folder {} with this host, of which a snapshot has no copy",
            share.folder.display()
        ));
    }
    if config.flash.is_some() {
        return refuse("it has UEFI firmware with variables of its own".to_owned());
    }
    for disk in config.disks.iter().filter(|disk| is_written(disk)) {
        if disk.path.is_absolute() || disk.format != Format::Qcow2 {
            return refuse(format!(
                "its disk {} is a file of yours, which would no longer have what the guest writes; \
                 give it read-only (`--disk FILE,ro`), or make the machine from an image",
                disk.path.display()
            ));
        }
    }
    Ok(())
}

/// Empty layers above a machine's disks.
#[derive(Debug)]
pub(super) struct NewTops {
    /// Of each disk, in order: the layer's name in the machine's folder; none for what is only read.
    names: Vec<Option<PathBuf>>,
    /// What the disks were before.
    before: Vec<DiskSpec>,
}

impl NewTops {
    /// Makes the layers in `folder`, above what the disks there are now, and makes them the tops of
    /// `disks`. `id` is part of their names. They are not synced.
    pub(super) fn create(folder: &Path, id: &str, disks: &mut [DiskSpec]) -> Result<Self, Error> {
        let mut tops = Self {
            names: Vec::new(),
            before: disks.to_vec(),
        };
        for (number, disk) in disks.iter_mut().enumerate() {
            if !is_written(disk) {
                tops.names.push(None);
                continue;
            }
            let name = PathBuf::from(format!("disk{number}-{id}.qcow2"));
            let made =
                clade_disk::capacity(&folder.join(&disk.path), disk.format).and_then(|size| {
                    create_overlay(&folder.join(&name), &disk.path, disk.format, size)
                });
            if let Err(error) = made {
                tops.remove_unused(folder, &[]);
                return Err(Error::disk(error));
            }
            disk.path.clone_from(&name);
            disk.format = Format::Qcow2;
            tops.names.push(Some(name));
        }
        Ok(tops)
    }

    /// Makes sure that the layers survive a crash of the host, once their names do.
    pub(super) fn sync(&self, folder: &Path) -> Result<(), Error> {
        for (path, file) in self.open(folder)?.iter().flatten() {
            file.sync_all().map_err(Error::io("sync", path))?;
        }
        Ok(())
    }

    /// The paths of the layers, and the layers open, in the disks' order.
    pub(super) fn open(&self, folder: &Path) -> Result<Vec<Option<(PathBuf, File)>>, Error> {
        let open = |name: &Option<PathBuf>| {
            let Some(name) = name else { return Ok(None) };
            let path = folder.join(name);
            let file = File::options().read(true).write(true).open(&path);
            let file = file.map_err(Error::io("open", &path))?;
            Ok(Some((path, file)))
        };
        self.names.iter().map(open).collect()
    }

    /// The disks as they were.
    pub(super) fn before(&self) -> &[DiskSpec] {
        &self.before
    }

    /// Puts the disks back as they were, but for those of which `switched` says that their new layer
    /// is in use.
    pub(super) fn take_off(&self, switched: &[bool], disks: &mut [DiskSpec]) {
        let before = disks.iter_mut().zip(&self.before);
        for (number, (disk, before)) in before.enumerate() {
            if switched.get(number) != Some(&true) {
                disk.clone_from(before);
            }
        }
    }

    /// Removes the layers that no disk has any more.
    pub(super) fn remove_unused(&self, folder: &Path, disks: &[DiskSpec]) {
        let used = |name: &PathBuf| disks.iter().any(|disk| disk.path == *name);
        for name in self.names.iter().flatten().filter(|name| !used(name)) {
            // If it stays, nobody minds it.
            let _ = fs::remove_file(folder.join(name));
        }
    }
}
