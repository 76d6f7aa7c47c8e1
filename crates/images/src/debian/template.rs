//! Finished systems, kept as templates: built once, checked on every use, never written to.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clade_store::Sha256;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::first_boot::{FirstBoot, RunMachine};
use super::name::{NAME, Variant};
use super::resolve::{Priority, Universe};
use super::suites::{AptSource, Suites};
use super::{files, initrd, system};
use crate::archive::{Architecture, DEFAULT_SUITE, PackageRecord, Setup};
use crate::fetch::Package;
use crate::image::ImageSummary;
use crate::kept::{self, Stamp};
use crate::{Error, LeastMemory, Progress, Silent};

const DESCRIPTION: &str = "Debian with systemd, apt and SSH, on a disk of its own";

/// Size of the file system in bytes. The image file takes what is written to it.
const DISK_SIZE: u64 = 16 << 30;
/// Space on the host that building takes at most, in bytes, without `--include`.
const NEEDED_SPACE: u64 = 2 << 30;
/// Memory that systemd and what it starts need until the guest is ready, in bytes.
const SYSTEM_MEMORY: u64 = 54 << 20;

/// Changes whenever this module makes something else from the same packages and files.
const RECIPE: &str = "1";

/// What belongs to a Debian system besides what is required or important.
fn added(architecture: Architecture) -> [&'static str; 4] {
    [
        "dbus",
        architecture.kernel_package(),
        "openssh-server",
        "systemd-resolved",
    ]
}

/// What is important elsewhere: here systemd has the network and the timers, there is no firmware that
/// describes the machine, and nobody sees debconf's questions.
const LEFT_OUT: [&str; 10] = [
    "apt-utils",
    "cron",
    "cron-daemon-common",
    "debconf-i18n",
    "dhcpcd-base",
    "dmidecode",
    "ifupdown",
    "logrotate",
    "vim-common",
    "vim-tiny",
];

/// Which Debian system is wanted, and where from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DebianRequest {
    /// `debian`, or `debian:SUITE` for another suite.
    pub name: String,
    /// Address of the Debian mirror; found by [`crate::find_mirror`] if `None`.
    pub mirror: Option<String>,
    /// The suite, where the name gives none; `trixie` if `None`.
    pub suite: Option<String>,
    /// For which machines.
    pub architecture: Architecture,
    /// Packages to have besides the usual ones.
    pub include: Vec<String>,
    /// Asks the mirror whether there are newer packages than those of a template.
    pub refresh: bool,
}

/// A Debian system that machines can be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianImage {
    /// Its name with the suite and what it includes: `debian:trixie+git`.
    pub name: String,
    /// The kernel: a RISC-V Linux `Image`, or a `bzImage` for x86-64.
    pub kernel: PathBuf,
    /// The initial RAM disk, which mounts `/dev/vda`.
    pub initrd: PathBuf,
    /// The raw image of the disk. It never changes and is not to be written to; a later version is
    /// another file, and this one is removed then: link or copy what is to stay.
    pub disk: PathBuf,
    /// The kernel's command line.
    pub cmdline: String,
    /// What its guests need to get ready.
    pub least_memory: LeastMemory,
    /// What `uname -r` says in the guest.
    pub kernel_version: String,
    /// The Debian packages that it was built from, as `(name, version)`.
    pub packages: Vec<(String, String)>,
}

/// The record of a template; written last, it makes the template valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    name: String,
    kernel_version: String,
    recipe: Sha256,
    suite_date: Timestamp,
    built: Timestamp,
    sources: Vec<AptSource>,
    packages: Vec<PackageRecord>,
    kernel: KeptFile,
    initrd: KeptFile,
    disk: KeptFile,
}

/// A file of the template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptFile {
    file: String,
    #[serde(flatten)]
    stamp: Stamp,
    /// Bytes on the host's disk.
    space: u64,
}

