//! Debian's archive on a mirror: from the signed Release file to a checked package.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clade_store::{Folders, Lock, Sha256};
use jiff::Timestamp;
use object::elf;
use serde::{Deserialize, Serialize};

use crate::control::{Paragraph, dependency_names, find_package};
use crate::http::Http;
use crate::mirror::{self, Places};
use crate::openpgp::{MAX_MESSAGE, Trust};
use crate::progress::Part;
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
    pub(crate) data: PathBuf,
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
            data: folders.data().to_owned(),
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

    /// Where a suite's index and records for one architecture are kept.
    pub(crate) fn index_folder(&self, suite: &str, architecture: Architecture) -> PathBuf {
        architecture.part_of(self.suite_folder(suite))
    }

    /// Waits until no other process works on `what`.
    pub(crate) fn lock(&self, what: &str, progress: &dyn Progress) -> Result<Lock, Error> {
        let waiting = || tell_of_wait(what, progress);
        Ok(Lock::acquire(&self.lock_path(what), waiting)?)
    }

    /// Locks `what` if no other process has, for itself or with others.
    pub(crate) fn try_lock(&self, what: &str) -> Result<Option<Lock>, Error> {
        Ok(Lock::try_acquire(&self.lock_path(what))?)
    }

    /// Waits until no other process has locked `what` for itself.
    pub(crate) fn share(&self, what: &str, progress: &dyn Progress) -> Result<Lock, Error> {
        let waiting = || tell_of_wait(what, progress);
        Ok(Lock::share(&self.lock_path(what), waiting)?)
    }

    fn lock_path(&self, what: &str) -> PathBuf {
        self.cache.join("locks").join(what)
    }
}

fn tell_of_wait(what: &str, progress: &dyn Progress) {
    progress.message(&format!(
        "another clade is at work on {what}; waiting for it"
    ));
}

/// For which machines a package or an image is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// RISC-V, 64-bit.
    #[default]
    Riscv64,
    /// x86-64.
    Amd64,
}

impl Architecture {
    /// All that there are images for.
    pub const ALL: [Self; 2] = [Self::Riscv64, Self::Amd64];

