//! Debian's archive on a mirror: from the signed Release file to a checked package.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clade_store::{Folders, Lock, Sha256};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::control::{dependency_names, find_package};
use crate::http::Http;
use crate::mirror::{self, Places};
use crate::openpgp::{MAX_MESSAGE, Trust};
use crate::release::{Expected, Release};
use crate::{Error, Progress, deb};

/// Most bytes that a package index unpacks to. Debian's main has 55 MB.
const MAX_INDEX: u64 = 1 << 30;

/// The suite that is used when none is named: Debian 13, the first with riscv64.
pub(crate) const DEFAULT_SUITE: &str = "trixie";

/// What fetching depends on, given by the caller: where files go, whom to trust, where to look.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) cache: PathBuf,
    pub(crate) places: Places,
    pub(crate) trust: Trust,
    /// Pause before a failed fetch is tried again; later pauses are longer.
    pub(crate) pause: Duration,
}

impl Setup {
    /// The user's folders, Debian's keys, apt's configuration.
    pub(crate) fn of_user() -> Result<Self, Error> {
        let folders = Folders::of_user()?;
        Ok(Self {
            cache: folders.cache().to_owned(),
            places: Places::of_user(&folders),
            trust: Trust::debian().map_err(|reason| Error::malformed("Debian's keys", reason))?,
            pause: Duration::from_millis(250),
        })
    }

    fn packages_folder(&self) -> PathBuf {
        self.cache.join("packages")
    }

    fn suite_folder(&self, suite: &str) -> PathBuf {
        self.cache.join("suites").join(suite)
    }

    /// Waits until no other process works on `what`.
    pub(crate) fn lock(&self, what: &str, progress: &dyn Progress) -> Result<Lock, Error> {
        let path = self.cache.join("locks").join(what);
        let lock = Lock::acquire(&path, || {
            progress.message(&format!("another clade is fetching {what}; waiting for it"));
        })?;
        Ok(lock)
    }
}

/// A package as the signed index describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackageRecord {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Path on the mirror.
    pub(crate) filename: String,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) sha256: Sha256,
    /// Names of the packages that it depends on.
    pub(crate) depends: Vec<String>,
}

/// One suite of Debian's archive, with its verified package index in memory.
pub(crate) struct Archive<'a> {
    setup: &'a Setup,
    progress: &'a dyn Progress,
    suite: &'a str,
    url: String,
    http: Http,
    release: Release,
    index: String,
}

impl<'a> Archive<'a> {
    /// Fetches and checks the suite's Release file and its package index for riscv64. Where the
    /// mirror cannot be reached, those fetched before are used, and checked again.
    pub(crate) fn open(
        setup: &'a Setup,
        mirror: Option<&str>,
        suite: &'a str,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        check_suite(suite)?;
        let mirror = mirror::find(mirror, &setup.places)?;
        let proxy = mirror::proxy(&mirror.url, &setup.places);
        let http = Http::new(&mirror.url, proxy.as_deref(), setup.pause)?;
        let url = mirror.url;
        let release = fetch_release(setup, &http, &url, suite, progress)?;
        let mut archive = Self {
            setup,
            progress,
            suite,
            url,
            http,
            release,
            index: String::new(),
        };
        archive.index = archive.fetch_index("main/binary-riscv64/Packages.xz")?;
        Ok(archive)
    }

    /// When the suite was published.
    pub(crate) fn date(&self) -> Timestamp {
        self.release.date
    }

    /// Looks a package up.
    pub(crate) fn package(&self, name: &str) -> Result<PackageRecord, Error> {
        let paragraph = find_package(&self.index, name).ok_or_else(|| Error::NoPackage {
            name: name.to_owned(),
            suite: self.suite.to_owned(),
        })?;
        let field = |field: &str| {
            paragraph.field(field).ok_or_else(|| {
                Error::malformed(format!("the index entry of {name}"), format!("no {field}"))
            })
        };
        let malformed =
            |reason: String| Error::malformed(format!("the index entry of {name}"), reason);
        let filename = field("Filename")?;
        if !is_plain_path(&filename) {
            return Err(malformed(format!("{filename:?} is not a file name")));
        }
        let depends = paragraph.field("Depends").unwrap_or_default();
        Ok(PackageRecord {
            name: name.to_owned(),
            version: field("Version")?,
            filename,
            size: field("Size")?
                .parse()
                .map_err(|_| malformed("Size is no number".to_owned()))?,
            sha256: field("SHA256")?
                .parse()
                .map_err(|error| malformed(format!("{error}")))?,
            depends: dependency_names(&depends).map(str::to_owned).collect(),
        })
    }

    /// Brings a package into the cache, unless it is there.
    pub(crate) fn fetch(&self, package: &PackageRecord) -> Result<PathBuf, Error> {
        let path = package_path(self.setup, package);
        let _lock = self.setup.lock(&package.name, self.progress)?;
        if !is_intact(&path, package, self.progress)? {
            let url = format!("{}/{}", self.url, package.filename);
            let expected = Expected {
                size: package.size,
                sha256: package.sha256,
            };
            self.http.download(&url, &path, expected, self.progress)?;
        }
        Ok(path)
    }

