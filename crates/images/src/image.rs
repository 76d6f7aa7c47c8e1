//! Images in the cache: built once, checked on every use.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clade_store::Sha256;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::archive::{Architecture, Archive, DEFAULT_SUITE, PackageRecord, Setup, check_suite};
use crate::kept::Stamp;
use crate::{Error, LeastMemory, Progress, Silent, kept, mini};

pub(crate) const MINI: &str = "mini";
const MINI_DESCRIPTION: &str =
    "Debian's kernel with busybox in memory: a shell in seconds, nothing kept";

/// Which image is wanted, and where from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `mini`, or `mini:SUITE` for another Debian suite.
    pub name: String,
    /// Address of the Debian mirror; found by [`crate::find_mirror`] if `None`.
    pub mirror: Option<String>,
    /// Debian suite, where the name gives none; `trixie` if `None`.
    pub suite: Option<String>,
    /// For which machines.
    pub architecture: Architecture,
    /// Asks the mirror whether there is a newer version of a cached image.
    pub refresh: bool,
}

/// An image that is ready to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name with the suite: `mini:trixie`.
    pub name: String,
    /// The kernel: a RISC-V Linux `Image`, or a `bzImage` for x86-64.
    pub kernel: PathBuf,
    /// The initramfs: an uncompressed cpio archive.
    pub initrd: PathBuf,
    /// The kernel's command line, without `clade.*` words, which the caller may add:
    /// `clade.term=TERM` gives the shell its `TERM`; `clade.stdin=pipe` makes it take its commands
    /// without echo and prompt. With the latter the guest writes ENQ (0x05) when it is ready for
    /// input: what is sent earlier is echoed. EOT (0x04) at the start of a line ends the input.
    pub cmdline: String,
    /// What its guests need to get ready.
    pub least_memory: LeastMemory,
    /// One line about it for people.
    pub description: String,
    /// What `uname -r` says in the guest.
    pub kernel_version: String,
    /// The Debian packages that it was built from, as `(name, version)`.
    pub packages: Vec<(String, String)>,
}

/// What is known about an image without fetching it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageSummary {
    /// Its name with the suite: `mini:trixie`.
    pub name: String,
    /// For which machines it is.
    pub architecture: Architecture,
    /// One line about it for people.
    pub description: String,
    /// Whether it is in the cache; the fields below are empty or zero if not.
    pub cached: bool,
    /// Bytes of kernel and initramfs together.
    pub size: u64,
    /// What `uname -r` says in the guest.
    pub kernel_version: String,
    /// The checksum of an OCI image's manifest; `None` for images of Clade's own.
    pub digest: Option<Sha256>,
    /// When it was built, in RFC 3339 form.
    pub built: String,
}

/// The record beside a cached image; written last, it makes the image valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    name: String,
    suite: String,
    kernel_version: String,
    recipe: Sha256,
    /// When the suite was published that the packages are from.
    suite_date: Timestamp,
    built: Timestamp,
    packages: Vec<PackageRecord>,
    kernel: ManifestFile,
    initrd: ManifestFile,
}

/// A file of the image, named after its checksum: another version never replaces it in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ManifestFile {
    file: String,
    size: u64,
    sha256: Sha256,
    /// A file that is as it was at a glance is not read.
    #[serde(default)]
    stamp: Option<Stamp>,
}

impl ManifestFile {
    fn is_whole(&self, path: &Path) -> Result<bool, Error> {
        if self.stamp.is_some_and(|stamp| stamp.holds(path)) {
            return Ok(true);
        }
        Ok(path.exists() && Sha256::of_file(path)? == self.sha256)
    }
}