/// Makes a template ready, from those there are or from the mirror.
pub(crate) fn ensure(
    setup: &Setup,
    request: &DebianRequest,
    runner: &dyn RunMachine,
    progress: &dyn Progress,
) -> Result<DebianImage, Error> {
    let variant = Variant::new(&request.name, request.suite.as_deref(), &request.include)?;
    let architecture = request.architecture;
    let folder = Folder::of(setup, &variant.folder(), architecture);
    if !request.refresh
        && let Some(manifest) = folder.usable(&Silent)
    {
        return Ok(folder.image(&manifest));
    }
    let _lock = setup.lock(&lock(&variant.folder(), architecture), progress)?;
    // Another process may have built it while this one waited.
    let there = folder.usable(progress);
    if let Some(manifest) = &there
        && !request.refresh
    {
        return Ok(folder.image(manifest));
    }
    let suites = Suites::open(
        setup,
        request.mirror.as_deref(),
        &variant.suite,
        architecture,
        progress,
    )?;
    let chosen = choose(&suites, &variant, architecture)?;
    let records: Vec<PackageRecord> = chosen.iter().map(|(_, record)| record.clone()).collect();
    if let Some(manifest) = there
        && manifest.packages == records
        && manifest.sources == suites.sources
    {
        return Ok(folder.image(&manifest));
    }
    let busybox = suites.main().package("busybox-static")?;
    suites.fetch_all(&chosen)?;
    suites.main().fetch(&busybox)?;
    let packages: Vec<Package> = records.iter().map(|record| record.package(setup)).collect();
    let build = Build {
        folder: &folder,
        staging: folder.path.join(".building"),
        plan: system::Plan {
            architecture,
            packages: &packages,
            sources: &suites.sources,
            date: suites.date().as_second(),
            size: DISK_SIZE,
            uuid: random()?,
        },
    };
    let built = build.run(&busybox.package(setup), runner, progress);
    // What a failure leaves is of no use, and the next attempt begins with removing it.
    let _ = fs::remove_dir_all(&build.staging);
    let built = built?;
    let manifest = Manifest {
        name: variant.title(),
        kernel_version: built.kernel_version,
        recipe: recipe(architecture),
        suite_date: suites.date(),
        built: Timestamp::now(),
        packages: records,
        sources: suites.sources,
        kernel: built.kernel,
        initrd: built.initrd,
        disk: built.disk,
    };
    folder.publish(&manifest)?;
    Ok(folder.image(&manifest))
}

/// Removes a template, by the name that [`list`] gives it; the suite may be left out.
pub(crate) fn remove(
    setup: &Setup,
    name: &str,
    architecture: Architecture,
    needed: &[PathBuf],
    progress: &dyn Progress,
) -> Result<String, Error> {
    let name = match name.strip_prefix(NAME) {
        Some("") => format!("{NAME}:{DEFAULT_SUITE}"),
        _ => name.to_owned(),
    };
    let is_named = |folder: &String| {
        let manifest = Folder::of(setup, folder, architecture).manifest();
        manifest.is_some_and(|manifest| manifest.name == name)
    };
    let Some(variant) = folders(setup, architecture).find(is_named) else {
        return Err(Error::NotHere { name });
    };
    let _lock = setup.lock(&lock(&variant, architecture), progress)?;
    let folder = Folder::of(setup, &variant, architecture);
    let disk = folder.manifest().map(|manifest| manifest.disk.file);
    let path = folder.path.join(disk.unwrap_or_default());
    if kept::is_needed(&path, needed) {
        return Err(Error::Needed { name, path });
    }
    kept::remove(&folder.path, &name)?;
    Ok(name)
}

/// What whoever changes a template holds.
fn lock(variant: &str, architecture: Architecture) -> String {
    architecture.mark(&format!("{NAME}:{variant}"))
}

/// The names of the folders that may hold templates.
fn folders(setup: &Setup, architecture: Architecture) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(Folder::all(setup, architecture));
    let entries = entries.into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

