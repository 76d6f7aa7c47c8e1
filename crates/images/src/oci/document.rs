//! The JSON documents that make an image: index, manifest and configuration (OCI Image Format
//! Specification 1.1), which Docker's own formats resemble closely enough to be read alike.

use std::collections::BTreeMap;

use clade_store::Sha256;
use serde::{Deserialize, Serialize};

use crate::{Architecture, Error};

/// Largest document that is read, in bytes: registries are asked to take 4 MiB (OCI Distribution
/// Specification, section "Pushing Manifests").
pub(crate) const MAX_DOCUMENT: u64 = 4 << 20;
/// Most layers of an image. Docker's limit is 127.
const MAX_LAYERS: usize = 1000;

/// The key of an image's tag among a descriptor's annotations.
const TAG: &str = "org.opencontainers.image.ref.name";

/// The key of a name for people, or of a file.
pub(crate) const TITLE: &str = "org.opencontainers.image.title";

/// Names a document or layer by its checksum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    /// `sha256:` and 64 hexadecimal digits.
    digest: String,
    /// Bytes.
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// Names something of this kind, checksum and size in bytes.
    pub(crate) fn new(media_type: &str, sha256: Sha256, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest(sha256),
            size,
            ..Self::default()
        }
    }

    /// The same, saying which file it is.
    pub(crate) fn titled(mut self, title: &str) -> Self {
        let title = (TITLE.to_owned(), title.to_owned());
        self.annotations.get_or_insert_default().extend([title]);
        self
    }

    /// Which file it is.
    pub(crate) fn title(&self) -> Option<&str> {
        self.annotation(TITLE)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        Some(self.annotations.as_ref()?.get(key)?.as_str())
    }

    /// The checksum.
    pub(crate) fn sha256(&self) -> Result<Sha256, Error> {
        parse_digest(&self.digest).ok_or_else(|| {
            Error::malformed(
                "the image",
                format!("its digest {:?} is not SHA-256", self.digest),
            )
        })
    }

    pub(crate) fn tag(&self) -> Option<&str> {
        self.annotation(TAG)
    }
}

/// Reads `sha256:` and 64 hexadecimal digits.
pub(crate) fn parse_digest(text: &str) -> Option<Sha256> {
    text.strip_prefix("sha256:")?.parse().ok()
}

/// A checksum as registries and documents have it.
pub(crate) fn digest(sha256: Sha256) -> String {
    format!("sha256:{sha256}")
}

/// For which machines something is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
}

impl Platform {
    fn is_for(&self, architecture: Architecture) -> bool {
        self.os == "linux" && self.architecture == architecture.name()
    }

    fn name(&self) -> String {
        let variant = self.variant.as_ref().map(|variant| format!("/{variant}"));
        format!(
            "{}/{}{}",
            self.os,
            self.architecture,
            variant.unwrap_or_default()
        )
    }
}

/// What stands at the top of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Top {
    /// Manifests of several platforms, or images.
    Index(Index),
    /// One image.
    Manifest(Manifest),
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Index {
    pub(crate) manifests: Vec<Descriptor>,
}

/// One image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

impl Manifest {
    /// The checksums of all that it names.
    pub(crate) fn blobs(&self) -> Result<Vec<Sha256>, Error> {
        let all = [&self.config].into_iter().chain(&self.layers);
        all.map(Descriptor::sha256).collect()
    }
}

impl Top {
    /// Tells the two apart by what they hold: not every registry says it otherwise.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Either {
            schema_version: u32,
            manifests: Option<Vec<Descriptor>>,
            config: Option<Descriptor>,
            layers: Option<Vec<Descriptor>>,
        }
        let malformed = |reason: String| Error::malformed("the image's manifest", reason);
        let either: Either =
            serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
        if either.schema_version != 2 {
            return Err(malformed(format!(
                "it is of version {} and only version 2 is known",
                either.schema_version
            )));
        }
        match (either.manifests, either.config, either.layers) {
            (Some(manifests), None, None) => Ok(Self::Index(Index { manifests })),
            (None, Some(config), Some(layers)) if layers.len() <= MAX_LAYERS => {
                Ok(Self::Manifest(Manifest { config, layers }))
            }
            (None, Some(_), Some(_)) => Err(malformed("it has too many layers".to_owned())),
            _ => Err(malformed(
                "it is neither an index nor a manifest".to_owned(),
            )),
        }
    }
}

impl Index {
    /// The manifest for Linux on this architecture; if none says what it is for, the only one there is. Else the
    /// names of the platforms that there are.
    pub(crate) fn choose(&self, architecture: Architecture) -> Result<&Descriptor, Vec<String>> {
        let platform = |descriptor: &Descriptor| descriptor.platform.clone();
        let is_wanted = |descriptor: &&Descriptor| {
            platform(descriptor).is_some_and(|of| of.is_for(architecture))
        };
        if let Some(found) = self.manifests.iter().find(is_wanted) {
            return Ok(found);
        }
        if let [only] = self.manifests.as_slice()
            && only.platform.is_none()
        {
            return Ok(only);
        }
        let names = self.manifests.iter().filter_map(platform);
        // Build tools keep notes beside the images, for no platform.
        let names = names.map(|platform| platform.name());
        let mut names: Vec<_> = names.filter(|name| !name.contains("unknown")).collect();
        names.dedup();
        Err(names)
    }
}

