//! Where an image's documents and layers come from.

use std::io::{self, Read};
use std::path::Path;

use clade_store::Sha256;

use super::document::{Descriptor, Index, Manifest, Top};
use super::template::is_template;
use crate::{Architecture, Error, Progress};

/// How deep an index may lie in another.
const MAX_DEPTH: u32 = 4;

/// A registry, a folder or an archive. What it says is checked by whoever asks, but for blobs.
pub(crate) trait Source {
    /// The document at the top: an index or a manifest.
    fn top(&mut self) -> Result<Vec<u8>, Error>;

    /// An index or a manifest that another index names.
    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error>;

    /// Brings a configuration or a layer to the file `target`, which appears only when its checksum
    /// is right. `label` is what to call it in few words.
    fn blob(
        &mut self,
        descriptor: &Descriptor,
        label: &str,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error>;
}

/// Finds the manifest for Linux on this architecture, and its checksum. `name` is the image's, for people.
pub(crate) fn resolve(
    source: &mut dyn Source,
    name: &str,
    architecture: Architecture,
) -> Result<(Sha256, Manifest), Error> {
    let mut json = source.top()?;
    for _ in 0..MAX_DEPTH {
        match Top::parse(&json)? {
            Top::Manifest(manifest) if is_template(&manifest.config) => {
                return Err(Error::IsTemplate {
                    name: name.to_owned(),
                });
            }
            Top::Manifest(manifest) => return Ok((Sha256::of(&json), manifest)),
            Top::Index(index) => json = chosen(source, name, &index, architecture)?,
        }
    }
    Err(Error::malformed(
        format!("the image {name}"),
        "its indexes are nested too deeply",
    ))
}

fn chosen(
    source: &mut dyn Source,
    name: &str,
    index: &Index,
    architecture: Architecture,
) -> Result<Vec<u8>, Error> {
    let descriptor = index
        .choose(architecture)
        .map_err(|platforms| foreign(name, &platforms, architecture))?;
    let expected = descriptor.sha256()?;
    let json = source.manifest(descriptor)?;
    match Sha256::of(&json) {
        actual if actual == expected => Ok(json),
        actual => Err(Error::BlobChecksum {
            name: name.to_owned(),
            expected,
            actual,
        }),
    }
}

/// The image is for other machines than wanted.
pub(crate) fn foreign(name: &str, platforms: &[String], wanted: Architecture) -> Error {
    let platforms = match platforms {
        [] => "no platform that it names".to_owned(),
        names => names.join(", "),
    };
    Error::Platform {
        wanted,
        name: name.to_owned(),
        platforms,
    }
}

/// Tells of what is read.
pub(crate) struct Watched<'a, R> {
    pub(crate) input: R,
    pub(crate) progress: &'a dyn Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}
