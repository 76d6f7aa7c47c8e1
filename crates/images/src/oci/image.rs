//! OCI images in the cache: layers by their checksums, and file systems made of them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clade_ext4::{Builder, Options};
use clade_store::{Sha256, Staged};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::archive::ImageArchive;
use super::cache::{Cache, LOCK, Record};
use super::document::{Config, Descriptor, Manifest, Process};
use super::layers;
use super::layout::Layout;
use super::name::Name;
use super::registry::{Purpose, Registry};
use super::source::{Source, Watched, foreign, resolve};
use crate::archive::Setup;
use crate::kept::{self, Stamp};
use crate::{Architecture, Error, Progress};

/// Changes whenever the same layers make another file system.
pub(super) const RECIPE: u32 = 1;

/// Bytes of a file system: generous, since only what is written takes space on the host.
const ROOT_SIZE: u64 = 16 << 30;

/// Layers unpack to some multiple of their size; a file system has this multiple, at least.
const ROOT_PER_LAYER_BYTE: u64 = 8;

/// Which OCI image is wanted, and where from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OciRequest {
    /// A reference as Docker writes it (`alpine`, `host:5000/name:tag`, `name@sha256:...`),
    /// `oci:FOLDER[:TAG]`, `oci-archive:FILE[:TAG]`, or the path of either.
    pub name: String,
    /// For which machines.
    pub architecture: Architecture,
    /// Registries, as `HOST[:PORT]`, that are spoken to without encryption; those on this host are in
    /// any case.
    pub insecure_registries: Vec<String>,
    /// Asks the registry whether there is a newer image of this name.
    pub refresh: bool,
}

/// An OCI image that is ready to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciImage {
    /// Its whole name: `docker.io/library/alpine:latest`.
    pub name: String,
    /// The checksum of its manifest.
    pub digest: Sha256,
    /// The raw image of an ext4 file system; it never changes.
    pub root: PathBuf,
    /// What it is for.
    pub process: OciProcess,
}

/// The process that an image is for, as its author says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciProcess {
    /// The program, with its first arguments.
    pub entrypoint: Vec<String>,
    /// More arguments, or the program if there is no entrypoint; another command replaces them.
    pub command: Vec<String>,
    /// `NAME=VALUE` each.
    pub environment: Vec<String>,
    /// A name or number, perhaps with `:` and a group's; root if empty.
    pub user: String,
    /// The folder to start in; the root if empty.
    pub folder: String,
}

impl From<Process> for OciProcess {
    fn from(process: Process) -> Self {
        Self {
            entrypoint: process.entrypoint.unwrap_or_default(),
            command: process.cmd.unwrap_or_default(),
            environment: process.env.unwrap_or_default(),
            user: process.user.unwrap_or_default(),
            folder: process.working_dir.unwrap_or_default(),
        }
    }
}

/// Makes the image ready, from the cache or from where it is.
pub(crate) fn ensure(
    setup: &Setup,
    request: &OciRequest,
    progress: &dyn Progress,
) -> Result<OciImage, Error> {
    let name = Name::parse(&request.name)?;
    let whole = name.to_string();
    let cache = Cache::of(setup);
    if matches!(name, Name::Registry(_))
        && !request.refresh
        && let Some(digest) = cache.digest_of(&whole, request.architecture)
        && let Some(image) = cache.image(&whole, request.architecture, digest)
    {
        return Ok(image);
    }
    let mut source: Box<dyn Source> = match &name {
        Name::Registry(reference) => Box::new(Registry::new(
            reference,
            &request.insecure_registries,
            Purpose::FetchImage,
            setup.pause,
        )?),
        Name::Layout { folder, tag } => Box::new(Layout::new(folder, tag.as_deref(), &whole)),
        Name::Archive { file, tag } => Box::new(ImageArchive::open(file, tag.as_deref(), &whole)?),
    };
    let (digest, manifest) = resolve(&mut *source, &whole, request.architecture)?;
    // Until it has its name, nobody may take it for one that nobody needs.
    let _named = setup.share(LOCK, progress)?;
    let image = match cache.image(&whole, request.architecture, digest) {
        Some(image) => image,
        None => {
            let making = Making {
                setup,
                cache: &cache,
                name: &whole,
                architecture: request.architecture,
                progress,
            };
            making.make_once(&mut *source, digest, &manifest)?
        }
    };
    cache.remember(&whole, request.architecture, digest)?;
    Ok(image)
}

