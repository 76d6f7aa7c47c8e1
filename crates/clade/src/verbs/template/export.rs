//! `clade template export`

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clade_images::Progress;
use clade_manager::{Error, Machines, Snapshot};
use clade_store::Staged;

use crate::failure::Failure;
use crate::progress::Shown;

/// Write a template to one file, for another host or another user.
///
/// The file is a compressed tar archive with checksums of all that is in it.
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// The template.
    template: String,
    /// The file; `-` for standard output.
    file: PathBuf,
}

impl Export {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let template = super::find(&machines, &self.template)?;
        machines.check_portable(&template)?;
        let file = &self.file;
        if file.as_os_str() == "-" {
            let stdout = io::stdout();
            if stdout.is_terminal() {
                return Err(Failure::new(
                    "a template is nothing for a terminal; name a file, or send standard output \
                     elsewhere",
                ));
            }
            write(&template, stdout.lock(), Path::new("standard output"))?;
        } else if file.exists() && !file.is_file() {
            let mut options = File::options();
            let opened = options.write(true).open(file);
            write(&template, opened.map_err(error(file))?, file)?;
        } else {
            let staged = Staged::create(file)?;
            write(&template, staged.file(), file)?;
            staged.commit()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write(template: &Snapshot, to: impl Write, path: &Path) -> Result<(), Failure> {
    let shown = Shown::new();
    let size = template.export_size()?;
    shown.begin(&format!("exporting {}", template.name), size);
    let mut before = 0;
    let written = template.export(to, path, &mut |bytes| {
        shown.advance(bytes - before);
        before = bytes;
    });
    shown.finish();
    Ok(written?)
}

fn error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| clade_store::Error::io("open", &path, source).into()
}
