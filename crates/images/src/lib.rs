//! Where guests come from: images built from Debian's packages.
//!
//! The image `mini` is Debian's kernel with an initramfs of busybox. Its packages come from a
//! Debian mirror and are used only after the whole chain is checked: the Release file's signature by
//! a pinned key, the package index by the Release file, each package by the index. Fetched packages
//! and the finished image stay in the user's cache, and are checked again whenever they are used.
//!
//! ```no_run
//! # fn main() -> Result<(), clade_images::Error> {
//! let request = clade_images::Request { name: "mini".to_owned(), ..Default::default() };
//! let image = clade_images::ensure(&request, &clade_images::Silent)?;
//! println!("{} {}", image.kernel.display(), image.initrd.display());
//! # Ok(())
//! # }
//! ```

mod agent;
mod archive;
mod control;
pub mod cpio;
pub mod deb;
mod debian;
mod download;
mod error;
mod fetch;
mod firmware;
mod http;
mod image;
mod initramfs;
mod kept;
mod memory;
mod mini;
mod mirror;
mod modules;
pub mod nocloud;
mod oci;
mod openpgp;
mod progress;
mod release;
mod ssh_server;
#[cfg(test)]
mod tests;
mod unpacked;

pub use archive::Architecture;
pub use debian::{DebianImage, DebianRequest, FirstBoot, RunMachine};
pub use error::Error;
pub use fetch::{Package, Source};
pub use firmware::{Firmware, FirmwareName};
pub use image::{Image, ImageSummary, Request};
pub use initramfs::{Boot, BootParts};
pub use memory::LeastMemory;
pub use mirror::{Mirror, find_mirror};
pub use oci::{
    OciImage, OciProcess, OciRequest, Pushed, RemoteTemplate, TemplateRequest,
    push as push_template,
};
pub use progress::{Progress, Silent};
pub use unpacked::Unpacked;

use std::path::PathBuf;

use clade_store::digest::Blake3;

use archive::Setup;

/// Makes an image ready to boot: from the cache if it is there and intact, without a network, else
/// built from packages of a Debian mirror. A second process that wants the same image waits for the
/// first and uses its result.
///
/// # Errors
/// The image is unknown; no mirror is known or reachable; a signature or checksum is wrong; the disk
/// is full or the cache not writable.
pub fn ensure(request: &Request, progress: &dyn Progress) -> Result<Image, Error> {
    image::ensure(&Setup::of_user()?, request, progress)
}

/// Makes a Debian system ready that machines can be made from: one that was built before, without a
/// network, else from packages of a Debian mirror, which are configured in a machine that `runner` runs.
/// A second process that wants the same one waits for the first and uses its result.
///
/// # Errors
/// As for [`ensure`]; packages that cannot be had together; the machine fails to configure them.
pub fn ensure_debian(
    request: &DebianRequest,
    runner: &dyn RunMachine,
    progress: &dyn Progress,
) -> Result<DebianImage, Error> {
    debian::ensure(&Setup::of_user()?, request, runner, progress)
}

/// Whether an image's name is of those that [`ensure`] makes.
pub fn is_mini(name: &str) -> bool {
    without_tag(name) == image::MINI
}

/// Whether an image's name is of those that [`ensure_debian`] makes.
pub fn is_debian(name: &str) -> bool {
    without_tag(name) == debian::NAME
}

/// Whether an image's name is of those that [`ensure_oci`] makes: all but Clade's own, whatever
/// registries have under their names.
pub fn is_oci(name: &str) -> bool {
    !is_mini(name) && !is_debian(name)
}

fn without_tag(name: &str) -> &str {
    name.split_once(':').map_or(name, |(image, _)| image)
}

/// The known images, those in the cache with their size and version.
///
/// # Errors
/// This user has no cache folder.
pub fn list() -> Result<Vec<ImageSummary>, Error> {
    let setup = Setup::of_user()?;
    let mut images = image::list(&setup)?;
    images.extend(debian::list(&setup));
    images.extend(oci::list(&setup));
    Ok(images)
}

/// Removes an image that is in the cache, by its name; without an architecture, those for all. Machines
/// that were made from it keep their files, by links of their own; the files in `needed` are those that
/// some have no link to. Of an OCI image, what another name needs stays. Returns its whole name.
///
/// # Errors
/// There is no such image here; its file is needed; a file cannot be removed.
pub fn remove(
    name: &str,
    architecture: Option<Architecture>,
    needed: &[PathBuf],
    progress: &dyn Progress,
) -> Result<String, Error> {
    let setup = Setup::of_user()?;
    let remove = |architecture| match without_tag(name) {
        image::MINI => image::remove(&setup, name, architecture, progress),
        debian::NAME => debian::remove(&setup, name, architecture, needed, progress),
        _ => oci::remove(&setup, name, architecture, needed, progress),
    };
    if let Some(architecture) = architecture {
        return remove(architecture);
    }
    let mut removed = Err(Error::NotHere {
        name: name.to_owned(),
    });
    for architecture in Architecture::ALL {
        match remove(architecture) {
            Err(error @ Error::NotHere { .. }) => removed = removed.map_err(|_| error),
            result => removed = Ok(result?),
        }
    }
    removed
}

/// Removes parts of OCI images and of templates in registries that were fetched and that no image needs,
/// and forgets where in registries contents are that are not in `contents`: those of templates, as they
/// are by the time that nobody else pushes or pulls. While somebody does, nothing is removed.
///
/// # Errors
/// That of `contents`; a file cannot be removed.
pub fn sweep_parts<E: From<Error>>(
    contents: impl FnOnce() -> Result<Vec<Blake3>, E>,
) -> Result<(), E> {
    oci::sweep_parts(&Setup::of_user()?, contents)
}

/// Makes an OCI image ready to be mounted: from the cache if it is there, without a network, else
/// fetched, checked and unpacked. A second process that wants the same image waits for the first and
/// uses its result.
///
/// # Errors
/// The name is none; the registry cannot be reached or refuses; there is nothing for the architecture;
/// a part is not what the image says, or damaged; the disk is full or the cache not writable.
pub fn ensure_oci(request: &OciRequest, progress: &dyn Progress) -> Result<OciImage, Error> {
    oci::ensure(&Setup::of_user()?, request, progress)
}

/// Debian packages by their names, fetched into the cache and checked like those of an image. Packages in the cache are used without asking the mirror, unless `source.refresh` is set.
///
/// # Errors
/// As for [`ensure`], and when the suite has no such package.
pub fn package_files(
    names: &[&str],
    source: &Source,
    progress: &dyn Progress,
) -> Result<Vec<Package>, Error> {
    fetch::fetch_packages(&Setup::of_user()?, names, source, progress)
}

/// A firmware's files, unpacked from its Debian package into the cache.
///
/// # Errors
/// As for [`package_files`].
pub fn firmware(
    firmware: FirmwareName,
    source: &Source,
    progress: &dyn Progress,
) -> Result<Firmware, Error> {
    firmware::ensure(&Setup::of_user()?, firmware, source, progress)
}

/// [`package_files`], with all that the packages depend on: of alternatives the first, versions
/// ignored. Dependencies named in `without` are left out, and so is what only they need; virtual
/// packages must be among them.
///
/// # Errors
/// As for [`package_files`].
pub fn package_closure(
    names: &[&str],
    without: &[&str],
    source: &Source,
    progress: &dyn Progress,
) -> Result<Vec<Package>, Error> {
    fetch::fetch_closure(&Setup::of_user()?, names, without, source, progress)
}
