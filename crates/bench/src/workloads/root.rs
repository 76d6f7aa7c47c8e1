//! A root file system of Debian's packages, in memory.

use clade_images::{Architecture, Package, Silent, Source, Unpacked};

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

/// Unpacks the packages.
pub(crate) fn of(packages: &[Package]) -> Result<Unpacked, String> {
    let skipped = |path: &str| {
        SKIPPED_FOLDERS
            .iter()
            .any(|folder| path.starts_with(folder))
            || SKIPPED_FILES.iter().any(|file| path.ends_with(file))
    };
    let mut root =
        Unpacked::of(packages, |path| !skipped(path)).map_err(|error| error.to_string())?;
    for folder in ["bin", "lib", "lib64", "sbin"] {
        root.link(folder, &format!("usr/{folder}"));
    }
    if !root.contains("usr/bin/sh") {
        root.link("usr/bin/sh", "dash");
    }
    Ok(root)
}
