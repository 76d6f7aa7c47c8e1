//! OCI image layouts in folders (OCI Image Format Specification 1.1, "Image Layout").

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clade_store::{Sha256, Sha256Writer, Staged};

use super::document::{Descriptor, Index, MAX_DOCUMENT, Top};
use super::source::{Source, Watched};
use crate::{Error, Progress};

/// A folder that holds images.
pub(crate) struct Layout {
    folder: PathBuf,
    tag: Option<String>,
    /// As people write it.
    name: String,
}

impl Layout {
    pub(crate) fn new(folder: &Path, tag: Option<&str>, name: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            tag: tag.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    fn open(&self, file: &str) -> Result<File, Error> {
        File::open(self.folder.join(file)).map_err(|error| {
            let reason = format!("{file}: {error}; is the folder an OCI image layout?");
            Error::malformed(format!("the image {}", self.name), reason)
        })
    }
}

impl Source for Layout {
    fn top(&mut self) -> Result<Vec<u8>, Error> {
        let json = read_document(&self.name, self.open("index.json")?)?;
        tagged(&self.name, self.tag.as_deref(), json, |descriptor| {
            read_document(&self.name, self.open(&blob_path(descriptor)?)?)
        })
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        read_document(&self.name, self.open(&blob_path(descriptor)?)?)
    }

    fn blob(
        &mut self,
        descriptor: &Descriptor,
        label: &str,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let file = self.open(&blob_path(descriptor)?)?;
        copy_blob(&self.name, file, descriptor, label, target, progress)
    }
}

/// Where a layout keeps a blob.
pub(crate) fn blob_path(descriptor: &Descriptor) -> Result<String, Error> {
    Ok(format!("blobs/sha256/{}", descriptor.sha256()?))
}

/// Of a layout's index, what has the tag; all of it if no tag is wanted.
pub(crate) fn tagged(
    name: &str,
    tag: Option<&str>,
    json: Vec<u8>,
    read: impl FnOnce(&Descriptor) -> Result<Vec<u8>, Error>,
) -> Result<Vec<u8>, Error> {
    let Some(tag) = tag else { return Ok(json) };
    let Top::Index(Index { manifests }) = Top::parse(&json)? else {
        return Ok(json);
    };
    let found = manifests.iter().find(|of| of.tag() == Some(tag));
    let Some(descriptor) = found else {
        let tags: Vec<_> = manifests.iter().filter_map(Descriptor::tag).collect();
        let reason = format!("it has no tag {tag:?}; there are: {}", tags.join(", "));
        return Err(Error::malformed(format!("the image {name}"), reason));
    };
    let json = read(descriptor)?;
    check(name, descriptor.sha256()?, Sha256::of(&json))?;
    Ok(json)
}

/// Reads a document of ordinary size.
pub(crate) fn read_document(name: &str, input: impl Read) -> Result<Vec<u8>, Error> {
    let mut json = Vec::new();
    let wrong = |reason: String| Error::malformed(format!("the image {name}"), reason);
    input
        .take(MAX_DOCUMENT + 1)
        .read_to_end(&mut json)
        .map_err(|error| wrong(error.to_string()))?;
    if json.len() as u64 > MAX_DOCUMENT {
        return Err(wrong(format!(
            "a document in it is larger than {MAX_DOCUMENT} bytes"
        )));
    }
    Ok(json)
}

/// Copies a blob to `target`, which appears only when its checksum is right.
pub(crate) fn copy_blob(
    name: &str,
    input: impl Read,
    descriptor: &Descriptor,
    label: &str,
    target: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let expected = descriptor.sha256()?;
    let mut staged = Sha256Writer::new(Staged::create(target)?);
    progress.begin(label, descriptor.size);
    let mut input = Watched {
        // One byte more than it should have is enough to know.
        input: input.take(descriptor.size.saturating_add(1)),
        progress,
    };
    let copied = io::copy(&mut input, &mut staged);
    progress.finish();
    let (actual, staged) = staged.finish();
    copied.map_err(|error| staged.write_error(error))?;
    check(name, expected, actual)?;
    Ok(staged.commit()?)
}

fn check(name: &str, expected: Sha256, actual: Sha256) -> Result<(), Error> {
    if actual == expected {
        return Ok(());
    }
    Err(Error::BlobChecksum {
        name: name.to_owned(),
        expected,
        actual,
    })
}