/// What the image's author says about running it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Config {
    #[serde(flatten)]
    platform: Platform,
    config: Option<Process>,
    rootfs: RootFs,
}

/// The process that the image is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Process {
    pub(crate) user: Option<String>,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) working_dir: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl Config {
    /// Reads the configuration of an image with this many layers.
    pub(crate) fn parse(json: &[u8], layers: usize) -> Result<Self, Error> {
        let malformed = |reason: String| Error::malformed("the image's configuration", reason);
        let config: Self =
            serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
        let described = config.rootfs.diff_ids.len();
        if described != layers {
            return Err(malformed(format!(
                "it describes {described} layers, and there are {layers}"
            )));
        }
        Ok(config)
    }

    /// The checksums of the layers, unpacked.
    pub(crate) fn diff_ids(&self) -> Result<Vec<Sha256>, Error> {
        let parse = |text: &String| {
            parse_digest(text).ok_or_else(|| {
                Error::malformed(
                    "the image's configuration",
                    format!("{text:?} is not SHA-256"),
                )
            })
        };
        self.rootfs.diff_ids.iter().map(parse).collect()
    }

    /// The platform's name, unless it is ours.
    pub(crate) fn foreign_platform(&self, architecture: Architecture) -> Option<String> {
        (!self.platform.is_for(architecture)).then(|| self.platform.name())
    }

    pub(crate) fn process(self) -> Process {
        self.config.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RISCV: Architecture = Architecture::Riscv64;
    use serde_json::json;

    fn descriptor(platform: Option<(&str, &str)>) -> serde_json::Value {
        let mut value = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{}", Sha256::of(platform.map_or("", |p| p.1).as_bytes())),
            "size": 7,
        });
        if let Some((os, architecture)) = platform {
            value["platform"] = json!({"os": os, "architecture": architecture});
        }
        value
    }

    fn index(platforms: &[Option<(&str, &str)>]) -> Index {
        let manifests: Vec<_> = platforms.iter().map(|of| descriptor(*of)).collect();
        let json = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        match Top::parse(json.as_bytes()).unwrap() {
            Top::Index(index) => index,
            Top::Manifest(_) => panic!("an index"),
        }
    }

    #[test]
    fn the_manifest_for_riscv64_is_chosen_or_the_others_are_named() {
        let many = index(&[
            Some(("linux", "amd64")),
            Some(("windows", "riscv64")),
            Some(("linux", "riscv64")),
            Some(("unknown", "unknown")),
        ]);
        assert_eq!(
            many.choose(RISCV).unwrap().sha256().unwrap(),
            Sha256::of(b"riscv64")
        );
        assert!(index(&[None]).choose(RISCV).is_ok());
        assert_eq!(index(&[None, None]).choose(RISCV), Err(Vec::new()));
        let foreign = index(&[Some(("linux", "amd64")), Some(("unknown", "unknown"))]);
        assert_eq!(foreign.choose(RISCV), Err(vec!["linux/amd64".to_owned()]));
    }

    #[test]
    fn what_is_neither_index_nor_manifest_is_refused() {
        for json in [
            "",
            "[]",
            "{}",
            r#"{"schemaVersion": 2}"#,
            r#"{"schemaVersion": 1, "manifests": []}"#,
            r#"{"schemaVersion": 2, "manifests": [{"digest": 1, "size": 1}]}"#,
            r#"{"schemaVersion": 2, "manifests": [{"digest": "sha256:0", "size": -1}]}"#,
        ] {
            assert!(Top::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn a_configuration_may_leave_out_almost_everything() {
        let bare = json!({"architecture": "riscv64", "os": "linux", "rootfs": {"diff_ids": []}});
        let config = Config::parse(bare.to_string().as_bytes(), 0).unwrap();
        assert_eq!(config.foreign_platform(RISCV), None);
        assert_eq!(config.process(), Process::default());
        assert!(Config::parse(bare.to_string().as_bytes(), 1).is_err());
        let full = json!({
            "architecture": "arm64", "variant": "v8", "os": "linux", "created": "yesterday",
            "config": {"User": "1000", "Env": null, "Cmd": ["sh"], "ExposedPorts": {"80/tcp": {}}},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", Sha256::of(b""))]},
        });
        let config = Config::parse(full.to_string().as_bytes(), 1).unwrap();
        assert_eq!(
            config.foreign_platform(RISCV).as_deref(),
            Some("linux/arm64/v8")
        );
        assert_eq!(config.diff_ids().unwrap(), [Sha256::of(b"")]);
        assert_eq!(config.process().cmd, Some(vec!["sh".to_owned()]));
    }
}
