//! The files of a machine that its snapshots have, too.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clade_store::{FileName, link_or_copy};
use clade_vmm::spec::{MachineConfig, MachineSpec};

use super::TEMPLATE_KEY_FILE;
use crate::Error;

/// How the names of layers of memory end.
const LAYER_SUFFIX: &str = ".mem";

/// What a new layer of memory is called.
pub(super) fn layer_name(id: &str) -> Result<FileName, Error> {
    name_of(&format!("{id}{LAYER_SUFFIX}"))
}

/// Makes an empty file, which must not be there, open for reading and writing.
pub(super) fn create(path: &Path) -> Result<File, Error> {
    let mut options = File::options();
    let created = options.read(true).write(true).create_new(true).open(path);
    created.map_err(Error::io("create", path))
}

/// The layers of memory in a machine's folder.
pub(super) fn layers(folder: &Path) -> Result<Vec<FileName>, Error> {
    let mut layers = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        if let Ok(name) = entry.file_name().into_string()
            && let Ok(name) = FileName::new(name)
            && is_layer(&name)
        {
            layers.push(name);
        }
    }
    Ok(layers)
}

/// Whether this is the name of a layer of memory.
pub(super) fn is_layer(name: &FileName) -> bool {
    name.as_str().ends_with(LAYER_SUFFIX)
}

/// Removes the layers of memory that are not among `needed`.
pub(super) fn drop_layers(folder: &Path, needed: &[FileName]) -> Result<(), Error> {
    for layer in layers(folder)? {
        if !needed.contains(&layer) {
            let path = folder.join(&layer);
            fs::remove_file(&path).map_err(Error::io("remove", path))?;
        }
    }
    Ok(())
}

/// The names of all files in the machine's folder that it boots from or has its disks in, as
/// `config` names them there; disks with all that they stand on.
pub(super) fn of_config(folder: &Path, config: &MachineConfig) -> Result<Vec<FileName>, Error> {
    let boot = [&config.kernel, &config.initrd, &config.firmware];
    let boot = boot.into_iter().flatten().filter(|path| path.is_relative());
    let mut files: Vec<_> = boot.map(|path| path.to_path_buf()).collect();
    files.extend(chains(folder, config)?);
    let names = files.iter().map(|path| {
        let name = path.file_name().unwrap_or_default();
        name_of(&name.to_string_lossy())
    });
    let mut names = names.collect::<Result<Vec<_>, _>>()?;
    // As long as the guest has not been told who its user is, this is the way in.
    if folder.join(TEMPLATE_KEY_FILE).exists() {
        names.push(name_of(TEMPLATE_KEY_FILE)?);
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The files of its disks in the machine's folder, with all that they stand on, wherever that is.
pub(super) fn chains(folder: &Path, config: &MachineConfig) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for disk in config.disks.iter().filter(|disk| disk.path.is_relative()) {
        let path = folder.join(&disk.path);
        let chain = clade_disk::files(&path, disk.format).map_err(Error::disk)?;
        files.extend(chain);
    }
    Ok(files)
}

/// Gives the machine in `folder` a file of a snapshot's, unless it has it.
pub(super) fn adopt(from: &Path, folder: &Path, name: &FileName) -> Result<(), Error> {
    let place = folder.join(name);
    if fs::symlink_metadata(&place).is_ok() {
        // Names of layers are given once.
        return Ok(());
    }
    Ok(link_or_copy(&from.join(name), &place)?)
}

/// A machine as the manifest of a snapshot has it.
pub(super) fn to_value(spec: &MachineSpec) -> Result<serde_json::Value, Error> {
    serde_json::to_value(spec).map_err(|error| Error::Branch(error.to_string()))
}

pub(super) fn name_of(text: &str) -> Result<FileName, Error> {
    FileName::new(text).map_err(|error| Error::Branch(error.to_string()))
}
