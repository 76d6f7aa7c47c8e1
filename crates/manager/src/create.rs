//! Making a machine.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use clade_vmm::console::LOG_FILE;
use clade_vmm::control::Connection;
use clade_vmm::folder::{LOCK_FILE, MACHINE_LOG_FILE};
use clade_vmm::record::{self, RECORD_FILE};
use clade_vmm::spec::{MachineConfig, MachineSpec};

use crate::machines::{clear, write_spec_unsynced};
use crate::names::{friendly_name, new_id};
use crate::start::launch;
use crate::{Error, Host, Machines, Started};

/// So many friendly names are tried before a name is asked for.
const NAME_TRIES: u32 = 50;

/// What machine is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The name; a friendly one is chosen if there is none.
    pub name: Option<String>,
    /// The image that it comes from.
    pub image: Option<String>,
    /// Whether the machine is removed, with all that it has, when its life ends.
    pub temporary: bool,
    /// What it is made of. Files may be named relative to the working directory.
    pub config: MachineConfig,
}

/// A machine that is being made: it has a name and a folder that nobody else touches, but does not
/// exist yet for anybody else. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Draft {
    machines: Machines,
    spec: MachineSpec,
    folder: PathBuf,
    /// The machine's lock; none once it was handed on.
    lock: Option<File>,
}

impl Machines {
    /// Begins to make a machine.
    ///
    /// # Errors
    /// [`Error::Cpus`] and [`Error::Memory`] for what the host cannot carry, [`Error::BadName`],
    /// [`Error::NameTaken`].
    pub fn create(&self, order: Order) -> Result<Draft, Error> {
        check_host(&order.config)?;
        if let Some(name) = &order.name {
            // Clears away what a dead machine of that name left, too.
            self.check_free(name)?;
        }
        let id = new_id().map_err(Error::io("read randomness for", self.folder()))?;
        let (name, folder, lock) = self.claim_name(order.name.as_deref(), &id)?;
        Ok(Draft {
            machines: self.clone(),
            spec: MachineSpec {
                id,
                name,
                image: order.image,
                origin: None,
                mac: None,
                unsettled: None,
                created: record::now(),
                temporary: order.temporary,
                config: with_absolute_paths(order.config)?,
            },
            folder,
            lock: Some(lock),
        })
    }

    /// [`Machines::create`] and [`Draft::start`].
    ///
    /// # Errors
    /// As for these.
    pub fn start(&self, order: Order, program: Command) -> Result<(Started, Connection), Error> {
        self.create(order)?.start(program)
    }

    /// Makes a locked folder under a passing name, and gives it the machine's.
    fn claim_name(&self, wanted: Option<&str>, id: &str) -> Result<(String, PathBuf, File), Error> {
        let _lock = self.lock()?;
        let name = match wanted {
            Some(name) => name.to_owned(),
            None => self.free_name()?,
        };
        let folder = self.folder().join(&name);
        if folder.exists() {
            return Err(Error::taken(&name, None));
        }
        let staged = self.folder().join(format!(".new-{id}"));
        let make = || -> Result<File, Error> {
            let mut builder = fs::DirBuilder::new();
            builder
                .mode(0o700)
                .create(&staged)
                .map_err(Error::io("create folder", &staged))?;
            let lock = self.claim(&staged)?;
            fs::rename(&staged, &folder).map_err(Error::io("create folder", &folder))?;
            lock.ok_or_else(|| Error::taken(&name, None))
        };
        let lock = make().inspect_err(|_| {
            // The first error is the one to tell.
            let _ = clear(&staged);
        })?;
        Ok((name, folder, lock))
    }

    fn free_name(&self) -> Result<String, Error> {
        for _ in 0..NAME_TRIES {
            let name = friendly_name().map_err(Error::io("choose a name in", self.folder()))?;
            if !self.folder().join(&name).exists() {
                return Ok(name);
            }
        }
        Err(Error::taken("of every friendly kind", None))
    }
}

/// Makes sure that a new machine in `folder` survives a crash of the host, once its folder's name does.
pub(crate) fn sync_machine(folder: &Path) -> Result<(), Error> {
    match sync_own_files(folder) {
        // It has come to its end already, and was removed.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(Error::io("sync the files in", folder)),
    }
}