    fn fetch_index(&self, path: &str) -> Result<String, Error> {
        let url = format!("{}/dists/{}/{path}", self.url, self.suite);
        let no_such = || Error::Release {
            url: format!("{}/dists/{}/InRelease", self.url, self.suite),
            reason: format!(
                "the suite {} has no packages for riscv64; trixie (Debian 13) and later suites do",
                self.suite
            ),
        };
        let expected = self.release.file(path).ok_or_else(no_such)?;
        let folder = self.setup.suite_folder(self.suite);
        let cached = folder.join("Packages.xz");
        clade_store::create_folder(&folder)?;
        let _lock = self.setup.lock(self.suite, self.progress)?;
        if !cached.exists() || Sha256::of_file(&cached)? != expected.sha256 {
            self.download_index(&url, &cached, expected)?;
        }
        let file = fs::File::open(&cached)
            .map_err(|error| clade_store::Error::io("open", &cached, error))?;
        let mut index = String::new();
        deb::decompress(std::io::BufReader::new(file))
            .and_then(|reader| reader.take(MAX_INDEX).read_to_string(&mut index))
            .map_err(|error| Error::malformed(url, error))?;
        Ok(index)
    }

    fn download_index(&self, url: &str, target: &Path, expected: Expected) -> Result<(), Error> {
        let fetch = |url: &str| self.http.download(url, target, expected, self.progress);
        if self.release.by_hash {
            let folder = url.rsplit_once('/').map_or(url, |(folder, _)| folder);
            match fetch(&format!("{folder}/by-hash/SHA256/{}", expected.sha256)) {
                Err(Error::Status { status: 404, .. }) => {}
                result => return result,
            }
        }
        fetch(url)
    }
}

/// Fetches the Release file and keeps it; falls back to the one kept before.
fn fetch_release(
    setup: &Setup,
    http: &Http,
    mirror: &str,
    suite: &str,
    progress: &dyn Progress,
) -> Result<Release, Error> {
    let url = format!("{mirror}/dists/{suite}/InRelease");
    let kept = setup.suite_folder(suite).join("InRelease");
    match http.get(&url, MAX_MESSAGE) {
        Ok(message) => {
            let release = check_release(setup, &url, suite, &message)?;
            clade_store::write(&kept, &message)?;
            Ok(release)
        }
        Err(error @ Error::Network { .. }) => {
            let Ok(message) = fs::read(&kept) else {
                return Err(error);
            };
            let Ok(release) = check_release(setup, &url, suite, &message) else {
                return Err(error);
            };
            progress.message(&format!(
                "the mirror cannot be reached; using what it had on {}",
                release.date.strftime("%F")
            ));
            Ok(release)
        }
        Err(error) => Err(error),
    }
}

fn check_release(setup: &Setup, url: &str, suite: &str, message: &[u8]) -> Result<Release, Error> {
    let text = setup
        .trust
        .verify(message)
        .map_err(|reason| Error::Signature {
            url: url.to_owned(),
            reason,
        })?;
    Release::parse(&text, suite, Timestamp::now()).map_err(|reason| Error::Release {
        url: url.to_owned(),
        reason,
    })
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

    pub(crate) fn visit(
        &self,
        visit: impl FnMut(&deb::Entry, &mut dyn Read) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        deb::visit_file(&self.path, visit)
            .map_err(|error| Error::malformed(format!("the package {}", self.name), error))
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
    let suite = source.suite.as_deref().unwrap_or(DEFAULT_SUITE);
    check_suite(suite)?;
    let mut archive = None;
    let mut packages = Vec::new();
    for name in names {
        let record_path = setup.suite_folder(suite).join(format!("{name}.json"));
        let known = if source.refresh {
            None
        } else {
            read_record(&record_path)
        };
        if let Some(record) = known
            && is_intact(&package_path(setup, &record), &record, progress)?
        {
            packages.push(record.package(setup));
            continue;
        }
        if archive.is_none() {
            archive = Some(Archive::open(
                setup,
                source.mirror.as_deref(),
                suite,
                progress,
            )?);
        }
        let Some(archive) = &archive else { continue };
        let record = archive.package(name)?;
        archive.fetch(&record)?;
        let json = serde_json::to_vec_pretty(&record)
            .map_err(|error| Error::malformed("a package's record", error))?;
        clade_store::write(&record_path, &json)?;
        packages.push(record.package(setup));
    }
    Ok(packages)
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

/// Where packages come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Address of the mirror; found by [`crate::find_mirror`] if `None`.
    pub mirror: Option<String>,
    /// Debian suite; `trixie` if `None`.
    pub suite: Option<String>,
    /// Asks the mirror even for what is in the cache.
    pub refresh: bool,
}

fn read_record(path: &Path) -> Option<PackageRecord> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn package_path(setup: &Setup, package: &PackageRecord) -> PathBuf {
    let file = package
        .filename
        .rsplit('/')
        .next()
        .unwrap_or(&package.filename);
    setup.packages_folder().join(file)
}

/// Whether the cache has the package with the right checksum; one with a wrong one is removed.
fn is_intact(path: &Path, package: &PackageRecord, progress: &dyn Progress) -> Result<bool, Error> {
    if !path.exists() {
        clade_store::create_folder(path.parent().unwrap_or(path))?;
        return Ok(false);
    }
    let intact = Sha256::of_file(path)? == package.sha256;
    if !intact {
        progress.message(&format!(
            "the cached package {} is damaged; fetching it again",
            package.name
        ));
        fs::remove_file(path).map_err(|error| clade_store::Error::io("remove", path, error))?;
    }
    Ok(intact)
}

/// Suite names become parts of paths and addresses.
pub(crate) fn check_suite(suite: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if suite.starts_with(|c: char| c.is_ascii_lowercase()) && suite.chars().all(plain) {
        Ok(())
    } else {
        Err(Error::BadSuite {
            suite: suite.to_owned(),
        })
    }
}

/// A relative path of ordinary file names, as Debian's pool has them.
fn is_plain_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-._~%:".contains(c);
    path.split('/')
        .all(|name| !name.starts_with('.') && !name.is_empty() && name.chars().all(plain))
}
