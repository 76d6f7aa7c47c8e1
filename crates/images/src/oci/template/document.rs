//! The manifest of a template in a registry.

use std::collections::BTreeMap;

use clade_store::FileName;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::oci::document::{Descriptor, TITLE};

/// What the artifact is. Another way to write templates gets another number.
const ARTIFACT: &str = "application/vnd.clade.template.v1";

/// What the artifact is, without its version.
const ARTIFACTS: &str = "application/vnd.clade.template.v";

/// The manifest of the snapshot.
pub(super) const CONFIG: &str = "application/vnd.clade.template.config.v1+json";

/// How the types of all versions' configurations begin.
const CONFIGS: &str = "application/vnd.clade.template.config.";

/// A file of the snapshot; its title is its name.
pub(super) const FILE: &str = "application/vnd.clade.template.file.v1+gzip";

/// Most files that a template has.
const MAX_FILES: usize = 10_000;

/// Whether what has this configuration is a template of whatever version.
pub(crate) fn is_template(config: &Descriptor) -> bool {
    config.media_type.starts_with(CONFIGS)
}

/// A template in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Artifact {
    pub(super) config: Descriptor,
    pub(super) files: BTreeMap<FileName, Descriptor>,
}

/// As it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    artifact_type: String,
    #[serde(default)]
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Artifact {
    /// The manifest's bytes, which are always the same for the same template. `title` is its name, for
    /// people.
    pub(super) fn encode(&self, title: &str) -> Result<Vec<u8>, Error> {
        let files = self.files.iter();
        let written = Written {
            schema_version: 2,
            media_type: OCI_IMAGE_MEDIA_TYPE.to_owned(),
            artifact_type: ARTIFACT.to_owned(),
            config: self.config.clone(),
            layers: files
                .map(|(name, file)| file.clone().titled(name.as_str()))
                .collect(),
            annotations: BTreeMap::from([(TITLE.to_owned(), title.to_owned())]),
        };
        serde_json::to_vec(&written).map_err(|error| Error::malformed("the template", error))
    }

    /// Reads the manifest of what is called `name`.
    pub(super) fn parse(json: &[u8], name: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::malformed(format!("the template {name}"), reason);
        let written: Written =
            serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
        written.check_kind(name)?;
        let count = written.layers.len();
        if count > MAX_FILES {
            return Err(wrong(format!("it has {count} files")));
        }
        let mut files = BTreeMap::new();
        for layer in written.layers {
            let title = layer.title().unwrap_or_default();
            let title = FileName::new(title).map_err(|error| wrong(error.to_string()))?;
            if layer.media_type != FILE {
                return Err(wrong(format!("its file {title} is of an unknown type")));
            }
            if files.insert(title.clone(), layer).is_some() {
                return Err(wrong(format!("it has two files {title}")));
            }
        }
        Ok(Self {
            config: written.config,
            files,
        })
    }
}

impl Written {
    fn check_kind(&self, name: &str) -> Result<(), Error> {
        let no_template = |reason: String| {
            Err(Error::NoTemplate {
                name: name.to_owned(),
                reason,
            })
        };
        let version = self.artifact_type.strip_prefix(ARTIFACTS);
        let version = version.and_then(|version| version.parse::<u32>().ok());
        let indexes = [OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];
        match version {
            Some(1) if self.config.media_type == CONFIG => Ok(()),
            Some(version) if version != 1 => no_template(format!(
                "it is one of version {version}, made by a newer Clade, and this Clade knows \
                 version 1; update Clade"
            )),
            None if self.artifact_type.is_empty() || indexes.contains(&&*self.media_type) => {
                no_template(format!("it is an image; `clade run {name}` runs it"))
            }
            _ => no_template("it is an artifact of another program".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clade_store::Sha256;

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    fn artifact() -> Artifact {
        let file = |content: &[u8]| Descriptor::new(FILE, Sha256::of(content), 7);
        let files = ["a.mem", "kernel"].map(|one| (name(one), file(one.as_bytes()).titled(one)));
        Artifact {
            config: Descriptor::new(CONFIG, Sha256::of(b"{}"), 2),
            files: BTreeMap::from(files),
        }
    }

    fn said(json: &str) -> String {
        Artifact::parse(json.as_bytes(), "host/x:1")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let json = artifact().encode("web").unwrap();
        assert_eq!(Artifact::parse(&json, "x").unwrap(), artifact());
        assert_eq!(json, artifact().encode("web").unwrap());
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["mediaType"], OCI_IMAGE_MEDIA_TYPE);
        assert_eq!(json["artifactType"], ARTIFACT);
        assert_eq!(json["layers"][0]["annotations"][TITLE], "a.mem");
        assert!(is_template(&artifact().config));
    }

    #[test]
    fn what_is_no_template_of_this_version_is_refused_by_name() {
        let written = String::from_utf8(artifact().encode("web").unwrap()).unwrap();
        let with = |from: &str, to: &str| {
            assert!(written.contains(from), "{from}");
            said(&written.replace(from, to))
        };
        let image = said(r#"{"schemaVersion":2,"config":{"digest":"x","size":1},"layers":[]}"#);
        assert!(image.contains("clade run host/x:1"), "{image}");
        let index = said(r#"{"schemaVersion":2,"manifests":[]}"#);
        assert!(index.contains("is an image"), "{index}");
        let newer = with("template.v1", "template.v2");
        assert!(
            newer.contains("version 2") && newer.contains("update Clade"),
            "{newer}"
        );
        assert!(with("vnd.clade.template.v1", "vnd.cncf.helm").contains("another program"));
        assert!(with("config.v1", "config.v9").contains("another program"));
        assert!(with("file.v1", "file.v2").contains("unknown type"));
        assert!(with("\"kernel\"", "\"a.mem\"").contains("two files"));
        assert!(with("\"kernel\"", "\"../kernel\"").contains("../kernel"));
        assert!(
            said("[").contains("host/x:1 cannot be read"),
            "{}",
            said("[")
        );
    }
}