/// Syncs the files in `folder`, and their names. What has other names, too, is synced under those; what is of a life
/// that has begun is worth nothing after a crash.
pub(crate) fn sync_own_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (about, name) = (entry.metadata()?, entry.file_name());
        let of_life = [LOCK_FILE, RECORD_FILE, LOG_FILE, MACHINE_LOG_FILE];
        let is_wanted = about.is_file() && about.len() > 0 && about.nlink() == 1;
        if is_wanted && !of_life.iter().any(|of_life| name == *of_life) {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

impl Draft {
    /// What the machine will be.
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    pub(crate) fn spec_mut(&mut self) -> &mut MachineSpec {
        &mut self.spec
    }

    /// What the machine will be made of, to be changed. Relative paths are in its folder.
    pub fn config_mut(&mut self) -> &mut MachineConfig {
        &mut self.spec.config
    }

    /// The machine's folder, for what it is to have of its own: disks, keys. There are files in it,
    /// and no folders.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes an immutable file part of the machine, as `name` in its folder, by which it is to be
    /// named from now on: whatever happens to the image that it is from, the machine keeps it. It
    /// takes no room where both are on one file system.
    ///
    /// # Errors
    /// When it cannot be linked or copied there.
    pub fn keep(&self, file: &Path, name: &str) -> Result<PathBuf, Error> {
        let kept = self.folder.join(name);
        match fs::hard_link(file, &kept) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::io("keep", file)(error));
            }
            Err(_) => drop(fs::copy(file, &kept).map_err(Error::io("keep a copy of", file))?),
            Ok(()) => {}
        }
        Ok(name.into())
    }

    /// Makes the machine, builds it in a process of its own, started by `program`, which gets the
    /// machine's folders as its last arguments and must call [`clade_vmm::process::run`].
    ///
    /// The guest does not start until [`clade_vmm::control::Request::Attach`] or `Detach` is sent
    /// on the connection; when that closes first, the machine ends.
    ///
    /// # Errors
    /// [`Error::Refused`] for a machine that cannot be built; then there is none.
    pub fn start(self, program: Command) -> Result<(Started, Connection), Error> {
        self.start_from(program, None)
    }

    /// The same for a machine that goes on from what is kept in the folder `saved`. Such a machine is
    /// not waited for to be on the disk before it runs: [`sync_machine`] is called afterwards.
    pub(crate) fn start_from(
        mut self,
        program: Command,
        saved: Option<&Path>,
    ) -> Result<(Started, Connection), Error> {
        if self.spec.image.is_some() && !self.spec.temporary {
            self.keep_boot_files()?;
        }
        write_spec_unsynced(&self.folder, &self.spec)?;
        if saved.is_none() && !self.spec.temporary {
            sync_machine(&self.folder)?;
            clade_store::sync_folder(self.machines.folder())?;
        }
        let Some(lock) = self.lock.take() else {
            return Err(Error::taken(&self.spec.name, None));
        };
        let started = launch(
            &self.machines,
            &self.spec,
            &self.folder,
            lock,
            program,
            saved,
        );
        if started.is_err() {
            clear(&self.folder)?;
        }
        started
    }

    /// Makes what the machine boots from part of it, as [`Draft::keep`] does. One that is to last has it
    /// so anyway.
    ///
    /// # Errors
    /// As there.
    pub fn keep_boot_files(&mut self) -> Result<(), Error> {
        let config = &self.spec.config;
        let keep = |path: &Option<PathBuf>, name| match path {
            Some(path) if path.is_absolute() => self.keep(path, name).map(Some),
            other => Ok(other.clone()),
        };
        let kernel = keep(&config.kernel, "kernel")?;
        let initrd = keep(&config.initrd, "initrd")?;
        let firmware = keep(&config.firmware, "firmware")?;
        self.spec.config = MachineConfig {
            kernel,
            initrd,
            firmware,
            ..self.spec.config.clone()
        };
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // What cannot be removed is found without a spec by whoever comes next.
            let _ = clear(&self.folder);
        }
    }
}

/// Whether this host can carry the machine.
pub(crate) fn check_host(config: &MachineConfig) -> Result<(), Error> {
    // Of many clones, each is asked about.
    static HOST: OnceLock<Host> = OnceLock::new();
    let host = match HOST.get() {
        Some(host) => host,
        None => {
            let host = Host::of_this_machine().map_err(Error::io("read", "/proc"))?;
            HOST.get_or_init(|| host)
        }
    };
    host.check(config.cpus, config.memory)
}

/// The machine's process works in another folder.
fn with_absolute_paths(mut config: MachineConfig) -> Result<MachineConfig, Error> {
    for path in config.paths_mut() {
        *path = std::path::absolute(&*path).map_err(Error::io("find the place of", &*path))?;
    }
    Ok(config)
}
