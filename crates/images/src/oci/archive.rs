//! Images in tar archives: OCI image layouts (`skopeo`, `buildah`, `docker buildx`, and `docker save`
//! since Docker 25), and what `docker save` wrote before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::path::{Component, Path, PathBuf};

use clade_store::Sha256;
use serde::Deserialize;
use serde_json::json;

use super::document::{Config, Descriptor};
use super::layout::{blob_path, copy_blob, read_document, tagged};
use super::source::Source;
use crate::{Error, Progress};

/// Most files of an archive.
const MAX_MEMBERS: usize = 100_000;

/// An archive, with the places of its files.
pub(crate) struct ImageArchive {
    file: File,
    members: BTreeMap<PathBuf, Member>,
    /// The places of blobs that are not named after their checksums.
    blobs: BTreeMap<Sha256, Member>,
    tag: Option<String>,
    /// As people write it.
    name: String,
}

/// Where a file of the archive lies in it, in bytes.
#[derive(Debug, Clone, Copy)]
struct Member {
    start: u64,
    size: u64,
}

/// An image in `manifest.json`, as `docker save` writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: PathBuf,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<PathBuf>,
}

impl ImageArchive {
    /// Reads the names of the archive's files.
    pub(crate) fn open(path: &Path, tag: Option<&str>, name: &str) -> Result<Self, Error> {
        let wrong = |error: io::Error| {
            let reason = format!("{error}; is it a tar archive, not compressed?");
            Error::malformed(format!("the image {name}"), reason)
        };
        let file = File::open(path).map_err(|error| {
            Error::malformed(
                format!("the image {name}"),
                format!("{}: {error}", path.display()),
            )
        })?;
        Ok(Self {
            members: members(&file).map_err(wrong)?,
            file,
            blobs: BTreeMap::new(),
            tag: tag.map(str::to_owned),
            name: name.to_owned(),
        })
    }

    fn wrong(&self, reason: impl ToString) -> Error {
        Error::malformed(format!("the image {}", self.name), reason)
    }

    fn member(&self, path: &Path) -> Result<Member, Error> {
        let missing = || self.wrong(format!("the archive has no {}", path.display()));
        self.members.get(path).copied().ok_or_else(missing)
    }

    fn read(&self, member: Member) -> Result<Take<&File>, Error> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(member.start))
            .map_err(|error| self.wrong(error))?;
        Ok(file.take(member.size))
    }

    fn blob_member(&self, descriptor: &Descriptor) -> Result<Member, Error> {
        match self.blobs.get(&descriptor.sha256()?) {
            Some(member) => Ok(*member),
            None => self.member(Path::new(&blob_path(descriptor)?)),
        }
    }

    /// A manifest for an image that has none.
    fn manifest_of(&mut self, saved: &Saved) -> Result<Vec<u8>, Error> {
        let config = self.member(&saved.config)?;
        let json = read_document(&self.name, self.read(config)?)?;
        let diff_ids = Config::parse(&json, saved.layers.len())?.diff_ids()?;
        let config_sum = Sha256::of(&json);
        self.blobs.insert(config_sum, config);
        let mut layers = Vec::new();
        for (path, sum) in saved.layers.iter().zip(diff_ids) {
            let member = self.member(path)?;
            self.blobs.insert(sum, member);
            layers.push(json!({"digest": format!("sha256:{sum}"), "size": member.size}));
        }
        let config = json!({"digest": format!("sha256:{config_sum}"), "size": json.len()});
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        Ok(manifest.to_string().into_bytes())
    }

    fn saved(&self, manifest: Member) -> Result<Saved, Error> {
        let json = read_document(&self.name, self.read(manifest)?)?;
        let images: Vec<Saved> =
            serde_json::from_slice(&json).map_err(|error| self.wrong(error))?;
        let tags = |image: &Saved| image.repo_tags.clone().unwrap_or_default();
        let known: Vec<_> = images.iter().flat_map(tags).collect();
        let count = images.len();
        let mut fitting = images.into_iter().filter(|image| match &self.tag {
            Some(tag) => tags(image)
                .iter()
                .any(|of| of.ends_with(&format!(":{tag}"))),
            None => count == 1,
        });
        fitting.next().ok_or_else(|| {
            let which = "it holds several images, or none with this tag";
            self.wrong(format!("{which}; there are: {}", known.join(", ")))
        })
    }
}

impl Source for ImageArchive {
    fn top(&mut self) -> Result<Vec<u8>, Error> {
        if let Some(index) = self.members.get(Path::new("index.json")) {
            let json = read_document(&self.name, self.read(*index)?)?;
            return tagged(&self.name, self.tag.as_deref(), json, |descriptor| {
                read_document(&self.name, self.read(self.blob_member(descriptor)?)?)
            });
        }
        let manifest = self.members.get(Path::new("manifest.json")).copied();
        let none = "it is no archive of an image: it has neither index.json nor manifest.json";
        let saved = self.saved(manifest.ok_or_else(|| self.wrong(none))?)?;
        self.manifest_of(&saved)
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        read_document(&self.name, self.read(self.blob_member(descriptor)?)?)
    }

    fn blob(
        &mut self,
        descriptor: &Descriptor,
        label: &str,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let input = self.read(self.blob_member(descriptor)?)?;
        copy_blob(&self.name, input, descriptor, label, target, progress)
    }
}

/// The places of an archive's regular files; older `docker save` links to a layer that it has twice.
fn members(file: &File) -> io::Result<BTreeMap<PathBuf, Member>> {
    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(BufReader::new(file));
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = plain(&entry.path()?);
        let member = match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => Some(Member {
                start: entry.raw_file_position(),
                size: entry.size(),
            }),
            tar::EntryType::Symlink => entry.link_name()?.and_then(|target| {
                let folder = path.parent().unwrap_or(Path::new(""));
                members.get(&plain(&folder.join(target))).copied()
            }),
            _ => None,
        };
        members.extend(member.map(|member| (path, member)));
        if members.len() > MAX_MEMBERS {
            return Err(io::Error::other("it has too many files"));
        }
    }
    Ok(members)
}

/// The path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}
