//! A mirror with a signed suite of small packages, and a cache of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use clade_store::Sha256;
use tempfile::TempDir;

use super::server::Server;
use crate::archive::Setup;
use crate::mirror::Places;
use crate::openpgp::tests::Signer;
use crate::{Error, Image, Package, Progress, Request, Source, fetch, image};

pub(crate) const INDEX: &str = "dists/trixie/main/binary-riscv64/Packages.xz";
pub(crate) const RELEASE: &str = "dists/trixie/InRelease";
pub(crate) const BUSYBOX: &str = "pool/busybox-static_6.12_riscv64.deb";
pub(crate) const KERNEL: &str = "pool/linux-image-6.12-riscv64_6.12_riscv64.deb";

/// What the tests' packages contain.
pub(crate) const KERNEL_CONTENT: &[u8] = b"not really a kernel";
pub(crate) const BUSYBOX_CONTENT: &[u8] = b"not really a busybox";

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) signer: Signer,
    pub(crate) folder: TempDir,
    pub(crate) said: Messages,
    /// When what is published next is published.
    pub(crate) date: Mutex<&'static str>,
}

/// Keeps what it is told.
#[derive(Default)]
pub(crate) struct Messages(Mutex<Vec<String>>);

impl Progress for Messages {
    fn begin(&self, _label: &str, _total: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
    fn message(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

impl Messages {
    pub(crate) fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

impl World {
    /// A mirror on which everything is right.
    pub(crate) fn new() -> Self {
        let world = Self {
            server: Server::start(),
            signer: Signer::new(),
            folder: tempfile::tempdir().unwrap(),
            said: Messages::default(),
            date: Mutex::new("Sat, 12 Sep 2026 07:55:41 UTC"),
        };
        world.publish("6.12", &[]);
        world
    }

    /// Puts the suite with a kernel of this version on the mirror. `changes` are made to the index
    /// before it is signed.
    pub(crate) fn publish(&self, version: &str, changes: &[(&str, &str)]) {
        let image = format!("linux-image-{version}-riscv64");
        let mut files = modules(version);
        files.push((
            format!("boot/vmlinux-{version}-riscv64"),
            KERNEL_CONTENT.to_vec(),
        ));
        let packages = [
            (
                "linux-image-riscv64",
                format!("{image} (= {version})"),
                Vec::new(),
            ),
            (
                &image,
                "kmod, linux-initramfs-tool | other".to_owned(),
                files,
            ),
            ("busybox-static", String::new(), busybox()),
        ];
        self.publish_packages(version, &packages, changes);
    }

    /// The same as forky has it: kernel and modules are packages of their own.
    pub(crate) fn publish_split(&self, version: &str) {
        let name = |part: &str| format!("linux-{part}-{version}-riscv64");
        let (image, binary, modules_name) = (name("image"), name("binary"), name("modules"));
        let kernel = format!("usr/lib/modules/{version}-riscv64/vmlinuz");
        let packages = [
            (
                "linux-image-riscv64",
                format!("linux-base-riscv64 (= 1), {image}"),
                Vec::new(),
            ),
            (
                &image,
                format!("{binary} (= 1), {modules_name} (= 1)"),
                Vec::new(),
            ),
            (
                &binary,
                "linux-base".to_owned(),
                vec![(kernel, KERNEL_CONTENT.to_vec())],
            ),
            (&modules_name, String::new(), modules(version)),
            ("busybox-static", String::new(), busybox()),
        ];
        self.publish_packages(version, &packages, &[]);
    }

    fn publish_packages(
        &self,
        version: &str,
        packages: &[(&str, String, Files)],
        changes: &[(&str, &str)],
    ) {
        let mut index = String::new();
        let ssh_server = ssh_server();
        for (name, depends, files) in packages.iter().chain(&ssh_server) {
            let content = deb(files);
            let path = format!("pool/{name}_{version}_riscv64.deb");
            index.push_str(&format!(
                "Package: {name}\nVersion: {version}\nDepends: {depends}\nFilename: {path}\n\
                 Size: {}\nSHA256: {}\n\n",
                content.len(),
                Sha256::of(&content)
            ));
            self.server.put(&path, content);
        }
        for (from, to) in changes {
            assert!(index.contains(from), "{from} is not in {index}");
            index = index.replace(from, to);
        }
        self.publish_index("debian", "trixie", &index);
    }

    /// Puts a suite of packages without content into one of the mirror's archives.
    pub(crate) fn publish_suite(&self, archive: &str, suite: &str, packages: &[(&str, &str)]) {
        let mut index = String::new();
        for (name, version) in packages {
            let content = deb(&Files::new());
            let path = format!("pool/{name}_{version}_riscv64.deb");
            index.push_str(&format!(
                "Package: {name}\nVersion: {version}\nFilename: {path}\nSize: {}\nSHA256: {}\n\n",
                content.len(),
                Sha256::of(&content)
            ));
            self.server.put_at(&format!("/{archive}/{path}"), content);
        }
        self.publish_index(archive, suite, &index);
    }

    fn publish_index(&self, archive: &str, suite: &str, index: &str) {
        let packed = xz(index.as_bytes());
        let release = format!(
            "Origin: Debian\nSuite: {}\nCodename: {suite}\nDate: {}\n\
             SHA256:\n {} {} main/binary-riscv64/Packages.xz\n",
            suite.replace("trixie", "stable"),
            self.date.lock().unwrap(),
            Sha256::of(&packed),
            packed.len()
        );
        let folder = format!("/{archive}/dists/{suite}");
        self.server
            .put_at(&format!("{folder}/main/binary-riscv64/Packages.xz"), packed);
        self.server
            .put_at(&format!("{folder}/InRelease"), self.signer.sign(&release));
    }

    pub(crate) fn setup(&self) -> Setup {
        Setup {
            cache: self.folder.path().join("cache"),
            data: self.folder.path().join("data"),
            places: Places {
                config: self.folder.path().join("config.toml"),
                apt: self.folder.path().join("apt"),
            },
            trust: self.signer.trust(),
            pause: Duration::from_millis(1),
        }
    }

    pub(crate) fn request(&self) -> Request {
        Request {
            name: "mini".to_owned(),
            mirror: Some(self.server.url()),
            ..Request::default()
        }
    }

    pub(crate) fn ensure(&self) -> Result<Image, Error> {
        image::ensure(&self.setup(), &self.request(), &self.said)
    }

    /// The same, with a mirror where nobody listens.
    pub(crate) fn ensure_offline(&self) -> Result<Image, Error> {
        let request = Request {
            mirror: Some(dead_mirror()),
            ..self.request()
        };
        image::ensure(&self.setup(), &request, &self.said)
    }

    pub(crate) fn packages(&self, names: &[&str], mirror: String) -> Result<Vec<Package>, Error> {
        let source = Source {
            mirror: Some(mirror),
            ..Source::default()
        };
        fetch::fetch_packages(&self.setup(), names, &source, &self.said)
    }

    pub(crate) fn closure(
        &self,
        name: &str,
        without: &[&str],
        source: &Source,
    ) -> Result<Vec<String>, Error> {
        let packages = fetch::fetch_closure(&self.setup(), &[name], without, source, &self.said)?;
        Ok(packages.into_iter().map(|package| package.name).collect())
    }

    /// The error that `ensure` must give; nothing may look like an image afterwards.
    pub(crate) fn failure(&self) -> Error {
        let error = self.ensure().unwrap_err();
        let images = image::list(&self.setup()).unwrap();
        assert!(images.iter().all(|image| !image.cached), "{images:?}");
        error
    }
}

/// An address on which connections are refused.
pub(crate) fn dead_mirror() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/debian", listener.local_addr().unwrap())
}

/// Paths and contents.
type Files = Vec<(String, Vec<u8>)>;

/// The packages of the SSH server.
fn ssh_server() -> Vec<(&'static str, String, Files)> {
    let library = |name: &str| format!("usr/lib/riscv64-linux-gnu/{name}");
    let package = |name, files: Vec<String>| {
        let files = files.into_iter().map(|path| (path, content_of(name)));
        (name, String::new(), files.collect())
    };
    let loader = library("ld-linux-riscv64-lp64d.so.1");
    vec![
        package("dropbear-bin", vec!["usr/sbin/dropbear".to_owned()]),
        package(
            "openssh-sftp-server",
            vec!["usr/lib/openssh/sftp-server".to_owned()],
        ),
        package("libc6", vec![loader, library("libc.so.6")]),
        package("libcrypt1", vec![library("libcrypt.so.1.1.0")]),
        package("libgmp10", vec![library("libgmp.so.10.5.0")]),
        package("libtomcrypt1", vec![library("libtomcrypt.so.1.0.1")]),
        package("libtommath1", vec![library("libtommath.so.1.3.0")]),
        package("zlib1g", vec![library("libz.so.1.3.1")]),
    ]
}

fn content_of(package: &str) -> Vec<u8> {
    format!("of {package}").into_bytes()
}

fn busybox() -> Files {
    vec![("usr/bin/busybox".to_owned(), BUSYBOX_CONTENT.to_vec())]
}

fn modules(version: &str) -> Files {
    let file = |path: &str, content: Vec<u8>| {
        (format!("usr/lib/modules/{version}-riscv64/{path}"), content)
    };
    let module = |path: &str, info: &str| file(&format!("kernel/{path}.ko.xz"), xz(&module(info)));
    vec![
        file("modules.builtin", b"kernel/fs/fuse/virtiofs.ko\n".to_vec()),
        module("net/core/failover", "depends="),
        module(
            "drivers/net/virtio_net",
            "alias=virtio:d00000001v*\0depends=net-failover",
        ),
        module("drivers/net/net-failover", "depends=failover"),
        file("kernel/sound/noise.ko.xz", b"not needed, not read".to_vec()),
    ]
}

/// A package of these files.
pub(crate) fn deb<P: AsRef<str>, C: AsRef<[u8]>>(files: &[(P, C)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let (path, content) = (path.as_ref(), content.as_ref());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, format!("./{path}"), content)
            .unwrap();
    }
    ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", b"odd"),
        ("data.tar.xz", &xz(&tar.into_inner().unwrap())),
    ])
}

pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let size = content.len();
        let header = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
            0, 0, 0, 100_644
        );
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(content);
        archive.extend_from_slice(&b"\n"[..size % 2]);
    }
    archive
}

pub(crate) fn xz(content: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

/// The smallest RISC-V object file with a `.modinfo` section.
pub(crate) fn module(info: &str) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let info_at = 64;
    let names_at = info_at + info.len() + 1;
    let sections_at = (names_at + names.len()).next_multiple_of(8);
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([1u16, 243].iter().flat_map(|half| half.to_le_bytes())); // relocatable, RISC-V
    elf.extend(1u32.to_le_bytes());
    elf.extend(
        [0, 0, sections_at as u64]
            .iter()
            .flat_map(|long| long.to_le_bytes()),
    );
    elf.extend(0u32.to_le_bytes());
    elf.extend(
        [64u16, 0, 0, 64, 3, 2]
            .iter()
            .flat_map(|half| half.to_le_bytes()),
    );
    elf.extend(info.as_bytes());
    elf.push(0);
    elf.extend(names);
    elf.resize(sections_at + 64, 0);
    // Name, type (1 data, 3 strings), then flags, address, offset, size, link and info, alignment, entry size.
    for (name, kind, at, size) in [
        (1u32, 1u32, info_at, info.len() + 1),
        (10, 3, names_at, names.len()),
    ] {
        elf.extend([name, kind].iter().flat_map(|word| word.to_le_bytes()));
        elf.extend(
            [0, 0, at as u64, size as u64, 0, 1, 0]
                .iter()
                .flat_map(|long| long.to_le_bytes()),
        );
    }
    elf
}

/// The files of an initramfs: path, mode and content.
pub(crate) fn read_cpio(mut archive: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let mut take = |count: usize| {
        let (taken, rest) = archive.split_at(count);
        archive = rest;
        taken.to_vec()
    };
    loop {
        let header = String::from_utf8(take(110)).unwrap();
        assert_eq!(&header[..6], "070701");
        let field = |n: usize| u32::from_str_radix(&header[6 + 8 * n..14 + 8 * n], 16).unwrap();
        let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
        let mut name = take((110 + name_size).next_multiple_of(4) - 110);
        name.truncate(name_size - 1);
        let mut content = take(size.next_multiple_of(4));
        content.truncate(size);
        let name = String::from_utf8(name).unwrap();
        if name == "TRAILER!!!" {
            return files;
        }
        assert!(
            files.insert(name.clone(), (mode, content)).is_none(),
            "{name} stands twice"
        );
    }
}
