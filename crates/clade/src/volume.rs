//! `--volume`: a folder of the host in the guest.

use std::fmt::Write as _;
use std::path::PathBuf;

use clade_vmm::spec::ShareSpec;

/// Where a guest has everything.
const ROOT: &str = "/";

/// A folder of the host, and where the guest has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    folder: PathBuf,
    /// An absolute path in the guest.
    target: String,
    read_only: bool,
}

/// Understands `SRC:DST[:ro]` as Docker does.
pub(crate) fn parse(text: &str) -> Result<Volume, String> {
    let (paths, read_only) = match text.rsplit_once(':') {
        Some((paths, "ro")) => (paths, true),
        Some((paths, "rw")) => (paths, false),
        _ => (text, false),
    };
    let Some((folder, target)) = paths
        .rsplit_once(':')
        .filter(|(folder, _)| !folder.is_empty())
    else {
        return Err("it is written SRC:DST or SRC:DST:ro".to_owned());
    };
    if !target.starts_with('/') || target.split('/').any(|part| part == "..") {
        return Err(format!("{target:?} is no absolute path in the guest"));
    }
    let is_root = target.chars().all(|c| c == '/');
    let volume = Volume {
        folder: folder.into(),
        target: if is_root { ROOT } else { target }.to_owned(),
        read_only,
    };
    match std::fs::metadata(&volume.folder) {
        Ok(found) if found.is_dir() => Ok(volume),
        Ok(_) => Err(format!("{folder} is no folder; only folders can be shared")),
        Err(error) => Err(format!("{folder}: {error}; make the folder first")),
    }
}

impl Volume {
    fn is_root(&self) -> bool {
        self.target == ROOT
    }

    /// What a guest is told of how to mount it.
    fn options(&self) -> &'static str {
        if self.read_only { ":ro" } else { "" }
    }
}

/// Whether the guest shall have a folder of the host as its root.
pub(crate) fn has_root(volumes: &[Volume]) -> bool {
    volumes.iter().any(Volume::is_root)
}

/// What the machine is given.
pub(crate) fn shares(volumes: &[Volume]) -> Vec<ShareSpec> {
    let share = |(tag, volume): (String, &Volume)| ShareSpec {
        folder: volume.folder.clone(),
        tag,
        read_only: volume.read_only,
    };
    tags().zip(volumes).map(share).collect()
}

/// What the init of our own images is told on the kernel's command line, to mount them.
pub(crate) fn for_our_init(volumes: &[Volume]) -> String {
    // What is mounted in the root comes after it.
    let (root, others): (Vec<_>, Vec<_>) = tags()
        .zip(volumes)
        .partition(|(_, volume)| volume.is_root());
    let parameter = |(tag, volume): (String, &Volume)| {
        let target = escape(&volume.target, "%");
        format!(" clade.mount={tag}:{target}{}", volume.options())
    };
    root.into_iter().chain(others).map(parameter).collect()
}

/// What systemd (254 and later) is told on the kernel's command line, to mount them.
pub(crate) fn for_systemd(volumes: &[Volume]) -> String {
    let parameter = |(tag, volume): (String, &Volume)| {
        let (target, options) = (escape(&volume.target, "\\x"), volume.options());
        format!(" systemd.mount-extra={tag}:{target}:virtiofs{options}")
    };
    tags().zip(volumes).map(parameter).collect()
}

/// The names by which guests mount the first folder, the second, and so on.
fn tags() -> impl Iterator<Item = String> {
    (0..).map(|number: u32| format!("share{number}"))
}

/// A path without a character that means anything to anybody: such are two hexadecimal digits
/// behind `mark`.
fn escape(path: &str, mark: &str) -> String {
    let mut escaped = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            escaped.push(byte.into());
        } else {
            let _ = write!(escaped, "{mark}{byte:02x}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(text: &str) -> Volume {
        parse(text).expect("a volume")
    }

    #[test]
    fn volumes_are_written_as_for_docker() {
        let plain = volume("/tmp:/data");
        assert_eq!((&*plain.target, plain.read_only), ("/data", false));
        assert_eq!(volume("/tmp:/data:rw"), plain);
        assert!(!has_root(&[plain]) && has_root(&[volume("/tmp://")]));
        let read_only = volume(".:/a b:ro");
        assert_eq!(read_only.folder, PathBuf::from("."));
        assert_eq!((&*read_only.target, read_only.read_only), ("/a b", true));
    }

    #[test]
    fn what_cannot_be_shared_is_refused() {
        for text in [
            "/tmp",
            ":/data",
            "/tmp:data",
            "/tmp:/a/../b",
            "/nowhere/at/all:/data",
            "/proc/version:/data",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_guest_is_told_of_any_path() {
        let volumes = [volume("/tmp:/a b:ro"), volume("/tmp:/ü%\\:rw")];
        assert_eq!(
            for_our_init(&volumes),
            " clade.mount=share0:/a%20b:ro clade.mount=share1:/%c3%bc%25%5c"
        );
        let root = [volume("/tmp:/data"), volume("/tmp:/:ro")];
        assert_eq!(
            for_our_init(&root),
            " clade.mount=share1:/:ro clade.mount=share0:/data"
        );
        assert_eq!(escape("/a b", "\\x"), "/a\\x20b");
        let shares = shares(&volumes);
        assert_eq!(shares[1].tag, "share1");
        assert!(shares[0].read_only && !shares[1].read_only);
    }
}
