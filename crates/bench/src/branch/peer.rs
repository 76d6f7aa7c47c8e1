//! QEMU, beside Clade's rows.

use std::path::Path;

use super::qemu::{Migrated, Qemu};
use super::samples::Column;
use super::{MIB, Session, WRITE, smaps};

/// Rounds that QEMU gets at most: they are long.
const ROUNDS: u32 = 5;

impl Session<'_> {
    pub(super) fn qemu(&mut self) -> Result<(), String> {
        let folder = tempfile::tempdir_in(self.clade.data()).map_err(|error| error.to_string())?;
        let folder = folder.path();
        eprintln!("starting QEMU");
        let mut qemu = Qemu::boot(self.options.qemu(), self.system, folder)?;
        qemu.shell(self.system.warm)?;
        let rounds = self.rounds.min(ROUNDS);
        let mut last = None;
        for _ in 0..rounds {
            self.save(&mut qemu, "snapshot-idle")?;
            last = Some(self.migrate(&mut qemu, folder, "snapshot-idle")?);
        }
        for _ in 0..rounds {
            let from = last.as_ref().ok_or("QEMU kept nothing")?;
            self.go_on(folder, from)?;
        }
        if !self.options.quick {
            // Once: QEMU keeps all memory each time. After what was before, its guest takes long to answer.
            qemu.shell(WRITE)?;
            for _ in 0..rounds {
                self.save(&mut qemu, "snapshot-written")?;
                self.migrate(&mut qemu, folder, "snapshot-written")?;
            }
        }
        // Nobody asks the guest for anything from here on.
        qemu.savevm()?;
        for _ in 0..rounds {
            let time = qemu.loadvm()?;
            self.time("restore-1", Column::SaveVm, time);
        }
        Ok(())
    }

    /// `savevm`, during all of which the guest stands still.
    fn save(&mut self, qemu: &mut Qemu, row: &str) -> Result<(), String> {
        let time = qemu.savevm()?;
        self.time(&format!("{row}-total"), Column::SaveVm, time);
        self.time(&format!("{row}-pause"), Column::SaveVm, time);
        qemu.delvm().map(drop)
    }

    fn migrate(&mut self, qemu: &mut Qemu, folder: &Path, row: &str) -> Result<Migrated, String> {
        let kept = qemu.migrate(folder)?;
        self.time(&format!("{row}-total"), Column::Migration, kept.time);
        self.time(&format!("{row}-pause"), Column::Migration, kept.pause);
        if row == "snapshot-idle" {
            self.time("suspend", Column::Migration, kept.time);
        }
        let bytes = std::fs::metadata(&kept.file)
            .map_err(|error| error.to_string())?
            .len();
        let size = bytes as f64 / f64::from(1 << 20);
        self.samples
            .note(&format!("{row}-size"), MIB, Column::Migration, size);
        Ok(kept)
    }

    /// Another QEMU that starts from what one wrote.
    fn go_on(&mut self, folder: &Path, from: &Migrated) -> Result<(), String> {
        let (mut clone, time) = Qemu::from_file(self.options.qemu(), self.system, folder, from)?;
        for row in ["clone-start", "restore-1", "resume"] {
            self.time(row, Column::Migration, time);
        }
        for row in ["clone-first-answer", "clone-second-answer"] {
            let time = clone.shell("true")?;
            self.time(row, Column::Migration, time);
        }
        let all = smaps::private(clone.process())?.all();
        self.samples
            .note("clone-memory-all", MIB, Column::Migration, all);
        Ok(())
    }
}
