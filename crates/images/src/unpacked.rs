//! Files and links of packages, in memory: what a root file system is made of.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::{fs, iter};

use crate::deb::{Entry, Kind};
use crate::{Error, Package, cpio};

/// Folders that some packages still have beside `/usr`, where Debian has links to those in it.
const MERGED: [&str; 4] = ["bin/", "lib/", "lib64/", "sbin/"];

enum Node {
    File { permissions: u32, content: Vec<u8> },
    Link(String),
}

/// Files and symbolic links by their paths, as they are below the root: `usr/bin/fio`.
#[derive(Default)]
pub struct Unpacked {
    nodes: BTreeMap<String, Node>,
}

impl Unpacked {
    /// Unpacks what is `wanted`, by its path, of these packages. Of two files with one path, the
    /// later stays. Folders come with what they hold; hard links and devices are left out.
    ///
    /// # Errors
    /// A package cannot be read.
    pub fn of(packages: &[Package], wanted: impl Fn(&str) -> bool) -> Result<Self, Error> {
        let mut unpacked = Self::default();
        for package in packages {
            package.visit(|entry, content| match wanted(&entry.path) {
                true => unpacked.add(entry, content),
                false => Ok(()),
            })?;
        }
        Ok(unpacked)
    }

    /// Unpacks programs by their names, `fio` for `usr/bin/fio`, and all shared libraries.
    ///
    /// # Errors
    /// As for [`Unpacked::of`].
    pub fn programs(packages: &[Package], names: &[&str]) -> Result<Self, Error> {
        Self::of(packages, |path| match path.strip_prefix("usr/bin/") {
            Some(name) => names.contains(&name),
            None => path.starts_with("usr/lib/") && path.contains(".so"),
        })
    }

    fn add(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let path = &entry.path;
        let path = match MERGED.iter().any(|folder| path.starts_with(folder)) {
            true => format!("usr/{path}"),
            false => path.clone(),
        };
        match &entry.kind {
            Kind::File => {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                self.file(&path, entry.mode & 0o777, bytes);
            }
            Kind::Link(target) => self.link(&path, target),
            Kind::HardLink(_) | Kind::Folder | Kind::Other => {}
        }
        Ok(())
    }

    /// Whether there is a file or link with this path.
    pub fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    /// Adds a file, in place of what was there.
    pub fn file(&mut self, path: &str, permissions: u32, content: Vec<u8>) {
        let file = Node::File {
            permissions,
            content,
        };
        self.nodes.insert(path.to_owned(), file);
    }

    /// Adds a symbolic link, in place of what was there.
    pub fn link(&mut self, path: &str, target: &str) {
        self.nodes
            .insert(path.to_owned(), Node::Link(target.to_owned()));
    }

    /// Adds everything to an archive.
    ///
    /// # Errors
    /// Writing fails; a path is none below the root.
    pub fn pack<W: Write>(&self, archive: &mut cpio::Writer<W>) -> io::Result<()> {
        self.check()?;
        self.nodes.iter().try_for_each(|(path, node)| match node {
            Node::File {
                permissions,
                content,
            } => archive.file(path, *permissions, content),
            Node::Link(target) => archive.link(path, target),
        })
    }

    /// Writes everything to an empty folder, and nothing beside it.
    ///
    /// # Errors
    /// Writing fails; a path is none below the folder.
    pub fn unpack(&self, folder: &Path) -> io::Result<()> {
        self.check()?;
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

    /// Makes sure that every path stays below the root, and none leads through a link.
    fn check(&self) -> io::Result<()> {
        let ancestors = |path: &str| {
            let parent = |path: &String| Some(path.rsplit_once('/')?.0.to_owned());
            iter::successors(parent(&path.to_owned()), parent).collect::<Vec<_>>()
        };
        let is_leaf = |path: &String| self.contains(path);
        match self.nodes.keys().find(|path| {
            path.split('/').any(|name| matches!(name, "" | "." | ".."))
                || ancestors(path).iter().any(is_leaf)
        }) {
            Some(path) => Err(io::Error::other(format!(
                "a package has the odd path {path:?}"
            ))),
            None => Ok(()),
        }
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
            let mut unpacked = Unpacked::default();
            paths
                .iter()
                .for_each(|path| unpacked.link(path, "/elsewhere"));
            assert_eq!(unpacked.check().is_ok(), good, "{paths:?}");
        }
    }

    #[test]
    fn what_is_unpacked_is_what_was_added() {
        let mut unpacked = Unpacked::default();
        unpacked.file("usr/bin/a", 0o755, b"content".to_vec());
        unpacked.link("bin", "usr/bin");
        let folder = tempfile::tempdir().unwrap();
        unpacked.unpack(folder.path()).unwrap();
        let path = folder.path().join("bin/a");
        assert_eq!(fs::read(&path).unwrap(), b"content");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
