//! What serves SSH on the socket device of a guest that is an initramfs of ours: dropbear from
//! Debian, and what listens for it.

use std::io;

use crate::archive::{Archive, PackageRecord};
use crate::{Error, cpio};

/// Listens on a port of the socket device; made from `vsock-serve.s` beside it.
const VSOCK_SERVE: &[u8] = include_bytes!("../guest/vsock-serve");

const LIBRARIES: &str = "lib/riscv64-linux-gnu";
const LOADER: &str = "ld-linux-riscv64-lp64d.so.1";

/// A file that is taken: from which package, where it lies there without `usr/` (libraries with more
/// of their version behind), and where it goes.
struct Part {
    package: &'static str,
    from: &'static str,
    to: &'static str,
}

const fn part(package: &'static str, from: &'static str, to: &'static str) -> Part {
    Part { package, from, to }
}

const fn library(package: &'static str, path: &'static str) -> Part {
    part(package, path, path)
}

const PARTS: [Part; 9] = [
    part("dropbear-bin", "sbin/dropbear", "usr/sbin/dropbear"),
    // Where dropbear looks for it.
    part(
        "openssh-sftp-server",
        "lib/openssh/sftp-server",
        "usr/lib/sftp-server",
    ),
    library("libc6", "lib/riscv64-linux-gnu/ld-linux-riscv64-lp64d.so.1"),
    library("libc6", "lib/riscv64-linux-gnu/libc.so.6"),
    library("libcrypt1", "lib/riscv64-linux-gnu/libcrypt.so.1"),
    library("libgmp10", "lib/riscv64-linux-gnu/libgmp.so.10"),
    library("libtomcrypt1", "lib/riscv64-linux-gnu/libtomcrypt.so.1"),
    library("libtommath1", "lib/riscv64-linux-gnu/libtommath.so.1"),
    library("zlib1g", "lib/riscv64-linux-gnu/libz.so.1"),
];

/// Changes whenever this file takes something else.
pub(crate) fn recipe() -> impl AsRef<[u8]> {
    let parts = PARTS.iter().flat_map(|part| [part.from, part.to]);
    let mut recipe = parts.collect::<Vec<_>>().join(" ").into_bytes();
    recipe.extend(VSOCK_SERVE);
    recipe
}

/// The packages that it is made of.
pub(crate) fn packages(archive: &Archive<'_>) -> Result<Vec<PackageRecord>, Error> {
    let mut names: Vec<&str> = PARTS.iter().map(|part| part.package).collect();
    names.dedup();
    names
        .into_iter()
        .map(|name| archive.package(name))
        .collect()
}

/// Its files, as far as they have been found.
#[derive(Default)]
pub(crate) struct SshServer {
    found: [Option<Vec<u8>>; PARTS.len()],
}

impl SshServer {
    /// Takes a file of a package, by its path there without `usr/`, if it belongs here.
    pub(crate) fn collect(
        &mut self,
        path: &str,
        read: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        let is_part = |part: &Part| {
            let rest = path.strip_prefix(part.from);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some(index) = PARTS.iter().position(is_part) {
            self.found[index] = Some(read()?);
        }
        Ok(())
    }

    /// That everything has been found.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let missing = PARTS
            .iter()
            .zip(&self.found)
            .find(|(_, found)| found.is_none());
        missing.map_or(Ok(()), |(part, _)| {
            Err(Error::NoFile {
                package: part.package.to_owned(),
                path: format!("usr/{}", part.from),
            })
        })
    }

    /// Puts it into an initramfs.
    pub(crate) fn write<W: io::Write>(&self, initrd: &mut cpio::Writer<W>) -> io::Result<()> {
        for (part, content) in PARTS.iter().zip(&self.found) {
            if let Some(content) = content {
                initrd.file(part.to, 0o755, content)?;
            }
        }
        let loader = LIBRARIES.strip_prefix("lib/").unwrap_or(LIBRARIES);
        initrd.link(&format!("lib/{LOADER}"), &format!("{loader}/{LOADER}"))?;
        initrd.file("usr/sbin/vsock-serve", 0o755, VSOCK_SERVE)?;
        // For its host key, and for the keys that may come in.
        initrd.folder("etc/dropbear")?;
        initrd.folder("root/.ssh")
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_listens_is_what_its_source_says() {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/vsock-serve.s");
        let folder = tempfile::tempdir().unwrap();
        let (object, program) = (folder.path().join("o"), folder.path().join("p"));
        let assembled = Command::new("riscv64-linux-gnu-as")
            .args(["-march=rv64imac", source, "-o"])
            .arg(&object)
            .status();
        let Ok(status) = assembled else {
            println!(
                "SKIPPED: there is no riscv64-linux-gnu-as (package binutils-riscv64-linux-gnu)"
            );
            return;
        };
        assert!(status.success());
        let status = Command::new("riscv64-linux-gnu-ld")
            .args(["-n", "-s", "--build-id=none", "-o"])
            .args([&program, &object])
            .status()
            .unwrap();
        assert!(status.success());
        assert!(std::fs::read(program).unwrap() == VSOCK_SERVE);
    }

    #[test]
    fn libraries_are_found_by_the_name_that_programs_want() {
        let mut server = SshServer::default();
        for path in [
            "lib/riscv64-linux-gnu/libz.so.1.3.1",
            "lib/riscv64-linux-gnu/libz.so.13",
            "lib/riscv64-linux-gnu/gconv/libc.so.6",
        ] {
            server
                .collect(path, || Ok(path.as_bytes().to_vec()))
                .unwrap();
        }
        let found: Vec<_> = server.found.iter().flatten().collect();
        assert_eq!(found, [b"lib/riscv64-linux-gnu/libz.so.1.3.1"]);
        assert!(server.check().unwrap_err().to_string().contains("dropbear"));
    }
}
