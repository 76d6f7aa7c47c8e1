//! Packages by their names, from the cache or else from the archive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use crate::archive::{
    Architecture, Archive, DEFAULT_SUITE, PackageRecord, Setup, check_suite, is_intact,
    package_path,
};
use crate::{Error, Progress, deb, kept};

/// Where packages come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Address of the mirror; found by [`crate::find_mirror`] if `None`.
    pub mirror: Option<String>,
    /// Debian suite; `trixie` if `None`.
    pub suite: Option<String>,
    /// Which machines the packages are for.
    pub architecture: Architecture,
    /// Asks the mirror even for what is in the cache.
    pub refresh: bool,
}

/// A Debian package in the cache, fetched and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, as Debian writes it.
    pub version: String,
    /// The `.deb` file.
    pub path: PathBuf,
}

impl Package {
    /// The package's files, folders and links, in order.
    ///
    /// # Errors
    /// The package cannot be read.
    pub fn entries(&self) -> Result<Vec<deb::Entry>, Error> {
        let mut entries = Vec::new();
        self.visit(|entry, _| {
            entries.push(entry.clone());
            Ok(())
        })?;
        Ok(entries)
    }

    /// The content of one file, by its path from the root of the file system (`usr/bin/busybox`).
    /// Links are not followed.
    ///
    /// # Errors
    /// The package cannot be read, or has no such regular file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let path = path.trim_start_matches('/');
        let mut found = None;
        self.visit(|entry, content| {
            if entry.path == path && entry.kind == deb::Kind::File {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                found = Some(bytes);
            }
            Ok(())
        })?;
        found.ok_or_else(|| Error::NoFile {
            package: self.name.clone(),
            path: path.to_owned(),
        })
    }

    /// The package's control files; see [`deb::control_files`].
    ///
    /// # Errors
    /// The package cannot be read.
    pub fn control_files(&self) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        fs::File::open(&self.path)
            .and_then(deb::control_files)
            .map_err(|error| Error::malformed(format!("the package {}", self.name), error))
    }

    /// Calls `visit` with each entry, in order, and a reader of its content.
    ///
    /// # Errors
    /// The package cannot be read, or `visit` fails.
    pub fn visit(
        &self,
        visit: impl FnMut(&deb::Entry, &mut dyn Read) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        deb::visit_file(&self.path, visit)
            .map_err(|error| Error::malformed(format!("the package {}", self.name), error))
    }
}

impl PackageRecord {
    pub(crate) fn package(&self, setup: &Setup) -> Package {
        Package {
            name: self.name.clone(),
            version: self.version.clone(),
            path: package_path(setup, self),
        }
    }
}

/// Finds packages of a suite and brings them into the cache. What was found before is used without
/// asking the mirror, unless `refresh` is set.
pub(crate) fn fetch_packages(
    setup: &Setup,
    names: &[&str],
    source: &Source,
    progress: &dyn Progress,
) -> Result<Vec<Package>, Error> {
    let mut fetcher = Fetcher::new(setup, source, progress)?;
    names
        .iter()
        .map(|name| Ok(fetcher.fetch(name)?.package(setup)))
        .collect()
}

/// [`fetch_packages`], with all that the packages depend on but `without` and what only those need.
pub(crate) fn fetch_closure(
    setup: &Setup,
    names: &[&str],
    without: &[&str],
    source: &Source,
    progress: &dyn Progress,
) -> Result<Vec<Package>, Error> {
    let mut fetcher = Fetcher::new(setup, source, progress)?;
    let mut seen: BTreeSet<String> = without.iter().map(|&name| name.to_owned()).collect();
    let mut wanted: VecDeque<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut packages = Vec::new();
    while let Some(name) = wanted.pop_front() {
        if seen.insert(name.clone()) {
            let record = fetcher.fetch(&name)?;
            packages.push(record.package(setup));
            wanted.extend(record.depends);
        }
    }
    Ok(packages)
}

/// Fetches packages by their names, and opens the archive when the first is not in the cache.
struct Fetcher<'a> {
    setup: &'a Setup,
    source: &'a Source,
    suite: &'a str,
    progress: &'a dyn Progress,
    archive: Option<Archive<'a>>,
}

impl<'a> Fetcher<'a> {
    fn new(
        setup: &'a Setup,
        source: &'a Source,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        let suite = source.suite.as_deref().unwrap_or(DEFAULT_SUITE);
        check_suite(suite)?;
        Ok(Self {
            setup,
            source,
            suite,
            progress,
            archive: None,
        })
    }

    fn fetch(&mut self, name: &str) -> Result<PackageRecord, Error> {
        let folder = self
            .setup
            .index_folder(self.suite, self.source.architecture);
        let record_path = folder.join(format!("{name}.json"));
        if !self.source.refresh
            && let Some(record) = kept::read::<PackageRecord>(&record_path)
            && is_intact(&package_path(self.setup, &record), &record, self.progress)?
        {
            return Ok(record);
        }
        let archive = self.archive()?;
        let record = archive.package(name)?;
        archive.fetch(&record)?;
        kept::write(&record_path, &record)?;
        Ok(record)
    }

    fn archive(&mut self) -> Result<&Archive<'a>, Error> {
        let archive = match self.archive.take() {
            Some(archive) => archive,
            None => Archive::find(
                self.setup,
                self.source.mirror.as_deref(),
                self.suite,
                self.source.architecture,
                self.progress,
            )?
            .now_or_before()?,
        };
        Ok(self.archive.insert(archive))
    }
}