    /// As Debian and OCI images call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Riscv64 => "riscv64",
            Self::Amd64 => "amd64",
        }
    }

    /// The folder of its libraries, below `lib`.
    pub(crate) fn libraries(self) -> &'static str {
        match self {
            Self::Riscv64 => "riscv64-linux-gnu",
            Self::Amd64 => "x86_64-linux-gnu",
        }
    }

    /// Where programs look for what loads their libraries, which has the same name in that folder.
    pub(crate) fn loader(self) -> (&'static str, &'static str) {
        match self {
            Self::Riscv64 => ("lib", "ld-linux-riscv64-lp64d.so.1"),
            Self::Amd64 => ("lib64", "ld-linux-x86-64.so.2"),
        }
    }

    /// Its part of a folder, which was RISC-V's alone at first.
    pub(crate) fn part_of(self, folder: PathBuf) -> PathBuf {
        match self {
            Self::Riscv64 => folder,
            Self::Amd64 => folder.join(self.name()),
        }
    }

    /// A name that tells its things from those of the others; RISC-V's were without a mark at first.
    pub(crate) fn mark(self, name: &str) -> String {
        match self {
            Self::Riscv64 => name.to_owned(),
            Self::Amd64 => format!("{name}.{}", self.name()),
        }
    }

    /// The package that names the newest kernel for virtual machines.
    pub fn kernel_package(self) -> &'static str {
        match self {
            Self::Riscv64 => "linux-image-riscv64",
            Self::Amd64 => "linux-image-cloud-amd64",
        }
    }

    /// `e_machine` of its programs and modules.
    pub(crate) fn elf_machine(self) -> elf::Machine {
        match self {
            Self::Riscv64 => elf::EM_RISCV,
            Self::Amd64 => elf::EM_X86_64,
        }
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

impl PackageRecord {
    /// What an index says of a package.
    pub(crate) fn read(name: &str, paragraph: &Paragraph<'_>) -> Result<Self, Error> {
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
        let depends = ["Pre-Depends", "Depends"].map(|name| paragraph.field(name));
        let depends = depends.iter().flatten();
        Ok(Self {
            name: name.to_owned(),
            version: field("Version")?,
            filename,
            size: field("Size")?
                .parse()
                .map_err(|_| malformed("Size is no number".to_owned()))?,
            sha256: field("SHA256")?
                .parse()
                .map_err(|error| malformed(format!("{error}")))?,
            depends: depends
                .flat_map(|field| dependency_names(field))
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// One suite of Debian's archive, with its verified package index in memory.
pub(crate) struct Archive<'a> {
    setup: &'a Setup,
    progress: &'a dyn Progress,
    suite: String,
    architecture: Architecture,
    url: String,
    http: Http,
    release: Signed,
    index: String,
}

/// A suite's Release file.
struct Signed {
    release: Release,
    /// The file itself.
    message: Vec<u8>,
    /// The name by which the mirror has the suite that it belongs to: the codename, or `stable` and the like.
    place: String,
}

impl<'a> Archive<'a> {
    /// Fetches and checks the suite's Release file. Where the mirror cannot be reached, the one fetched before is
    /// used, and checked again. Its packages are known behind [`Archive::now`] or [`Archive::now_or_before`].
    pub(crate) fn find(
        setup: &'a Setup,
        mirror: Option<&str>,
        suite: &str,
        architecture: Architecture,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        check_suite(suite)?;
        let mirror = mirror::find(mirror, &setup.places)?;
        let proxy = mirror::proxy(&mirror.url, &setup.places);
        let http = Http::new(&mirror.url, proxy.as_deref(), setup.pause)?;
        let url = mirror.url;
        let release = match fetch_release(setup, &http, &url, suite, suite) {
            Err(error @ Error::Network { .. }) => kept_release(setup, &url, suite)
                .inspect(|kept| {
                    let date = kept.release.date.strftime("%F");
                    progress.message(&format!(
                        "the mirror cannot be reached; using what it had on {date}"
                    ));
                })
                .ok_or(error)?,
            release => release?,
        };
        Ok(Self {
            setup,
            progress,
            suite: suite.to_owned(),
            architecture,
            url,
            http,
            release,
            index: String::new(),
        })
    }

    /// With the package index, fetched and checked.
    pub(crate) fn now(mut self) -> Result<Self, Error> {
        self.index = self.fetch_index()?;
        self.keep_release()?;
        Ok(self)
    }

    /// As [`Archive::now`], or as the suite was before, if the mirror is in the middle of an update: then it has a
    /// new Release file and an old index. Both of them from before may be there by the suite's other name,
    /// or here, and are signed as well.
    pub(crate) fn now_or_before(mut self) -> Result<Self, Error> {
        self.index = match self.fetch_index() {
            Err(error @ Error::Checksum { .. }) => self.fetch_index_of_before(error)?,
            index => index?,
        };
        self.keep_release()?;
        Ok(self)
    }

    /// For when the index is not what its Release file says: `contradiction`.
    fn fetch_index_of_before(&mut self, contradiction: Error) -> Result<String, Error> {
        let (setup, suite) = (self.setup, &self.suite);
        let by_other_name = self.release.release.other_name(suite);
        let by_other_name = by_other_name
            .and_then(|name| fetch_release(setup, &self.http, &self.url, name, suite).ok());
        let kept = kept_release(setup, &self.url, suite);
        let date = self.release.release.date;
        for earlier in [by_other_name, kept].into_iter().flatten() {
            if earlier.release.date >= date {
                continue;
            }
            let before = earlier.release.date.strftime("%F").to_string();
            self.release = earlier;
            if let Ok(index) = self.fetch_index() {
                self.progress.message(&format!(
                    "the mirror is in the middle of an update of {}; using what it had on {before}",
                    self.suite
                ));
                return Ok(index);
            }
        }
        Err(contradiction)
    }

    /// For when the mirror cannot be reached.
    fn keep_release(&self) -> Result<(), Error> {
        let path = release_path(self.setup, &self.suite);
        Ok(clade_store::write(&path, &self.release.message)?)
    }

    /// For which machines its packages are.
    pub(crate) fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// When the suite was published.
    pub(crate) fn date(&self) -> Timestamp {
        self.release.release.date
    }

    /// Looks a package up.
    pub(crate) fn package(&self, name: &str) -> Result<PackageRecord, Error> {
        let paragraph = find_package(&self.index, name).ok_or_else(|| Error::NoPackage {
            name: name.to_owned(),
            suite: self.suite.clone(),
            architecture: self.architecture,
        })?;
        PackageRecord::read(name, &paragraph)
    }

    /// All packages, as text.
    pub(crate) fn index(&self) -> &str {
        &self.index
    }

    /// Brings a package into the cache, unless it is there.
    pub(crate) fn fetch(&self, package: &PackageRecord) -> Result<PathBuf, Error> {
        self.fetch_telling(package, self.progress)
    }

    /// Brings many packages into the cache, as one task.
    pub(crate) fn fetch_all<'p>(
        &self,
        packages: impl Iterator<Item = &'p PackageRecord> + Clone,
    ) -> Result<(), Error> {
        let total = packages.clone().map(|package| package.size).sum();
        let label = format!("fetching {} packages", packages.clone().count());
        self.progress.begin(&label, total);
        let part = Part::new(self.progress);
        for package in packages {
            self.fetch_telling(package, &part)?;
            part.complete(package.size);
        }
        self.progress.finish();
        Ok(())
    }

    fn fetch_telling(
        &self,
        package: &PackageRecord,
        progress: &dyn Progress,
    ) -> Result<PathBuf, Error> {
        let path = package_path(self.setup, package);
        let _lock = self.setup.lock(&package.name, progress)?;
        if !is_intact(&path, package, progress)? {
            let url = format!("{}/{}", self.url, package.filename);
            let expected = Expected {
                size: package.size,
                sha256: package.sha256,
            };
            self.http.download(&url, &path, expected, progress)?;
        }
        Ok(path)
    }

    fn fetch_index(&self) -> Result<String, Error> {
        let folder = format!("{}/dists/{}", self.url, self.release.place);
        let path = format!("main/binary-{}/Packages.xz", self.architecture.name());
        let url = format!("{folder}/{path}");
        let no_such = || Error::Release {
            url: format!("{folder}/InRelease"),
            reason: format!(
                "the suite {} has no packages for {}; trixie (Debian 13) and later suites do",
                self.suite,
                self.architecture.name()
            ),
        };
        let expected = self.release.release.file(&path).ok_or_else(no_such)?;
        let folder = self.setup.index_folder(&self.suite, self.architecture);
        let cached = folder.join("Packages.xz");
        clade_store::create_folder(&folder)?;
        let _lock = self.setup.lock(&self.suite, self.progress)?;
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
        if self.release.release.by_hash {
            let folder = url.rsplit_once('/').map_or(url, |(folder, _)| folder);
            match fetch(&format!("{folder}/by-hash/SHA256/{}", expected.sha256)) {
                Err(Error::Status { status: 404, .. }) => {}
                result => return result,
            }
        }
        fetch(url)
    }
}

/// Fetches the Release file of a suite from `place` on the mirror.
fn fetch_release(
    setup: &Setup,
    http: &Http,
    mirror: &str,
    place: &str,
    suite: &str,
) -> Result<Signed, Error> {
    let url = format!("{mirror}/dists/{place}/InRelease");
    let message = http.get(&url, MAX_MESSAGE)?;
    Ok(Signed {
        release: check_release(setup, &url, suite, &message)?,
        message,
        place: place.to_owned(),
    })
}

/// The Release file that was kept, if there is one that holds.
fn kept_release(setup: &Setup, mirror: &str, suite: &str) -> Option<Signed> {
    let message = fs::read(release_path(setup, suite)).ok()?;
    let url = format!("{mirror}/dists/{suite}/InRelease");
    Some(Signed {
        release: check_release(setup, &url, suite, &message).ok()?,
        message,
        place: suite.to_owned(),
    })
}

fn release_path(setup: &Setup, suite: &str) -> PathBuf {
    setup.suite_folder(suite).join("InRelease")
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

pub(crate) fn package_path(setup: &Setup, package: &PackageRecord) -> PathBuf {
    let file = package
        .filename
        .rsplit('/')
        .next()
        .unwrap_or(&package.filename);
    setup.packages_folder().join(file)
}

/// Whether the cache has the package with the right checksum; one with a wrong one is removed.
pub(crate) fn is_intact(
    path: &Path,
    package: &PackageRecord,
    progress: &dyn Progress,
) -> Result<bool, Error> {
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
