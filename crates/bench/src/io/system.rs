//! What the guests of this benchmark run in: the image `mini` with fio and iperf3.

use clade_images::{Image, Silent, Unpacked};

use crate::board::Board;
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

/// The image's initramfs with the programs behind it.
pub(super) fn initrd(image: &Image, board: Board) -> Result<Initrd, String> {
    let packages = clade_images::package_closure(&PACKAGES, &WITHOUT, &board.source(), &Silent)
        .map_err(|error| error.to_string())?;
    let mut files = Unpacked::programs(&packages, &PACKAGES).map_err(|error| error.to_string())?;
    // Beside `mini`'s own folders, not instead of them.
    let (place, loader) = board.loader();
    files.link(place, &format!("../usr/lib/{loader}"));
    Initrd::behind(&image.initrd, |archive| files.pack(archive))
}
