//! Templates that come from elsewhere: whoever made them may mean harm.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use clade_store::FileName;
use clade_store::snapshots::{Details, Imported, Intake, MEMORY_INDEX, Manifest, STATE, Snapshot};
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

/// A template on its way in, file by file. Dropped, it leaves nothing behind.
pub struct TemplateImport<'a> {
    machines: &'a Machines,
    order: ImportOrder<'a>,
    name: FileName,
    intake: Intake,
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
        let accept =
            |theirs: &FileName, manifest: &Manifest| self.accept(theirs, manifest, order).map(drop);
        let (theirs, imported) = self
            .templates()?
            .import(from, order.path, accept, progress)?;
        complete(imported, order.name.unwrap_or(&theirs), order)
    }

    /// Begins to take in a template that was called `theirs` elsewhere and has this manifest.
    ///
    /// # Errors
    /// When it is no template, or could not be of any host; and [`Error::TemplateTaken`].
    pub fn begin_import<'a>(
        &'a self,
        theirs: &FileName,
        manifest: Manifest,
        order: ImportOrder<'a>,
    ) -> Result<TemplateImport<'a>, Error> {
        Ok(TemplateImport {
            name: self.accept(theirs, &manifest, &order)?,
            intake: self.templates()?.take_in(manifest, order.path)?,
            machines: self,
            order,
        })
    }

    /// What a template from elsewhere is to be called, if it may come in.
    fn accept(
        &self,
        theirs: &FileName,
        manifest: &Manifest,
        order: &ImportOrder<'_>,
    ) -> Result<FileName, Error> {
        let name = self.check_template_name(order.name.unwrap_or(theirs).as_str())?;
        (order.accept)(name.as_str())?;
        match check(manifest) {
            Ok(()) => Ok(name),
            Err(reason) => Err(refused(order, &reason)),
        }
    }

    /// The templates and snapshots that can be read.
    pub(super) fn kept(&self) -> Result<Vec<Snapshot>, Error> {
        let mut kept = self.templates()?.list()?.snapshots;
        kept.extend(self.snapshots()?.list()?.snapshots);
        Ok(kept)
    }
}

impl TemplateImport<'_> {
    /// The files that have not come yet.
    pub fn missing(&self) -> Vec<FileName> {
        self.intake.missing()
    }

    /// Takes those files that templates and snapshots of this user have already.
    ///
    /// # Errors
    /// When those cannot be listed.
    pub fn take_what_is_here(&mut self) -> Result<(), Error> {
        let kept = self.machines.kept()?;
        for name in self.intake.missing() {
            let wanted = self.intake.manifest().files[&name];
            let here = kept.iter().flat_map(|one| {
                let files = one.manifest.files.iter();
                let same = files
                    .filter(|(_, file)| (file.size, file.blake3) == (wanted.size, wanted.blake3));
                same.map(|(file, record)| (one.path(file), record))
            });
            // One that is gone or damaged by now has to come from elsewhere.
            let link = |(path, record): (PathBuf, _)| self.intake.link(&name, &path, record);
            let _ = here.map(link).find(Result::is_ok);
        }
        Ok(())
    }

    /// Takes a file's content.
    ///
    /// # Errors
    /// When it is not what the manifest says, or there is no room.
    pub fn take(&mut self, name: &FileName, content: impl Read) -> Result<(), Error> {
        Ok(self.intake.take(name, content)?)
    }

    /// The template, all of whose files have come.
    ///
    /// # Errors
    /// When it could not be of any host, or cannot be written.
    pub fn finish(self) -> Result<Snapshot, Error> {
        complete(self.intake.finish()?, &self.name, &self.order)
    }
}

/// Makes a template of what came.
fn complete(
    imported: Imported,
    name: &FileName,
    order: &ImportOrder<'_>,
) -> Result<Snapshot, Error> {
    let mut spec = spec_of(&imported.manifest)?;
    check_chains(&imported, &spec.config).map_err(|reason| refused(order, &reason))?;
    spec.config.cmdline = (order.adapt)(&spec.config.cmdline);
    let details = Details {
        name: Some(name.to_string()),
        parent: None,
        config: files::to_value(&spec)?,
        ..imported.manifest.details
    };
    Ok(imported.draft.commit_as(name, details)?)
}

fn refused(order: &ImportOrder<'_>, reason: &str) -> Error {
    Error::Branch(format!("{} is no template: {reason}", order.path.display()))
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
