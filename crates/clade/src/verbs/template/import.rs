//! `clade template import`

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clade_guest::Key;
use clade_images::Progress;
use clade_manager::{ImportOrder, Machines, Snapshot};

use crate::failure::Failure;
use crate::progress::Shown;
use crate::remote;

/// Make a template of a file that `clade template export` wrote.
///
/// It may have been written by another user, or on another host. Nothing is made of a file that is not
/// whole.
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// The file; `-` for standard input.
    file: PathBuf,
    /// What to call the template, in place of the name that it had.
    name: Option<String>,
}

impl Import {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        if let Some(name) = &self.name {
            super::check_is_no_image(name)?;
        }
        let name = self.name.as_deref();
        let template = if self.file.as_os_str() == "-" {
            let stdin = io::stdin().lock();
            read(&machines, name, stdin, Path::new("standard input"), 0)?
        } else {
            let path = &self.file;
            let file = File::open(path);
            let file = file.map_err(|error| clade_store::Error::io("open", path, error))?;
            let size = file.metadata()?.len();
            read(&machines, name, file, path, size)?
        };
        super::print(template.name.as_str())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a file of this size; 0 if that is not known.
fn read(
    machines: &Machines,
    name: Option<&str>,
    from: impl Read,
    path: &Path,
    size: u64,
) -> Result<Snapshot, Failure> {
    let name = name.map(|name| machines.check_template_name(name));
    let name = name.transpose()?;
    let key = Key::of_user()?;
    let adapt = |cmdline: &str| remote::for_another_user(cmdline, &key);
    let shown = Shown::new();
    shown.begin(&format!("importing {}", path.display()), size);
    let mut before = 0;
    let mut progress = |bytes| {
        shown.advance(bytes - before);
        before = bytes;
    };
    let order = ImportOrder {
        path,
        name: name.as_ref(),
        accept: &super::check_is_no_image,
        adapt: &adapt,
    };
    let made = machines.import_template(from, &order, &mut progress);
    shown.finish();
    Ok(made?)
}
