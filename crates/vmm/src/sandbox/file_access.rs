//! Landlock: the file system, TCP and signals, as far as the kernel can restrict them.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::Permissions;

/// The newest version whose rights are used; older kernels restrict what they know.
const VERSION: ABI = ABI::V6;

pub(super) fn restrict(permissions: &Permissions) -> Result<(), String> {
    match restrict_self(permissions) {
        Ok(RulesetStatus::FullyEnforced) => Ok(()),
        Ok(RulesetStatus::PartiallyEnforced) => {
            Err("in part only: the kernel's Landlock is older than Linux 6.12's".to_owned())
        }
        Ok(RulesetStatus::NotEnforced) => {
            Err("the kernel has no Landlock, or it is switched off (boot option lsm=)".to_owned())
        }
        Err(error) => Err(format!("Landlock fails: {error}")),
    }
}

fn restrict_self(permissions: &Permissions) -> Result<RulesetStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(VERSION))?
        .handle_access(restricted_network(permissions))?
        .scope(Scope::from_all(VERSION))?
        .create()?;
    // To rename the logs, and to remove everything at the end.
    let own = AccessFs::from_read(VERSION) | AccessFs::RemoveFile | AccessFs::MakeReg;
    for folder in [&permissions.folder, &permissions.sockets] {
        rules = allow(rules, folder, own)?;
        if let Some(parent) = folder.parent() {
            rules = allow(rules, parent, AccessFs::RemoveDir.into())?;
        }
    }
    for file in &permissions.readable {
        rules = allow(rules, file, AccessFs::ReadFile.into())?;
    }
    for folder in &permissions.read_folders {
        rules = allow(rules, folder, AccessFs::ReadFile | AccessFs::ReadDir)?;
    }
    for folder in &permissions.write_folders {
        rules = allow(rules, folder, changing())?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// Whatever can be done to a folder's contents, but for running them and making devices.
fn changing() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::MakeFifo
        | AccessFs::MakeSock
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

/// Forwarded ports are open by now: nobody binds one any more.
fn restricted_network(permissions: &Permissions) -> BitFlags<AccessNet> {
    let mut restricted = AccessNet::from_all(VERSION);
    if permissions.network {
        restricted.remove(AccessNet::ConnectTcp);
    }
    restricted
}

/// What cannot be opened, and what is no file (a pipe has been read by now), needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(handle) if path.is_file() || path.is_dir() => {
            rules.add_rule(PathBeneath::new(handle, access))
        }
        _ => Ok(rules),
    }
}
