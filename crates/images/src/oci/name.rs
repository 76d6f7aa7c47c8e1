//! What people write to say which OCI image they want.

use std::fmt;
use std::path::{Path, PathBuf};

use oci_client::Reference;

use crate::Error;

/// Where an OCI image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// In a registry.
    Registry(Reference),
    /// In a folder that is an OCI image layout.
    Layout {
        folder: PathBuf,
        tag: Option<String>,
    },
    /// In a tar archive, of an OCI image layout or as `docker save` writes it.
    Archive { file: PathBuf, tag: Option<String> },
}

impl Name {
    /// `oci:FOLDER[:TAG]`, `oci-archive:FILE[:TAG]` (or `docker-archive:`), the path of either (with
    /// a slash in front, or beginning with `./` or `../`), or a reference as Docker writes it:
    /// `alpine` is `docker.io/library/alpine:latest`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("oci:") {
            let (folder, tag) = split_tag(path);
            return Ok(Self::Layout { folder, tag });
        }
        for prefix in ["oci-archive:", "docker-archive:"] {
            if let Some(path) = text.strip_prefix(prefix) {
                let (file, tag) = split_tag(path);
                return Ok(Self::Archive { file, tag });
            }
        }
        if ["/", "./", "../"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            let (path, tag) = split_tag(text);
            return Ok(if path.is_dir() {
                Self::Layout { folder: path, tag }
            } else {
                Self::Archive { file: path, tag }
            });
        }
        let reference = text.strip_prefix("docker://").unwrap_or(text);
        reference
            .parse()
            .map(Self::Registry)
            .map_err(|error| Error::BadReference {
                name: text.to_owned(),
                reason: format!("{error}"),
            })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, tag) = match self {
            Self::Registry(reference) => return reference.fmt(formatter),
            Self::Layout { folder, tag } => ("oci", folder, tag),
            Self::Archive { file, tag } => ("oci-archive", file, tag),
        };
        write!(formatter, "{kind}:{}", path.display())?;
        tag.iter().try_for_each(|tag| write!(formatter, ":{tag}"))
    }
}

/// A tag is what follows the last colon, if it can be one and no such file is there.
fn split_tag(text: &str) -> (PathBuf, Option<String>) {
    if !Path::new(text).exists()
        && let Some((path, tag)) = text.rsplit_once(':')
        && !path.is_empty()
        && !tag.is_empty()
        && !tag.contains('/')
    {
        return (path.into(), Some(tag.to_owned()));
    }
    (text.into(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_as_docker_does() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (written, whole) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("riscv64/alpine", "docker.io/riscv64/alpine:latest"),
            ("docker://alpine", "docker.io/library/alpine:latest"),
            (
                "docker.io/library/alpine:3.20",
                "docker.io/library/alpine:3.20",
            ),
            ("ghcr.io/a/b/c:d", "ghcr.io/a/b/c:d"),
            ("localhost:5000/name", "localhost:5000/name:latest"),
            ("localhost/name", "localhost/name:latest"),
            (
                &format!("host.example:5000/name@{digest}"),
                &format!("host.example:5000/name@{digest}"),
            ),
        ] {
            assert_eq!(
                Name::parse(written).unwrap().to_string(),
                whole,
                "{written}"
            );
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_with_the_reason() {
        for text in [
            "",
            "Alpine",
            "a b",
            "alpine:",
            "alpine@sha256:12",
            "a//b",
            "-a",
        ] {
            let error = Name::parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn layouts_and_archives_have_paths_and_perhaps_tags() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a:b");
        std::fs::create_dir(&odd).unwrap();
        let layout = |folder: &str, tag: Option<&str>| Name::Layout {
            folder: folder.into(),
            tag: tag.map(str::to_owned),
        };
        let archive = |file: &str, tag: Option<&str>| Name::Archive {
            file: file.into(),
            tag: tag.map(str::to_owned),
        };
        let odd = odd.to_str().unwrap();
        for (text, name) in [
            ("oci:no-such", layout("no-such", None)),
            ("oci:./no-such:tag", layout("./no-such", Some("tag"))),
            (&format!("oci:{odd}"), layout(odd, None)),
            (odd, layout(odd, None)),
            (&format!("{odd}:c"), layout(odd, Some("c"))),
            ("oci-archive:x.tar", archive("x.tar", None)),
            ("docker-archive:/x.tar:y", archive("/x.tar", Some("y"))),
            ("./x.tar", archive("./x.tar", None)),
        ] {
            assert_eq!(Name::parse(text).unwrap(), name);
        }
    }
}