/// An image on its way into the cache.
struct Making<'a> {
    setup: &'a Setup,
    cache: &'a Cache,
    name: &'a str,
    architecture: Architecture,
    progress: &'a dyn Progress,
}

impl Making<'_> {
    fn make_once(
        &self,
        source: &mut dyn Source,
        digest: Sha256,
        manifest: &Manifest,
    ) -> Result<OciImage, Error> {
        let lock = format!("image-{}", digest.short());
        let _lock = self.setup.lock(&lock, self.progress)?;
        // Another process may have made it while this one waited.
        match self.cache.image(self.name, self.architecture, digest) {
            Some(image) => Ok(image),
            None => self.make(source, digest, manifest),
        }
    }

    fn make(
        &self,
        source: &mut dyn Source,
        digest: Sha256,
        manifest: &Manifest,
    ) -> Result<OciImage, Error> {
        let json = fs::read(self.fetch(source, &manifest.config, "configuration")?)
            .map_err(|error| Error::malformed("the image's configuration", error))?;
        let config = Config::parse(&json, manifest.layers.len())?;
        if let Some(platform) = config.foreign_platform(self.architecture) {
            return Err(foreign(self.name, &[platform], self.architecture));
        }
        let count = manifest.layers.len();
        let mut layers = Vec::new();
        for (index, layer) in manifest.layers.iter().enumerate() {
            let label = format!("layer {} of {count}", index + 1);
            layers.push(self.fetch(source, layer, &label)?);
        }
        self.build(&layers, &config.diff_ids()?, digest)?;
        let record = Record {
            recipe: RECIPE,
            architecture: self.architecture,
            built: Timestamp::now(),
            process: config.process().into(),
            root: Stamp::of(&self.cache.root(digest))?,
            blobs: manifest.blobs()?,
        };
        kept::write(&self.cache.record_path(digest), &record)?;
        Ok(OciImage {
            name: self.name.to_owned(),
            digest,
            root: self.cache.root(digest),
            process: record.process,
        })
    }

    /// Brings a blob into the cache, unless it is there and intact.
    fn fetch(
        &self,
        source: &mut dyn Source,
        descriptor: &Descriptor,
        label: &str,
    ) -> Result<PathBuf, Error> {
        let blob = (descriptor, label);
        let (path, _) = self.cache.fetch(self.setup, source, blob, self.progress)?;
        Ok(path)
    }

    /// Makes the file system of layers, which are compared with their checksums as they are unpacked.
    fn build(&self, layers: &[PathBuf], sums: &[Sha256], digest: Sha256) -> Result<(), Error> {
        let packed: u64 = layers.iter().map(|path| length(path)).sum();
        let staged = Staged::create(&self.cache.root(digest))?;
        let wrong = |error: &dyn ToString| {
            Error::malformed(format!("the image {}", self.name), error.to_string())
        };
        let file = staged.file().try_clone().map_err(|error| wrong(&error))?;
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&digest.as_bytes()[..16]);
        let options = Options {
            size: ROOT_SIZE.max(packed.saturating_mul(ROOT_PER_LAYER_BYTE)),
            uuid,
            ..Options::default()
        };
        let mut root = Builder::new(file, &options).map_err(|error| wrong(&error))?;
        let count = layers.len();
        for (index, (layer, sum)) in layers.iter().zip(sums).enumerate() {
            let label = format!("unpacking layer {} of {count}", index + 1);
            self.progress.begin(&label, length(layer));
            let applied = self.apply(&mut root, layer);
            self.progress.finish();
            let actual = applied.map_err(|error| wrong(&error))?;
            if actual != *sum {
                return Err(Error::BlobChecksum {
                    name: self.name.to_owned(),
                    expected: *sum,
                    actual,
                });
            }
        }
        root.finish().map_err(|error| wrong(&error))?;
        Ok(staged.commit()?)
    }

    fn apply(&self, root: &mut Builder, layer: &Path) -> io::Result<Sha256> {
        let packed = Watched {
            input: File::open(layer)?,
            progress: self.progress,
        };
        layers::apply(root, packed)
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}
