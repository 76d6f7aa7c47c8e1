//! What serves SSH on the socket device of a guest that is an initramfs of ours: dropbear from
//! Debian, and what listens for it.

use std::io;

use crate::archive::{Architecture, Archive, PackageRecord};
use crate::{Error, cpio};

/// Listens on a port of the socket device; made from `vsock-serve-ARCHITECTURE.s` beside it.
fn vsock_serve(architecture: Architecture) -> &'static [u8] {
    match architecture {
        Architecture::Riscv64 => include_bytes!("../guest/vsock-serve-riscv64"),
        Architecture::Amd64 => include_bytes!("../guest/vsock-serve-x86-64"),
    }
}

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
    recipe.extend(vsock_serve(architecture));
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
        let vsock_serve = vsock_serve(self.architecture);
        initrd.file("usr/sbin/vsock-serve", 0o755, vsock_serve)?;
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

    /// Assembles a source as it says itself, and compares.
    fn check_source(architecture: Architecture, name: &str, assembler: [&str; 2], linker: &[&str]) {
        let source = format!("{}/guest/{name}.s", env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let (object, program) = (folder.path().join("o"), folder.path().join("p"));
        let assembled = Command::new(assembler[0])
            .args([assembler[1], &source, "-o"])
            .arg(&object)
            .status();
        let Ok(status) = assembled else {
            let package = assembler[0].trim_end_matches("-as").replace('_', "-");
            println!(
                "SKIPPED: there is no {} (package binutils-{package})",
                assembler[0]
            );
            return;
        };
        assert!(status.success());
        let status = Command::new(linker[0])
            .args(&linker[1..])
            .args(["-n", "-s", "--build-id=none", "-o"])
            .args([&program, &object])
            .status()
            .unwrap();
        assert!(status.success());
        assert!(std::fs::read(program).unwrap() == vsock_serve(architecture));
    }

    #[test]
    fn what_listens_is_what_its_source_says() {
        check_source(
            Architecture::Riscv64,
            "vsock-serve-riscv64",
            ["riscv64-linux-gnu-as", "-march=rv64imac"],
            &["riscv64-linux-gnu-ld"],
        );
        check_source(
            Architecture::Amd64,
            "vsock-serve-x86-64",
            ["x86_64-linux-gnu-as", "-mx86-used-note=no"],
            &["x86_64-linux-gnu-ld", "-z", "noseparate-code"],
        );
    }

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