/// Makes the image ready, from the cache or from the mirror.
pub(crate) fn ensure(
    setup: &Setup,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Image, Error> {
    let suite = suite_of(request)?;
    let architecture = request.architecture;
    let folder = Folder::of(setup, suite, architecture);
    if !request.refresh
        && let Some(manifest) = folder.usable(&Silent)?
    {
        return Ok(folder.image(&manifest));
    }
    let _lock = setup.lock(&folder.lock(), progress)?;
    // Another process may have built it while this one waited.
    if !request.refresh
        && let Some(manifest) = folder.usable(progress)?
    {
        return Ok(folder.image(&manifest));
    }
    let archive = Archive::find(
        setup,
        request.mirror.as_deref(),
        suite,
        architecture,
        progress,
    )?
    .now_or_before()?;
    let packages = mini::packages(&archive)?;
    if let Some(manifest) = folder.usable(progress)?
        && manifest.packages == packages
    {
        return Ok(folder.image(&manifest));
    }
    for package in &packages {
        archive.fetch(package)?;
    }
    let date = u32::try_from(archive.date().as_second()).unwrap_or(0);
    let built = mini::build(setup, architecture, &packages, date, progress)?;
    let manifest = Manifest {
        name: format!("{MINI}:{suite}"),
        suite: suite.to_owned(),
        kernel_version: built.kernel_version,
        recipe: mini::recipe(architecture),
        suite_date: archive.date(),
        built: Timestamp::now(),
        packages,
        kernel: folder.keep("kernel", &built.kernel)?,
        initrd: folder.keep("initrd", &built.initrd)?,
    };
    folder.publish(&manifest)?;
    Ok(folder.image(&manifest))
}

/// The known images, and what the cache has of them; of architectures but the first only what it has.
pub(crate) fn list(setup: &Setup) -> Result<Vec<ImageSummary>, Error> {
    let summaries = Architecture::ALL.iter().flat_map(|&architecture| {
        let mut suites = suites(setup, architecture);
        if architecture == Architecture::default() {
            suites.insert(DEFAULT_SUITE.to_owned());
        }
        suites.into_iter().map(move |suite| (architecture, suite))
    });
    let mut summaries: Vec<_> = summaries
        .map(|(architecture, suite)| summary(setup, &suite, architecture))
        .collect();
    let is_other = |image: &ImageSummary| image.name != format!("{MINI}:{DEFAULT_SUITE}");
    summaries.sort_by_cached_key(|image| (is_other(image), image.name.clone()));
    Ok(summaries)
}

/// The suites that there may be images of.
fn suites(setup: &Setup, architecture: Architecture) -> BTreeSet<String> {
    let entries = fs::read_dir(Folder::all(setup, architecture));
    let entries = entries.into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_image = |suite: &String| {
        check_suite(suite).is_ok() && Folder::of(setup, suite, architecture).manifest().is_some()
    };
    names.filter(is_image).collect()
}

fn summary(setup: &Setup, suite: &str, architecture: Architecture) -> ImageSummary {
    let manifest = Folder::of(setup, suite, architecture).manifest();
    let known = |text: fn(&Manifest) -> String| manifest.as_ref().map_or_else(String::new, text);
    ImageSummary {
        name: format!("{MINI}:{suite}"),
        architecture,
        description: MINI_DESCRIPTION.to_owned(),
        cached: manifest.is_some(),
        size: manifest
            .as_ref()
            .map_or(0, |m| m.kernel.size + m.initrd.size),
        kernel_version: known(|m| m.kernel_version.clone()),
        digest: None,
        built: known(|m| m.built.to_string()),
    }
}

/// Removes an image from the cache.
pub(crate) fn remove(
    setup: &Setup,
    name: &str,
    architecture: Architecture,
    progress: &dyn Progress,
) -> Result<String, Error> {
    let request = Request {
        name: name.to_owned(),
        ..Request::default()
    };
    let suite = suite_of(&request)?;
    let name = format!("{MINI}:{suite}");
    let folder = Folder::of(setup, suite, architecture);
    let _lock = setup.lock(&folder.lock(), progress)?;
    kept::remove(&folder.path, &name)?;
    Ok(name)
}

/// The suite that the request's name, or else its own field, asks for.
fn suite_of(request: &Request) -> Result<&str, Error> {
    let (name, tag) = match request.name.split_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (request.name.as_str(), None),
    };
    if name != MINI {
        return Err(Error::UnknownImage {
            name: request.name.clone(),
            known: format!("{MINI} (the same as {MINI}:{DEFAULT_SUITE})"),
        });
    }
    let suite = tag.or(request.suite.as_deref()).unwrap_or(DEFAULT_SUITE);
    check_suite(suite)?;
    Ok(suite)
}

