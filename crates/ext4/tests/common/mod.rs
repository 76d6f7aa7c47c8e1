//! What we did not write and so trust: e2fsprogs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clade_ext4::{Builder, Options};
use tempfile::TempDir;

/// An image file in a folder of its own.
pub(crate) struct Image {
    folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Image {
    /// Builds an image of `size` bytes.
    pub(crate) fn build(
        size: u64,
        fill: impl FnOnce(&mut Builder) -> Result<(), clade_ext4::Error>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        let options = Options {
            size,
            label: "clade-test".to_owned(),
            created: 1_000_000_000,
            ..Options::default()
        };
        let mut builder = Builder::new(file, &options).unwrap();
        fill(&mut builder).unwrap();
        builder.finish().unwrap();
        Self { folder, path }
    }

    /// Fails if e2fsck finds anything that it would change.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Some((success, output)) = run(Command::new("e2fsck").args(["-fn"]).arg(&self.path))
        else {
            return Ok(());
        };
        if success { Ok(()) } else { Err(output) }
    }

    /// What debugfs answers.
    pub(crate) fn debugfs(&self, request: &str) -> Option<String> {
        Some(
            run(Command::new("debugfs")
                .args(["-R", request])
                .arg(&self.path))?
            .1,
        )
    }

    /// The tree, copied out of the image; owners too if we are root.
    pub(crate) fn extract(&self) -> Option<PathBuf> {
        let tree = self.folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        self.debugfs(&format!("rdump / {}", tree.display()))?;
        Some(tree)
    }
}

/// Runs a tool of e2fsprogs: its success, and all that it printed. `None`, said aloud, if it is not here.
pub(crate) fn run(command: &mut Command) -> Option<(bool, String)> {
    let tool = Path::new(command.get_program()).display().to_string();
    // Debian has it where only root's PATH leads.
    let path = std::env::var("PATH").unwrap_or_default();
    match command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("TZ", "UTC")
        .output()
    {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some((
                output.status.success(),
                String::from_utf8_lossy(&text).into_owned(),
            ))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: {tool} is not installed here (package e2fsprogs)");
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}
