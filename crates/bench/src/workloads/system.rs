//! What the workloads run in: an initramfs for guests, a folder for this host.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clade_images::{Architecture, Package, cpio};
use clade_store::{Folders, Sha256};

use super::catalog::{ALL, PRIME};
use super::{data, root};
use crate::initrd::Initrd;
use crate::{kernels, program};

/// How many functions the C program has that is compiled.
const FUNCTIONS: u32 = 12;

/// Packages of one architecture, and where the cache keeps what is made of them.
struct Base {
    packages: Vec<Package>,
    path: PathBuf,
}

impl Base {
    fn of(architecture: Architecture) -> Result<Self, String> {
        let packages = root::packages(architecture)?;
        let mut recipe = root::recipe();
        for package in &packages {
            recipe.push_str(&format!("\n{} {}", package.name, package.version));
        }
        let name = format!(
            "{}-{}",
            architecture.name(),
            Sha256::of(recipe.as_bytes()).short()
        );
        let folders = Folders::of_user().map_err(|error| error.to_string())?;
        let folder = folders.cache().join("bench");
        clade_store::create_folder(&folder).map_err(|error| error.to_string())?;
        Ok(Self {
            packages,
            path: folder.join(name),
        })
    }
}

/// The initramfs of the guests.
pub(crate) fn guest() -> Result<Initrd, String> {
    let base = Base::of(Architecture::Riscv64)?;
    if !base.path.exists() {
        eprintln!("unpacking {} packages for guests", base.packages.len());
        let root = root::of(&base.packages)?;
        let mut archive = cpio::Writer::new(Vec::new(), 0);
        let packed = root.pack(&mut archive).and_then(|()| archive.finish());
        let bytes = packed.map_err(|error| error.to_string())?;
        clade_store::write(&base.path, &bytes).map_err(|error| error.to_string())?;
    }
    Initrd::behind(&base.path, |archive| {
        for folder in ["dev", "proc", "root", "sys", "tmp"] {
            archive.folder(folder)?;
        }
        archive.device("dev/console", 0o600, (5, 1))?;
        archive.device("dev/null", 0o666, (1, 3))?;
        archive.file("init", 0o755, include_bytes!("../../guest/init"))?;
        program::install(archive, &kernels::all())?;
        for (name, content) in files() {
            archive.file(&format!("bench/{name}"), 0o644, &content)?;
        }
        Ok(())
    })
}

/// A folder to `chroot` into.
pub(crate) fn native() -> Result<PathBuf, String> {
    let base = Base::of(Architecture::Amd64)?;
    let make = || -> io::Result<()> {
        if !base.path.exists() {
            eprintln!("unpacking {} packages for this host", base.packages.len());
            let staged = base.path.with_extension("staged");
            if staged.exists() {
                fs::remove_dir_all(&staged)?;
            }
            let root = root::of(&base.packages).map_err(io::Error::other)?;
            root.unpack(&staged)?;
            fs::rename(&staged, &base.path)?;
        }
        for folder in ["bench", "dev", "proc", "tmp"] {
            fs::create_dir_all(base.path.join(folder))?;
        }
        write_all(&base.path.join("bench"))
    };
    make().map_err(|error| format!("{}: {error}", base.path.display()))?;
    Ok(base.path)
}

fn write_all(folder: &Path) -> io::Result<()> {
    files()
        .iter()
        .try_for_each(|(name, content)| fs::write(folder.join(name), content))
}

/// What stands in `/bench`.
fn files() -> Vec<(String, Vec<u8>)> {
    let fixed: [(&str, &[u8]); 6] = [
        ("run", include_bytes!("../../guest/run")),
        ("integers.py", include_bytes!("../../guest/integers.py")),
        ("nbody.py", include_bytes!("../../guest/nbody.py")),
        ("words.pl", include_bytes!("../../guest/words.pl")),
        ("rows.sql", include_bytes!("../../guest/rows.sql")),
        ("prime", PRIME.as_bytes()),
    ];
    let scripts = ALL
        .iter()
        .map(|workload| (format!("{}.sh", workload.name), workload.script.into()));
    fixed
        .iter()
        .map(|&(name, content)| (name.to_owned(), content.to_vec()))
        .chain(scripts)
        .chain([
            ("text".to_owned(), data::text()),
            ("program.c".to_owned(), data::c_source(FUNCTIONS).into()),
        ])
        .collect()
}
