//! A root file system of Debian's packages, in memory.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::{fs, iter};

use clade_images::{Architecture, Package, Silent, Source, cpio, deb};

/// What the workloads need, besides what depends on the architecture.
const PACKAGES: [&str; 14] = [
    "busybox-static",
    "coreutils",
    "dash",
    "gcc-14",
    "gzip",
    "libc6-dev",
    "openssl",
    "perl-base",
    "python3.13-minimal",
    "sqlite3",
    "stress-ng",
    "7zip",
    "zstd",
    "binutils",
];

/// What they name and can do without.
const WITHOUT: [&str; 22] = [
    "debianutils",
    "libasan8",
    "libatomic1",
    "libc-dev-bin",
    "libcc1-0",
    "libcrypt-dev",
    "libegl-mesa0",
    "libgomp1",
    "libgprofng0",
    "libhwasan0",
    "libitm1",
    "liblsan0",
    "libquadmath0",
    "libtsan2",
    "libubsan1",
    "mesa-libgallium",
    "readline-common",
    "rpcsvc-proto",
    "libx11-data",
    "debconf",
    "libdrm-common",
    "media-types",
];

/// Beginnings and endings of paths that are left out: what only people read, and what is large.
const SKIPPED_FOLDERS: [&str; 2] = ["usr/share/", "etc/init.d/"];
const SKIPPED_FILES: [&str; 9] = [
    "/lto1",
    "/lto-dump",
    "/g++-mapper-server",
    "san.a",
    "san_preinit.o",
    "/libgomp.a",
    "/libc_nonshared_pic.a",
    "/libm-2.41.a",
    "/libmvec.a",
];

enum Node {
    File { permissions: u32, content: Vec<u8> },
    Link(String),
}

/// Files and links by their paths, none of which lies below a link.
pub(crate) struct Root {
    nodes: BTreeMap<String, Node>,
}

/// The packages of the root file system, fetched and checked.
pub(crate) fn packages(architecture: Architecture) -> Result<Vec<Package>, String> {
    let source = Source {
        architecture,
        ..Source::default()
    };
    clade_images::package_closure(&PACKAGES, &WITHOUT, &source, &Silent)
        .map_err(|error| error.to_string())
}

/// What decides, besides the packages, what a root file system holds.
pub(crate) fn recipe() -> String {
    [&SKIPPED_FOLDERS[..], &SKIPPED_FILES].concat().join(" ")
}

impl Root {
    /// Unpacks the packages.
    pub(crate) fn of(packages: &[Package]) -> Result<Self, String> {
        let mut root = Self {
            nodes: BTreeMap::new(),
        };
        for package in packages {
            package
                .visit(|entry, content| root.add(entry, content))
                .map_err(|error| error.to_string())?;
        }
        for folder in ["bin", "lib", "lib64", "sbin"] {
            root.link(folder, &format!("usr/{folder}"));
        }
        root.nodes
            .entry("usr/bin/sh".into())
            .or_insert_with(|| Node::Link("dash".into()));
        root.check().map(|()| root)
    }

    fn add(&mut self, entry: &deb::Entry, content: &mut dyn io::Read) -> io::Result<()> {
        let path = &entry.path;
        if SKIPPED_FOLDERS
            .iter()
            .any(|folder| path.starts_with(folder))
            || SKIPPED_FILES.iter().any(|file| path.ends_with(file))
        {
            return Ok(());
        }
        // Some packages still have these beside /usr, where they are links.
        let merged = ["bin/", "lib/", "lib64/", "sbin/"];
        let path = match merged.iter().any(|folder| path.starts_with(folder)) {
            true => format!("usr/{path}"),
            false => path.clone(),
        };
        match &entry.kind {
            deb::Kind::File => {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                self.file(&path, entry.mode & 0o777, bytes);
            }
            deb::Kind::Link(target) => self.link(&path, target),
            deb::Kind::HardLink(_) | deb::Kind::Folder | deb::Kind::Other => {}
        }
        Ok(())
    }

    /// Adds a file, in place of one that was there.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: Vec<u8>) {
        let file = Node::File {
            permissions,
            content,
        };
        self.nodes.insert(path.to_owned(), file);
    }

    fn link(&mut self, path: &str, target: &str) {
        self.nodes
            .insert(path.to_owned(), Node::Link(target.to_owned()));
    }

    /// Makes sure that every path stays below the root when it is written to a folder.
    fn check(&self) -> Result<(), String> {
        let ancestors = |path: &str| {
            let parent = |path: &String| Some(path.rsplit_once('/')?.0.to_owned());
            iter::successors(parent(&path.to_owned()), parent).collect::<Vec<_>>()
        };
        let is_leaf = |path: &String| self.nodes.contains_key(path);
        match self.nodes.keys().find(|path| {
            path.is_empty()
                || path.split('/').any(|name| matches!(name, "" | "." | ".."))
                || ancestors(path).iter().any(is_leaf)
        }) {
            Some(path) => Err(format!("a package has the odd path {path:?}")),
            None => Ok(()),
        }
    }

    /// Adds everything to an archive.
    pub(crate) fn pack<W: io::Write>(&self, archive: &mut cpio::Writer<W>) -> io::Result<()> {
        self.nodes.iter().try_for_each(|(path, node)| match node {
            Node::File {
                permissions,
                content,
            } => archive.file(path, *permissions, content),
            Node::Link(target) => archive.link(path, target),
        })
    }

    /// Writes everything to an empty folder.
    pub(crate) fn unpack(&self, folder: &Path) -> io::Result<()> {
        for (path, node) in &self.nodes {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            match node {
                Node::File {
                    permissions,
                    content,
                } => {
                    fs::write(&path, content)?;
                    fs::set_permissions(&path, fs::Permissions::from_mode(*permissions))?;
                }
                Node::Link(target) => symlink(target, &path)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_its_folder_is_refused() {
        for (paths, good) in [
            (vec!["usr/bin/a", "usr/lib/b", "bin"], true),
            (vec!["usr/../../a"], false),
            (vec!["usr//a"], false),
            (vec!["/etc/a"], false),
            (vec![""], false),
            (vec!["etc", "etc/a/b"], false),
        ] {
            let mut root = Root {
                nodes: BTreeMap::new(),
            };
            paths.iter().for_each(|path| root.link(path, "/elsewhere"));
            assert_eq!(root.check().is_ok(), good, "{paths:?}");
        }
    }

    #[test]
    fn what_is_unpacked_is_what_was_added() {
        let mut root = Root {
            nodes: BTreeMap::new(),
        };
        root.file("usr/bin/a", 0o755, b"content".to_vec());
        root.link("bin", "usr/bin");
        let folder = tempfile::tempdir().unwrap();
        root.unpack(folder.path()).unwrap();
        let path = folder.path().join("bin/a");
        assert_eq!(fs::read(&path).unwrap(), b"content");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
