//! Machines made from OCI images: what the command line says about them, and what they have of
//! their own.

use std::env;
use std::io::Write;

use clade_images::{Architecture, OciImage, OciProcess, OciRequest, cpio};
use clade_manager::{Draft, Machines};

use crate::failure::Failure;
use crate::progress::Shown;
use crate::root_disk;

/// `mini`'s initramfs, and what the machine is to run.
const INITRD_FILE: &str = "initrd";

/// Brings an image into the cache; with `refresh`, the newest of its name.
pub(crate) fn fetch(
    name: &str,
    architecture: Architecture,
    insecure_registries: Vec<String>,
    refresh: bool,
) -> Result<OciImage, Failure> {
    let request = OciRequest {
        name: name.to_owned(),
        insecure_registries,
        architecture,
        refresh,
    };
    Ok(clade_images::ensure_oci(&request, &Shown::new())?)
}

/// Removes what was fetched, or remembered of registries, and is needed no longer.
pub(crate) fn sweep() -> Result<(), Failure> {
    clade_images::sweep_parts(|| {
        let machines = Machines::of_user()?;
        let (templates, snapshots) = (machines.templates()?, machines.snapshots()?);
        // Of a snapshot's content a template may be made.
        let kept = [templates.list()?.snapshots, snapshots.list()?.snapshots].concat();
        let files = kept.iter().flat_map(|one| one.manifest.files.values());
        Ok(files.map(|file| file.blake3).collect())
    })
}

/// What the user says about an OCI image's process.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Options for OCI images")]
pub(crate) struct OciOptions {
    /// Run this program of the image in place of its own; an empty one leaves what is behind --.
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Set an environment variable; without =VALUE, to what it is here.
    #[arg(long = "env", short = 'e', value_name = "NAME[=VALUE]")]
    environment: Vec<String>,
    /// Start in this folder of the image.
    #[arg(long = "workdir", short = 'w', value_name = "FOLDER")]
    folder: Option<String>,
    /// Run as this user of the image, or with these numbers.
    #[arg(long, short = 'u', value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Speak to this registry without encryption; one on this host is so in any case.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) insecure_registry: Vec<String>,
}

impl OciOptions {
    /// Refuses options that mean nothing for an image that is no OCI image.
    pub(crate) fn check_unused(&self) -> Result<(), Failure> {
        let used = self.entrypoint.is_some()
            || !self.environment.is_empty()
            || self.folder.is_some()
            || self.user.is_some();
        if used {
            return Err(Failure::new(
                "--entrypoint, --env, --workdir and --user are for OCI images, like \
                 `clade run -u nobody alpine -- id`",
            ));
        }
        Ok(())
    }

    /// The image, and its process changed as the user wants it.
    pub(crate) fn machine(
        &self,
        name: &str,
        architecture: Architecture,
        command: Vec<String>,
    ) -> Result<OciMachine, Failure> {
        let image = fetch(name, architecture, self.insecure_registry.clone(), false)?;
        let process = self.process(&image.process, command);
        Ok(OciMachine { image, process })
    }

    fn process(&self, of_image: &OciProcess, command: Vec<String>) -> OciProcess {
        let mut process = of_image.clone();
        if let Some(entrypoint) = &self.entrypoint {
            process = process.with_entrypoint(entrypoint);
        }
        process = process.with_command(command);
        let variables = self.environment.iter();
        process
            .environment
            .extend(variables.filter_map(|variable| with_value(variable)));
        if let Some(folder) = &self.folder {
            process.folder.clone_from(folder);
        }
        if let Some(user) = &self.user {
            process.user.clone_from(user);
        }
        process
    }
}

/// What a machine is made of: an image, and what to run in it.
#[derive(Debug)]
pub(crate) struct OciMachine {
    pub(crate) image: OciImage,
    process: OciProcess,
}

impl OciMachine {
    /// Gives a machine that is being made the image's file system, with a layer of its own above
    /// it, and the process to run. Its initial RAM disk must be `mini`'s.
    pub(crate) fn furnish(&self, draft: &mut Draft) -> Result<(), Failure> {
        root_disk::add(draft, &self.image.root)?;
        let seed = self.process.seed(&draft.spec().name)?;
        let initrd = draft.folder().join(INITRD_FILE);
        if let Some(mini) = &draft.spec().config.initrd {
            cpio::copy_for_another(mini, &initrd)
                .and_then(|mut file| file.write_all(&seed))
                .map_err(|error| {
                    Failure::new(format!("cannot write {}: {error}", initrd.display()))
                })?;
        }
        draft.config_mut().initrd = Some(INITRD_FILE.into());
        Ok(())
    }
}

/// A variable with its value, or with that which it has here; none if it has none.
fn with_value(variable: &str) -> Option<String> {
    if variable.contains('=') {
        return Some(variable.to_owned());
    }
    let value = env::var(variable).ok()?;
    Some(format!("{variable}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_has_the_last_word() {
        let own = OciProcess {
            entrypoint: vec!["own".to_owned()],
            command: vec!["default".to_owned()],
            environment: vec!["A=1".to_owned()],
            user: "bob".to_owned(),
            folder: "/app".to_owned(),
        };
        let options = OciOptions::default();
        assert_eq!(options.process(&own, Vec::new()), own);
        let options = OciOptions {
            entrypoint: Some("mine".to_owned()),
            environment: vec!["A=2".to_owned(), "CLADE_NO_SUCH_VARIABLE".to_owned()],
            folder: Some("/".to_owned()),
            user: Some("0".to_owned()),
            insecure_registry: Vec::new(),
        };
        let process = options.process(&own, vec!["x".to_owned()]);
        assert_eq!(process.words().collect::<Vec<_>>(), ["mine", "x"]);
        assert_eq!(process.environment, ["A=1", "A=2"]);
        assert_eq!((process.user.as_str(), process.folder.as_str()), ("0", "/"));
    }
}
