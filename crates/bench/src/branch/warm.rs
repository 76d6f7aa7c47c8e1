//! Warm images: from `clade run` to its command's answer, where machines boot and where they do not.

use std::path::Path;
use std::time::{Duration, Instant};

use super::samples::Column;
use super::{Clade, Session};

/// The making of a warm image takes no longer.
const PATIENCE: Duration = Duration::from_secs(300);

impl Session<'_> {
    /// The first boots and has the warm image made; the others, in turn, boot and go on from it.
    pub(super) fn warm(&mut self) -> Result<(), String> {
        let memory = format!("{}M", self.system.memory);
        let options = ["run", "--rm", "-m", &memory];
        let answer = [self.system.image, "--", "true"];
        let arguments = [&options[..], &self.system.board.options(), &answer].concat();
        self.clade.run_warm(&arguments)?;
        wait_until_made(&self.clade)?;
        for _ in 0..self.rounds {
            let time = self.clade.run(&arguments)?;
            self.time("warm-cold-run", Column::Clade, time);
            let time = self.clade.run_warm(&arguments)?;
            self.time("warm-run", Column::Clade, time);
        }
        self.warm_clones(&memory)
    }

    /// Clones of a machine that did not boot, as most of users' machines: what was translated for their sake
    /// before comes with them.
    fn warm_clones(&mut self, memory: &str) -> Result<(), String> {
        let [source, first] = ["warm-source", "warm-first"].map(|name| self.name(name));
        let image = self.system.image();
        self.clade.start_warm(&first, &image, memory)?;
        wait_until_made(&self.clade)?;
        self.clade.remove(&[first])?;
        self.clade.start_warm(&source, &image, memory)?;
        self.clade.shell(&source, self.system.warm)?;
        self.clade.snapshot(&source, "warm")?;
        for round in 1..=self.rounds {
            self.clone("warm-clone", &format!("{source}@warm"), round)?;
        }
        Ok(())
    }
}

fn wait_until_made(clade: &Clade) -> Result<(), String> {
    let folder = clade.data().join("warm");
    let began = Instant::now();
    // Whoever makes it begins a moment after the machine.
    std::thread::sleep(Duration::from_secs(2));
    while is_making(&folder) {
        if began.elapsed() > PATIENCE {
            return Err(format!("no warm image was made within {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Whether anybody holds the right to make one.
fn is_making(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name != ".lock" && name.ends_with(".lock"))
}