/// The templates that there are, and the one that there could be.
pub(crate) fn list(setup: &Setup) -> Vec<ImageSummary> {
    let mut names = vec![(Architecture::default(), DEFAULT_SUITE.to_owned())];
    let known = |architecture| folders(setup, architecture).map(move |name| (architecture, name));
    names.extend(Architecture::ALL.into_iter().flat_map(known));
    names[1..]
        .sort_by_key(|(architecture, name)| (name != DEFAULT_SUITE, name.clone(), *architecture));
    names.dedup();
    let summaries = names.iter().filter_map(|(architecture, name)| {
        let manifest = Folder::of(setup, name, *architecture).manifest();
        let is_default = name == DEFAULT_SUITE && *architecture == Architecture::default();
        if manifest.is_none() && !is_default {
            return None;
        }
        let known =
            |text: fn(&Manifest) -> String| manifest.as_ref().map_or_else(String::new, text);
        Some(ImageSummary {
            name: manifest
                .as_ref()
                .map_or_else(|| format!("{NAME}:{name}"), |m| m.name.clone()),
            architecture: *architecture,
            description: DESCRIPTION.to_owned(),
            cached: manifest.is_some(),
            size: manifest.as_ref().map_or(0, Manifest::space),
            kernel_version: known(|m| m.kernel_version.clone()),
            digest: None,
            built: known(|m| m.built.to_string()),
        })
    });
    summaries.collect()
}

/// The packages of a variant, each after what it depends on, with the suite that each is from.
fn choose(
    suites: &Suites<'_>,
    variant: &Variant,
    architecture: Architecture,
) -> Result<Vec<(usize, PackageRecord)>, Error> {
    let universe = Universe::new(&variant.suite, suites.indices());
    let mut names: Vec<&str> = variant.include.iter().map(String::as_str).collect();
    names.extend(
        universe
            .at_least(Priority::Important)
            .filter(|name| !LEFT_OUT.contains(name)),
    );
    names.extend(added(architecture));
    let chosen = universe.resolve(&names)?;
    chosen
        .iter()
        .map(|choice| {
            Ok((
                choice.index,
                PackageRecord::read(choice.name, &choice.paragraph)?,
            ))
        })
        .collect()
}

/// What templates are built from, besides packages; another recipe means another template.
fn recipe(architecture: Architecture) -> Sha256 {
    let parts = [
        RECIPE.to_owned(),
        added(architecture).join(" "),
        LEFT_OUT.join(" "),
        initrd::recipe(),
        files::recipe(architecture),
    ];
    Sha256::of(parts.join("\n").as_bytes())
}

fn random() -> Result<[u8; 16], Error> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| clade_store::Error::io("read", path, error))?;
    Ok(bytes)
}

/// A template that is being built.
struct Build<'a> {
    folder: &'a Folder,
    /// Where its files are until they are finished.
    staging: PathBuf,
    plan: system::Plan<'a>,
}

struct Built {
    kernel_version: String,
    kernel: KeptFile,
    initrd: KeptFile,
    disk: KeptFile,
}

impl Build<'_> {
    fn run(
        &self,
        busybox: &Package,
        runner: &dyn RunMachine,
        progress: &dyn Progress,
    ) -> Result<Built, Error> {
        // A process that was killed may have left something.
        let _ = fs::remove_dir_all(&self.staging);
        clade_store::create_folder(&self.staging)?;
        self.check_space()?;
        let disk = self.staging.join("disk");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&disk)
            .map_err(|error| clade_store::Error::io("create", &disk, error))?;
        let boot = system::unpack(&self.plan, busybox, file, progress)?;
        let (kernel, initrd) = (self.staging.join("kernel"), self.staging.join("initrd"));
        clade_store::write(&kernel, &boot.kernel)?;
        clade_store::write(&initrd, &boot.initrd)?;
        let first = FirstBoot {
            architecture: self.plan.architecture,
            kernel: kernel.clone(),
            initrd: initrd.clone(),
            cmdline: String::new(),
            disk: disk.clone(),
        };
        let word = Sha256::of(&random()?).short();
        let log = self.folder.path.join("configure.log");
        first.run(runner, &word, self.plan.packages.len(), &log, progress)?;
        Ok(Built {
            kernel_version: boot.kernel_version,
            kernel: self.keep("kernel", &kernel, &word)?,
            initrd: self.keep("initrd", &initrd, &word)?,
            disk: self.keep("disk", &disk, &word)?,
        })
    }

    fn check_space(&self) -> Result<(), Error> {
        let free = clade_store::free_space(&self.staging)?;
        if free < NEEDED_SPACE {
            return Err(Error::NoSpace {
                what: "the image debian".to_owned(),
                folder: self.folder.path.clone(),
                needed: NEEDED_SPACE,
                free,
            });
        }
        Ok(())
    }

    /// Gives a finished file its name, and makes it hard to write to by mistake.
    fn keep(&self, kind: &str, path: &Path, word: &str) -> Result<KeptFile, Error> {
        let name = format!("{kind}-{word}");
        let kept = self.folder.path.join(&name);
        fs::set_permissions(path, Permissions::from_mode(0o444))
            .map_err(|error| clade_store::Error::io("protect", path, error))?;
        clade_store::rename(path, &kept)?;
        KeptFile::of(&self.folder.path, name)
    }
}

