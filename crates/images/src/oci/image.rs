//! OCI images in the cache: layers by their checksums, and file systems made of them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clade_ext4::{Builder, Options};
use clade_store::{Sha256, Staged};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::archive::ImageArchive;
use super::document::{Config, Descriptor, Manifest, Process};
use super::layers;
use super::layout::Layout;
use super::name::Name;
use super::registry::Registry;
use super::source::{Source, Watched, foreign, resolve};
use crate::archive::Setup;
use crate::{Error, ImageSummary, Progress};

/// Changes whenever the same layers make another file system.
const RECIPE: u32 = 1;

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
    /// The checksum of its manifest for linux/riscv64.
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

/// The record beside a file system; written last, it makes it valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    recipe: u32,
    built: Timestamp,
    process: OciProcess,
    /// The file's size and date, in nanoseconds since 1970: whoever changes it changes them.
    root: (u64, i128),
}

/// What a name stood for when it was last asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pulled {
    name: String,
    digest: Sha256,
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
        && let Some(digest) = cache.digest_of(&whole)
        && let Some(image) = cache.image(&whole, digest)
    {
        return Ok(image);
    }
    let mut source: Box<dyn Source> = match &name {
        Name::Registry(reference) => Box::new(Registry::new(
            reference,
            &request.insecure_registries,
            setup.pause,
        )?),
        Name::Layout { folder, tag } => Box::new(Layout::new(folder, tag.as_deref(), &whole)),
        Name::Archive { file, tag } => Box::new(ImageArchive::open(file, tag.as_deref(), &whole)?),
    };
    let (digest, manifest) = resolve(&mut *source, &whole)?;
    let image = match cache.image(&whole, digest) {
        Some(image) => image,
        None => {
            let _lock = setup.lock(&format!("image-{}", digest.short()), progress)?;
            // Another process may have built it while this one waited.
            match cache.image(&whole, digest) {
                Some(image) => image,
                None => {
                    let making = Making {
                        setup,
                        cache: &cache,
                        name: &whole,
                        progress,
                    };
                    making.make(&mut *source, digest, &manifest)?
                }
            }
        }
    };
    cache.remember(&whole, digest)?;
    Ok(image)
}

/// The OCI images in the cache.
pub(crate) fn list(setup: &Setup) -> Vec<ImageSummary> {
    let cache = Cache::of(setup);
    let mut images: Vec<_> = cache
        .pulled()
        .filter_map(|Pulled { name, digest }| {
            let record = cache.record(digest)?;
            let root = fs::metadata(cache.root(digest)).ok()?;
            Some(ImageSummary {
                name,
                description: describe(&record.process),
                cached: true,
                size: root.blocks() * 512,
                kernel_version: String::new(),
                digest: Some(digest),
                built: record.built.to_string(),
            })
        })
        .collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    images
}

fn describe(process: &OciProcess) -> String {
    let words = process.entrypoint.iter().chain(&process.command);
    let words: Vec<_> = words.map(String::as_str).collect();
    format!("OCI image: {}", words.join(" "))
}

/// Where the cache keeps OCI images.
struct Cache(PathBuf);

impl Cache {
    fn of(setup: &Setup) -> Self {
        Self(setup.cache.join("oci"))
    }

    fn blob(&self, sum: Sha256) -> PathBuf {
        self.0.join("blobs").join(sum.to_string())
    }

    fn root(&self, digest: Sha256) -> PathBuf {
        self.0
            .join("images")
            .join(digest.to_string())
            .join("root.ext4")
    }

    fn record_path(&self, digest: Sha256) -> PathBuf {
        self.root(digest).with_file_name("image.json")
    }

    fn name_path(&self, name: &str) -> PathBuf {
        let file = format!("{}.json", Sha256::of(name.as_bytes()).short());
        self.0.join("names").join(file)
    }

    fn digest_of(&self, name: &str) -> Option<Sha256> {
        let pulled: Pulled = read_json(&self.name_path(name))?;
        (pulled.name == name).then_some(pulled.digest)
    }

    fn remember(&self, name: &str, digest: Sha256) -> Result<(), Error> {
        if self.digest_of(name) == Some(digest) {
            return Ok(());
        }
        let name_path = self.name_path(name);
        let name = name.to_owned();
        write_json(&name_path, &Pulled { name, digest })
    }

    fn pulled(&self) -> impl Iterator<Item = Pulled> {
        let names = fs::read_dir(self.0.join("names")).into_iter().flatten();
        names.filter_map(|entry| read_json(&entry.ok()?.path()))
    }

    /// The record of an image that is there, made by this version of Clade and not changed since.
    fn record(&self, digest: Sha256) -> Option<Record> {
        let record: Record = read_json(&self.record_path(digest))?;
        let root = stamp(&self.root(digest)).ok()?;
        (record.recipe == RECIPE && record.root == root).then_some(record)
    }

    fn image(&self, name: &str, digest: Sha256) -> Option<OciImage> {
        let record = self.record(digest)?;
        Some(OciImage {
            name: name.to_owned(),
            digest,
            root: self.root(digest),
            process: record.process,
        })
    }
}

/// An image on its way into the cache.
struct Making<'a> {
    setup: &'a Setup,
    cache: &'a Cache,
    name: &'a str,
    progress: &'a dyn Progress,
}

impl Making<'_> {
    fn make(
        &self,
        source: &mut dyn Source,
        digest: Sha256,
        manifest: &Manifest,
    ) -> Result<OciImage, Error> {
        let json = fs::read(self.fetch(source, &manifest.config, "configuration")?)
            .map_err(|error| Error::malformed("the image's configuration", error))?;
        let config = Config::parse(&json, manifest.layers.len())?;
        if let Some(platform) = config.foreign_platform() {
            return Err(foreign(self.name, &[platform]));
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
            built: Timestamp::now(),
            process: config.process().into(),
            root: stamp(&self.cache.root(digest))
                .map_err(|error| Error::malformed("the image's file system", error))?,
        };
        write_json(&self.cache.record_path(digest), &record)?;
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
        let sum = descriptor.sha256()?;
        let path = self.cache.blob(sum);
        clade_store::create_folder(path.parent().unwrap_or(&path))?;
        let lock = format!("layer-{}", sum.short());
        let _lock = self.setup.lock(&lock, self.progress)?;
        if !path.exists() || Sha256::of_file(&path)? != sum {
            source.blob(descriptor, label, &path, self.progress)?;
        }
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

fn stamp(path: &Path) -> io::Result<(u64, i128)> {
    let meta = fs::metadata(path)?;
    let nanoseconds = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    Ok((meta.len(), nanoseconds))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::malformed("the image's record", error))?;
    Ok(clade_store::write(path, &json)?)
}
