//! Templates that come from elsewhere: whoever made them may mean harm.

use std::io::Read;
use std::path::{Component, Path};

use clade_store::FileName;
use clade_store::snapshots::{Details, Imported, MEMORY_INDEX, Manifest, STATE, Snapshot};
use clade_vmm::spec::{MachineConfig, MachineSpec};

use super::TEMPLATE_KEY_FILE;
use super::files;
use super::restore::spec_of;
use crate::names::check_name;
use crate::{Error, Machines};

/// What files a template has, by their names, and how the names of the others end: those of a machine
/// that Clade itself writes are not among them.
const NAMES: [&str; 6] = [
    STATE,
    MEMORY_INDEX,
    TEMPLATE_KEY_FILE,
    "kernel",
    "initrd",
    "firmware",
];
const SUFFIXES: [&str; 4] = ["mem", "qcow2", "raw", "img"];

/// What is to become of a template that comes from elsewhere.
#[derive(Clone, Copy)]
pub struct ImportOrder<'a> {
    /// What it comes from is called so in errors.
    pub path: &'a Path,
    /// Its name, if not the one that it had.
    pub name: Option<&'a FileName>,
    /// Refuses names.
    pub accept: &'a dyn Fn(&str) -> Result<(), Error>,
    /// Changes the kernel's command line: its user is another.
    pub adapt: &'a dyn Fn(&str) -> String,
}

impl Machines {
    /// Makes a template of what [`Snapshot::export`] wrote, here or elsewhere. `progress` is told of the
    /// bytes of `from` that were read so far.
    ///
    /// # Errors
    /// When it is damaged or no template, when there is no room, and [`Error::TemplateTaken`].
    pub fn import_template(
        &self,
        from: impl Read,
        order: &ImportOrder<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Snapshot, Error> {
        let path = order.path;
        let refused =
            |reason| Error::Branch(format!("{} is no template: {reason}", path.display()));
        let accept = |theirs: &FileName, manifest: &Manifest| {
            let name = order.name.unwrap_or(theirs).as_str();
            self.check_template_name(name)?;
            (order.accept)(name)?;
            check(manifest).map_err(refused)
        };
        let imported = self.templates()?.import(from, path, accept, progress)?;
        let mut spec = spec_of(&imported.manifest)?;
        check_chains(&imported, &spec.config).map_err(refused)?;
        spec.config.cmdline = (order.adapt)(&spec.config.cmdline);
        let name = order.name.unwrap_or(&imported.name);
        let details = Details {
            name: Some(name.to_string()),
            parent: None,
            config: files::to_value(&spec)?,
            ..imported.manifest.details
        };
        Ok(imported.draft.commit_as(name, details)?)
    }
}

/// Makes sure that disks stand on nothing but each other, which is known only when they are there.
fn check_chains(imported: &Imported, config: &MachineConfig) -> Result<(), String> {
    let folder = imported.draft.folder();
    let files = files::chains(folder, config).map_err(|error| error.to_string())?;
    let is_known = |file: &Path| {
        let inside = file.strip_prefix(folder);
        inside.is_ok_and(|name| is_there(&imported.manifest, name))
    };
    match files.iter().find(|file| !is_known(file)) {
        Some(file) => Err(format!("a disk of it stands on {}", file.display())),
        None => Ok(()),
    }
}

/// Whether it is a template that could be of any host.
pub(super) fn check(manifest: &Manifest) -> Result<(), String> {
    let spec = spec_of(manifest).map_err(|error| error.to_string())?;
    check_words(&spec, manifest)?;
    for name in manifest.files.keys() {
        let suffix = Path::new(name.as_str()).extension();
        let known = NAMES.contains(&name.as_str())
            || suffix.is_some_and(|suffix| SUFFIXES.iter().any(|one| suffix == *one));
        if !known {
            return Err(format!("it has a file {name}"));
        }
    }
    if let Some(path) = foreign_path(&spec.config, manifest) {
        return Err(format!("its machine needs {path}, which is not part of it"));
    }
    Ok(())
}

/// Names are shown to people, and told to the guest.
fn check_words(spec: &MachineSpec, manifest: &Manifest) -> Result<(), String> {
    let names = [&spec.name, &manifest.details.origin.name];
    let names = names.into_iter().try_for_each(|name| check_name(name));
    names.map_err(|error| error.to_string())?;
    let image = spec.image.as_deref().unwrap_or_default();
    let texts = [image, &manifest.details.origin.id, &spec.id];
    match texts.iter().any(|text| text.contains(char::is_control)) {
        true => Err("it has names that cannot be shown".to_owned()),
        false => Ok(()),
    }
}

/// A file or folder of the host that the machine needs.
fn foreign_path(config: &MachineConfig, manifest: &Manifest) -> Option<String> {
    let mut config = config.clone();
    let mut paths = config.paths_mut();
    let foreign = paths.find(|path| !is_there(manifest, path));
    foreign.map(|path| path.display().to_string())
}

/// Whether a template has a file of this name.
fn is_there(manifest: &Manifest, path: &Path) -> bool {
    match path.components().collect::<Vec<_>>()[..] {
        [Component::Normal(name)] => manifest.files.keys().any(|file| *file.as_str() == *name),
        _ => false,
    }
}