impl KeptFile {
    fn of(folder: &Path, file: String) -> Result<Self, Error> {
        let path = folder.join(&file);
        let meta =
            fs::metadata(&path).map_err(|error| clade_store::Error::io("inspect", &path, error))?;
        Ok(Self {
            file,
            stamp: Stamp::of(&path)?,
            space: meta.blocks() * 512,
        })
    }
}

impl Manifest {
    fn files(&self) -> [&KeptFile; 3] {
        [&self.kernel, &self.initrd, &self.disk]
    }

    fn space(&self) -> u64 {
        self.files().iter().map(|file| file.space).sum()
    }
}

/// Where one variant's template is kept.
struct Folder {
    path: PathBuf,
    architecture: Architecture,
}

impl Folder {
    fn of(setup: &Setup, name: &str, architecture: Architecture) -> Self {
        Self {
            path: Self::all(setup, architecture).join(name),
            architecture,
        }
    }

    /// The folder with those of all variants.
    fn all(setup: &Setup, architecture: Architecture) -> PathBuf {
        architecture.part_of(setup.data.join("images")).join(NAME)
    }

    fn manifest_path(&self) -> PathBuf {
        self.path.join(kept::MANIFEST)
    }

    fn manifest(&self) -> Option<Manifest> {
        let manifest: Manifest = kept::read(&self.manifest_path())?;
        let plain = |file: &&KeptFile| !file.file.contains('/');
        manifest.files().iter().all(plain).then_some(manifest)
    }

    /// The manifest, if it is of this version of Clade and the files are as they were.
    fn usable(&self, progress: &dyn Progress) -> Option<Manifest> {
        let manifest = self
            .manifest()
            .filter(|m| m.recipe == recipe(self.architecture))?;
        for file in manifest.files() {
            if !file.stamp.holds(&self.path.join(&file.file)) {
                progress.message(&format!(
                    "the image {} is damaged ({} is not what it was); building it again",
                    manifest.name,
                    self.path.join(&file.file).display()
                ));
                return None;
            }
        }
        Some(manifest)
    }

    /// Makes a manifest the valid one, and removes the files of those before.
    fn publish(&self, manifest: &Manifest) -> Result<(), Error> {
        kept::write(&self.manifest_path(), manifest)?;
        kept::sweep(&self.path, &manifest.files().map(|file| file.file.as_str()));
        Ok(())
    }

    fn image(&self, manifest: &Manifest) -> DebianImage {
        let path = |file: &KeptFile| self.path.join(&file.file);
        DebianImage {
            name: manifest.name.clone(),
            kernel: path(&manifest.kernel),
            initrd: path(&manifest.initrd),
            disk: path(&manifest.disk),
            cmdline: "console=hvc0 quiet".to_owned(),
            least_memory: LeastMemory::new(
                self.architecture,
                manifest.initrd.stamp.size(),
                SYSTEM_MEMORY,
            ),
            kernel_version: manifest.kernel_version.clone(),
            packages: manifest
                .packages
                .iter()
                .map(|package| (package.name.clone(), package.version.clone()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