/// Where the cache keeps one image.
struct Folder {
    path: PathBuf,
    suite: String,
    architecture: Architecture,
}

impl Folder {
    fn of(setup: &Setup, suite: &str, architecture: Architecture) -> Self {
        Self {
            path: Self::all(setup, architecture).join(suite),
            suite: suite.to_owned(),
            architecture,
        }
    }

    /// The folder with those of all suites.
    fn all(setup: &Setup, architecture: Architecture) -> PathBuf {
        architecture.part_of(setup.cache.join("images")).join(MINI)
    }

    /// What whoever changes it holds.
    fn lock(&self) -> String {
        let name = format!("{MINI}:{}", self.suite);
        self.architecture.mark(&name)
    }

    fn manifest_path(&self) -> PathBuf {
        self.path.join(kept::MANIFEST)
    }

    fn manifest(&self) -> Option<Manifest> {
        let manifest: Manifest = kept::read(&self.manifest_path())?;
        let plain = |file: &ManifestFile| !file.file.contains('/');
        (plain(&manifest.kernel) && plain(&manifest.initrd)).then_some(manifest)
    }

    /// The manifest, if it is of this version of Clade and the files are what it says.
    fn usable(&self, progress: &dyn Progress) -> Result<Option<Manifest>, Error> {
        let Some(manifest) = self
            .manifest()
            .filter(|manifest| manifest.recipe == mini::recipe(self.architecture))
        else {
            return Ok(None);
        };
        for file in [&manifest.kernel, &manifest.initrd] {
            let path = self.path.join(&file.file);
            if !file.is_whole(&path)? {
                progress.message(&format!(
                    "the cached image {} is damaged ({} is not what it was); building it again",
                    manifest.name,
                    path.display()
                ));
                return Ok(None);
            }
        }
        Ok(Some(manifest))
    }

    fn keep(&self, kind: &str, content: &[u8]) -> Result<ManifestFile, Error> {
        let sha256 = Sha256::of(content);
        let file = format!("{kind}-{}", sha256.short());
        let path = self.path.join(&file);
        clade_store::write(&path, content)?;
        Ok(ManifestFile {
            stamp: Some(Stamp::of(&path)?),
            file,
            size: content.len() as u64,
            sha256,
        })
    }

    /// Makes a manifest the valid one and removes files that neither it nor the one before names:
    /// a machine may be starting from those at this moment.
    fn publish(&self, manifest: &Manifest) -> Result<(), Error> {
        let before = self.manifest();
        kept::write(&self.manifest_path(), manifest)?;
        let in_use: Vec<&str> = before
            .iter()
            .chain([manifest])
            .flat_map(|manifest| [manifest.kernel.file.as_str(), manifest.initrd.file.as_str()])
            .collect();
        kept::sweep(&self.path, &in_use);
        Ok(())
    }

    fn image(&self, manifest: &Manifest) -> Image {
        let path = |file: &ManifestFile| -> PathBuf { self.path.join(&file.file) };
        Image {
            name: manifest.name.clone(),
            kernel: path(&manifest.kernel),
            initrd: path(&manifest.initrd),
            cmdline: "console=hvc0 quiet panic=-1".to_owned(),
            least_memory: LeastMemory::new(self.architecture, manifest.initrd.size, 0),
            description: MINI_DESCRIPTION.to_owned(),
            kernel_version: manifest.kernel_version.clone(),
            packages: manifest
                .packages
                .iter()
                .map(|package| (package.name.clone(), package.version.clone()))
                .collect(),
        }
    }
}
