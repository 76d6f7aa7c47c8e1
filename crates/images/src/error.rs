use std::path::PathBuf;

use clade_store::Sha256;

use crate::Architecture;

/// Why an image or package cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No image of that name is known.
    #[error("there is no image {name:?}; known images: {known}")]
    UnknownImage {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An image that is to be removed is not there.
    #[error("the image {name:?} is not here; `clade images` says which are")]
    NotHere {
        /// Its whole name.
        name: String,
    },
    /// An image that is to be removed is what a machine stands on.
    #[error(
        "a machine needs the image {name:?}, for it is on another file system ({}) and has none of \
         its own; remove the machine first: `clade ps -a` tells what each was made from",
        path.display()
    )]
    Needed {
        /// Its whole name.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// A suite name that no Debian suite can have.
    #[error("{suite:?} is not the name of a Debian suite; try trixie, forky or sid")]
    BadSuite {
        /// What was asked for.
        suite: String,
    },
    /// Debian has no such firmware for such machines.
    #[error("there is no firmware {0} for {arch} machines; take edk2", arch = .1.name())]
    NoFirmware(&'static str, Architecture),
    /// Nothing says which Debian mirror to use.
    #[error(
        "no Debian mirror is known: give one with --mirror URL, or write mirror = \"URL\" into {}; \
         on Debian, a `main` entry in /etc/apt/sources.list or /etc/apt/sources.list.d serves too",
        config.display()
    )]
    NoMirror {
        /// The configuration file that may name one.
        config: PathBuf,
    },
    /// A mirror's address is not usable.
    #[error(
        "the mirror {url:?} from {origin} is not usable: it must begin with http:// or https://"
    )]
    BadMirror {
        /// The address as given.
        url: String,
        /// Where it was given.
        origin: String,
    },
    /// The configuration file cannot be understood.
    #[error("the configuration file {} is wrong: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// The mirror cannot be reached, or the connection broke too often.
    #[error(
        "cannot fetch {url}: {reason}; check the network, or choose another mirror with --mirror URL"
    )]
    Network {
        /// What was being fetched.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The mirror answered, but not with the file.
    #[error(
        "the mirror has no {url} (HTTP status {status}); check the mirror's address and the suite"
    )]
    Status {
        /// What was being fetched.
        url: String,
        /// The HTTP status code.
        status: u16,
    },
    /// An OpenPGP signature is missing, wrong or by a key that is not trusted.
    #[error("{url} is not to be trusted: {reason}; nothing of it was used. Try another mirror")]
    Signature {
        /// The signed file.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A Release file that is signed rightly but does not fit.
    #[error("{url} does not fit: {reason}")]
    Release {
        /// The Release file.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A fetched file is not the one that the signed index describes.
    #[error(
        "{url} is damaged or forged: its SHA-256 is {actual}, the signed index says {expected}; \
         the file was thrown away. Try again, or another mirror"
    )]
    Checksum {
        /// The file.
        url: String,
        /// By the signed index.
        expected: Sha256,
        /// Of what came.
        actual: Sha256,
    },
    /// The suite has no such package.
    #[error(
        "the suite {suite} has no package {name} for {}{}", architecture.name(),
        if *architecture == Architecture::Riscv64 { "; riscv64 came with trixie (Debian 13)" } else { "" }
    )]
    NoPackage {
        /// The package.
        name: String,
        /// The suite that was searched.
        suite: String,
        /// For which machines.
        architecture: Architecture,
    },
    /// Something that packages depend on is not in the suite.
    #[error(
        "the suite {suite} has no package that serves as {wanted}{}; \
         check the names given with --include",
        if chain.is_empty() { String::new() } else { format!(", which {chain} needs") }
    )]
    Dependency {
        /// The relation that nothing meets.
        wanted: String,
        /// The suite that was searched.
        suite: String,
        /// From what was asked for to what needs it; empty if it was itself asked for.
        chain: String,
    },
    /// Two packages cannot be installed together.
    #[error("these packages cannot be together in one image: {one}; {other}")]
    Conflict {
        /// From what was asked for to the one.
        one: String,
        /// From what was asked for to the other.
        other: String,
    },
    /// No package can have this name.
    #[error(
        "{name:?} is not the name of a Debian package; --include takes names, with commas between"
    )]
    BadPackage {
        /// What was asked for.
        name: String,
    },
    /// A system's packages could not be configured.
    #[error(
        "the image could not be configured: {reason}. What its console said last:\n\n{shown}\n\n\
         More of it is in {}", log.display()
    )]
    Configure {
        /// What went wrong.
        reason: String,
        /// The console's last lines.
        shown: String,
        /// Where more of them are.
        log: PathBuf,
    },
    /// A package lacks a file that it should have.
    #[error("the package {package} has no file {path}")]
    NoFile {
        /// The package.
        package: String,
        /// The file, from the root of the file system, without a leading slash.
        path: String,
    },
    /// A package, module or index cannot be read.
    #[error("{what} cannot be read: {reason}")]
    Malformed {
        /// Which one.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The text names no OCI image.
    #[error(
        "{name:?} is not the name of an image: {reason}; names are like `alpine`, \
         `docker.io/library/alpine:3.20`, `oci:FOLDER` or `oci-archive:FILE`"
    )]
    BadReference {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A registry cannot be reached, or refuses.
    #[error("cannot {doing} {name}: {reason}")]
    Registry {
        /// What was being done, as a verb phrase: "fetch the image".
        doing: &'static str,
        /// The image or template.
        name: String,
        /// What happened, and what to do.
        reason: String,
    },
    /// What is to be an image in a registry is a template.
    #[error(
        "{name} is a template, not an image; `clade template pull {name}` fetches it, and \
         `clade run` takes it by the name that it has then"
    )]
    IsTemplate {
        /// What was asked for.
        name: String,
    },
    /// What is to be a template in a registry is none.
    #[error("{name} is no template: {reason}")]
    NoTemplate {
        /// What was asked for.
        name: String,
        /// What it is, and what to do.
        reason: String,
    },
    /// What came is not what the manifest describes.
    #[error(
        "a part of {name} is damaged or forged: its SHA-256 is {actual}, it should be {expected}; \
         it was thrown away. Try again, or ask whoever keeps it"
    )]
    BlobChecksum {
        /// The image or template.
        name: String,
        /// As its manifest says.
        expected: Sha256,
        /// Of what came.
        actual: Sha256,
    },
    /// An image for other machines.
    #[error(
        "the image {name} is for {platforms}, and the machine runs linux/{wanted}; look for another \
         tag, or build the image for linux/{wanted}", wanted = wanted.name()
    )]
    Platform {
        /// What it should have been for.
        wanted: Architecture,
        /// The image.
        name: String,
        /// The platforms that it is for.
        platforms: String,
    },
    /// There is not enough room for a download.
    #[error(
        "{what} needs {} of disk space in {} and there are only {}; free some space, or point \
         XDG_CACHE_HOME at a larger disk",
        mebibytes(*needed), folder.display(), mebibytes(*free)
    )]
    NoSpace {
        /// What was to be stored.
        what: String,
        /// The cache folder.
        folder: PathBuf,
        /// Bytes still to be written.
        needed: u64,
        /// Bytes that this user can still write there.
        free: u64,
    },
    /// The image's file system cannot be written.
    #[error(transparent)]
    FileSystem(#[from] clade_ext4::Error),
    /// The cache cannot be read or written.
    #[error(transparent)]
    Store(#[from] clade_store::Error),
}

impl Error {
    pub(crate) fn malformed(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Malformed {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
