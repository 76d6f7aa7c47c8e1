//! A Debian system in an image: packages unpacked, to be configured by their own scripts when the image
//! first boots.

use std::fs::File;
use std::io::{self, Read};

use clade_ext4::{Builder, Kind as Present, Metadata, Options};

use super::database::{Database, Unpacked};
use super::suites::AptSource;
use super::{files, initrd};
use crate::archive::Architecture;
use crate::deb::{Entry, Kind};
use crate::fetch::Package;
use crate::initramfs::{Boot, BootParts};
use crate::{Error, Progress};

/// What a system's image is made with.
pub(crate) struct Plan<'a> {
    pub(crate) architecture: Architecture,
    /// The packages, each after those that it depends on.
    pub(crate) packages: &'a [Package],
    /// Where apt shall look.
    pub(crate) sources: &'a [AptSource],
    /// When the newest of its suites was published, in seconds since 1970.
    pub(crate) date: i64,
    /// Bytes of the file system.
    pub(crate) size: u64,
    pub(crate) uuid: [u8; 16],
}

/// Unpacks a system into `file`, and makes what boots it; `busybox` is its package, for the initial RAM disk.
pub(crate) fn unpack(
    plan: &Plan<'_>,
    busybox: &Package,
    file: File,
    progress: &dyn Progress,
) -> Result<Boot, Error> {
    let options = Options {
        size: plan.size,
        uuid: plan.uuid,
        label: "debian".to_owned(),
        created: plan.date,
    };
    let mut system = System {
        image: Builder::new(file, &options)?,
        database: Database::default(),
        boot: BootParts::new(plan.architecture),
    };
    system.boot.add_busybox(busybox)?;
    let sizes: Vec<u64> = plan.packages.iter().map(size_of).collect();
    progress.begin("unpacking", sizes.iter().sum());
    for (package, size) in plan.packages.iter().zip(sizes) {
        system.unpack(package)?;
        progress.advance(size);
    }
    progress.finish();
    system.finish(plan)
}

fn size_of(package: &Package) -> u64 {
    std::fs::metadata(&package.path).map_or(0, |meta| meta.len())
}

struct System {
    image: Builder,
    database: Database,
    boot: BootParts,
}

impl System {
    fn unpack(&mut self, package: &Package) -> Result<(), Error> {
        let mut paths = Vec::new();
        let mut failure = None;
        let visited = package.visit(|entry, content| {
            paths.push(entry.path.trim_end_matches('/').to_owned());
            self.add(entry, content).map_err(|error| {
                failure = Some(error);
                io::Error::other("its content cannot be written")
            })
        });
        if let Some(error) = failure {
            return Err(error.into());
        }
        visited?;
        let unpacked = Unpacked {
            name: &package.name,
            control: &package.control_files()?,
            paths: &paths,
        };
        self.database.add(&mut self.image, &unpacked)
    }

    fn add(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), clade_ext4::Error> {
        let path = &entry.path;
        let metadata = Metadata {
            permissions: entry.mode as u16,
            user: entry.user,
            group: entry.group,
            modified: entry.modified,
            ..Metadata::default()
        };
        match &entry.kind {
            Kind::Folder => self.add_folder(path, &metadata),
            Kind::File if BootParts::wants(path) => {
                let mut bytes = Vec::new();
                content
                    .read_to_end(&mut bytes)
                    .and_then(|_| self.boot.add(path, || Ok(bytes.clone())))
                    .map_err(clade_ext4::Error::from)?;
                self.image.file(path, &metadata, bytes.as_slice()).map(drop)
            }
            Kind::File => self.image.file(path, &metadata, content).map(drop),
            Kind::Link(target) => self.image.symlink(path, &metadata, target),
            Kind::HardLink(target) => self.image.hard_link(path, target),
            Kind::Other => Ok(()),
        }
    }

    /// As dpkg does, leaves a folder that is there as it is, and a link that stands for one, too.
    fn add_folder(&mut self, path: &str, metadata: &Metadata) -> Result<(), clade_ext4::Error> {
        let is_root = path.is_empty();
        let present = self.image.kind(if is_root { "/" } else { path })?;
        match present {
            Some(Present::Folder | Present::Symlink { .. }) if !is_root => Ok(()),
            _ => self
                .image
                .folder(if is_root { "/" } else { path }, metadata),
        }
    }

    fn finish(mut self, plan: &Plan<'_>) -> Result<Boot, Error> {
        self.database.finish(&mut self.image)?;
        files::add(&mut self.image, plan)?;
        self.image.finish()?;
        initrd::assemble(self.boot, plan.date.try_into().unwrap_or(0))
    }
}
