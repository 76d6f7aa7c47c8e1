//! The ways into a guest that is an initramfs of ours: the agent, and dropbear from Debian, which serves SSH, behind it.

use std::io;

use crate::archive::{Architecture, Archive, PackageRecord};
use crate::{Error, agent, cpio};

/// A file that is taken: from which package, where it lies there without `usr/`, and where it goes.
struct Part {
    package: &'static str,
    from: String,
    to: String,
}

fn program(package: &'static str, from: &str, to: &str) -> Part {
    Part {
        package,
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

/// Libraries have more of their version behind their names.
fn library(package: &'static str, name: &str, architecture: Architecture) -> Part {
    let path = format!("lib/{}/{name}", architecture.libraries());
    program(package, &path, &path)
}

fn parts(architecture: Architecture) -> Vec<Part> {
    let library = |package, name| library(package, name, architecture);
    vec![
        program("dropbear-bin", "sbin/dropbear", "usr/sbin/dropbear"),
        // Where dropbear looks for it.
        program(
            "openssh-sftp-server",
            "lib/openssh/sftp-server",
            "usr/lib/sftp-server",
        ),
        library("libc6", architecture.loader().1),
        library("libc6", "libc.so.6"),
        library("libcrypt1", "libcrypt.so.1"),
        library("libgmp10", "libgmp.so.10"),
        library("libtomcrypt1", "libtomcrypt.so.1"),
        library("libtommath1", "libtommath.so.1"),
        library("zlib1g", "libz.so.1"),
    ]
}

/// Changes whenever this file takes something else.
pub(crate) fn recipe(architecture: Architecture) -> impl AsRef<[u8]> {
    let parts = parts(architecture);
    let paths = parts.iter().flat_map(|part| [&*part.from, &*part.to]);
    let mut recipe = paths.collect::<Vec<_>>().join(" ").into_bytes();
    recipe.extend(agent::program(architecture));
    recipe
}

/// The packages that it is made of.
pub(crate) fn packages(archive: &Archive<'_>) -> Result<Vec<PackageRecord>, Error> {
    let parts = parts(archive.architecture());
    let mut names: Vec<&str> = parts.iter().map(|part| part.package).collect();
    names.dedup();
    names
        .into_iter()
        .map(|name| archive.package(name))
        .collect()
}

/// Its files, as far as they have been found.
pub(crate) struct SshServer {
    architecture: Architecture,
    parts: Vec<(Part, Option<Vec<u8>>)>,
}

impl SshServer {
    /// Nothing of it yet.
    pub(crate) fn new(architecture: Architecture) -> Self {
        let parts = parts(architecture).into_iter().map(|part| (part, None));
        Self {
            architecture,
            parts: parts.collect(),
        }
    }

    /// Takes a file of a package, by its path there without `usr/`, if it belongs here.
    pub(crate) fn collect(
        &mut self,
        path: &str,
        read: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        let is_part = |part: &Part| {
            let rest = path.strip_prefix(&*part.from);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some((_, found)) = self.parts.iter_mut().find(|(part, _)| is_part(part)) {
            *found = Some(read()?);
        }
        Ok(())
    }

    /// That everything has been found.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let missing = self.parts.iter().find(|(_, found)| found.is_none());
        missing.map_or(Ok(()), |(part, _)| {
            Err(Error::NoFile {
                package: part.package.to_owned(),
                path: format!("usr/{}", part.from),
            })
        })
    }

    /// Puts it into an initramfs.
    pub(crate) fn write<W: io::Write>(&self, initrd: &mut cpio::Writer<W>) -> io::Result<()> {
        for (part, content) in &self.parts {
            if let Some(content) = content {
                initrd.file(&part.to, 0o755, content)?;
            }
        }
        let (folder, loader) = self.architecture.loader();
        let libraries = self.architecture.libraries();
        let up = if folder == "lib" { "" } else { "../lib/" };
        initrd.link(
            &format!("{folder}/{loader}"),
            &format!("{up}{libraries}/{loader}"),
        )?;
        initrd.file(agent::PATH, 0o755, agent::program(self.architecture))?;
        // For its host key, and for the keys that may come in.
        initrd.folder("etc/dropbear")?;
        initrd.folder("root/.ssh")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_by_the_name_that_programs_want() {
        let mut server = SshServer::new(Architecture::Riscv64);
        for path in [
            "lib/riscv64-linux-gnu/libz.so.1.3.1",
            "lib/riscv64-linux-gnu/libz.so.13",
            "lib/riscv64-linux-gnu/gconv/libc.so.6",
        ] {
            server
                .collect(path, || Ok(path.as_bytes().to_vec()))
                .unwrap();
        }
        let found = server.parts.iter().filter_map(|(_, found)| found.as_ref());
        let found: Vec<_> = found.collect();
        assert_eq!(found, [b"lib/riscv64-linux-gnu/libz.so.1.3.1"]);
        assert!(server.check().unwrap_err().to_string().contains("dropbear"));
    }
}
