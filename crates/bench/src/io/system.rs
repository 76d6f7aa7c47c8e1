//! What the guests of this benchmark run in: the image `mini` with fio and iperf3.

use clade_images::{Image, Silent, Source, Unpacked};

use crate::initrd::Initrd;

/// Each has a program with its name.
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
    let mut files = Unpacked::programs(&packages, &PACKAGES).map_err(|error| error.to_string())?;
    files.link(LOADER, &format!("../usr/{LOADER}"));
    Initrd::behind(&image.initrd, |archive| files.pack(archive))
}
