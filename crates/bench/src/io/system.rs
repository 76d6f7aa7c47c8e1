//! What the guests of this benchmark run in: the image `mini` with fio and iperf3.

use std::io::{self, Read};

use clade_images::{Image, Silent, Source, deb};

use crate::initrd::Initrd;

const PACKAGES: [&str; 2] = ["fio", "iperf3"];

/// What these name and can do without.
const WITHOUT: [&str; 9] = [
    "adduser",
    "debconf",
    "debconf-2.0",
    "init-system-helpers",
    "libnss-nis",
    "media-types",
    "openssl-provider-legacy",
    "perl",
    "python3",
];

/// Where programs look for their loader: beside `mini`'s own folders, not instead of them.
const LOADER: &str = "lib/ld-linux-riscv64-lp64d.so.1";

/// The image's initramfs with the programs behind it.
pub(super) fn initrd(image: &Image) -> Result<Initrd, String> {
    let packages = clade_images::package_closure(&PACKAGES, &WITHOUT, &Source::default(), &Silent)
        .map_err(|error| error.to_string())?;
    let mut files = Vec::new();
    for package in &packages {
        package
            .visit(|entry, content| collect(&mut files, entry, content))
            .map_err(|error| error.to_string())?;
    }
    Initrd::behind(&image.initrd, |archive| {
        for (path, node) in &files {
            match node {
                Node::File(mode, content) => archive.file(path, *mode, content)?,
                Node::Link(target) => archive.link(path, target)?,
            }
        }
        archive.link(LOADER, &format!("../usr/{LOADER}"))
    })
}

enum Node {
    File(u32, Vec<u8>),
    Link(String),
}

/// Programs and libraries alone.
fn collect(
    files: &mut Vec<(String, Node)>,
    entry: &deb::Entry,
    content: &mut dyn Read,
) -> io::Result<()> {
    let wanted = entry.path == "usr/bin/fio"
        || entry.path == "usr/bin/iperf3"
        || entry.path.starts_with("usr/lib/") && entry.path.contains(".so");
    if wanted {
        let node = match &entry.kind {
            deb::Kind::File => {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                Node::File(entry.mode & 0o777, bytes)
            }
            deb::Kind::Link(target) => Node::Link(target.clone()),
            deb::Kind::Folder | deb::Kind::HardLink(_) | deb::Kind::Other => return Ok(()),
        };
        files.push((entry.path.clone(), node));
    }
    Ok(())
}
