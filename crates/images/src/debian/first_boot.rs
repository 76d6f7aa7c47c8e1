//! The one boot in which a system's packages are configured.

use std::path::{Path, PathBuf};

use super::files::CONFIGURE;
use crate::{Architecture, Error, Progress};

/// How much of the console is shown when the boot fails, in lines.
const SHOWN_LINES: usize = 25;
/// How much of the console is kept for that, in bytes.
const KEPT: usize = 64 << 10;

/// A machine that is to run once, until it switches itself off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstBoot {
    /// Which machine.
    pub architecture: Architecture,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub cmdline: String,
    /// The raw image of the one disk, which the guest writes to.
    pub disk: PathBuf,
}

/// Runs a machine; given by the caller, who knows how.
pub trait RunMachine {
    /// Runs the machine to its end, and hands over what it prints on its console meanwhile.
    ///
    /// # Errors
    /// The machine cannot be run, or did not end by switching itself off; the text is for people.
    fn run(&self, machine: &FirstBoot, console: &mut dyn FnMut(&[u8])) -> Result<(), String>;
}

impl FirstBoot {
    /// Runs it, and makes sure that the guest says it is configured. `word` is one that no other boot
    /// has, `packages` how many there are.
    pub(crate) fn run(
        mut self,
        runner: &dyn RunMachine,
        word: &str,
        packages: usize,
        log: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        self.cmdline =
            format!("console=hvc0 quiet panic=-1 init=/{CONFIGURE} clade.configure={word}");
        progress.begin_steps("configuring", packages as u64);
        let mut console = Console::new(word, progress);
        let ran = runner.run(&self, &mut |bytes| console.print(bytes));
        progress.finish();
        let reason = match (ran, console.configured) {
            (Ok(()), true) => return Ok(()),
            (Ok(()), false) => console
                .failure
                .take()
                .unwrap_or_else(|| "it switched off without having finished".to_owned()),
            (Err(reason), _) => reason,
        };
        clade_store::write(log, &console.kept)?;
        Err(Error::Configure {
            reason,
            shown: console.last_lines(),
            log: log.to_owned(),
        })
    }
}

/// Reads what the guest prints.
struct Console<'a> {
    success: String,
    progress: &'a dyn Progress,
    kept: Vec<u8>,
    line: Vec<u8>,
    configured: bool,
    failure: Option<String>,
}

impl<'a> Console<'a> {
    fn new(word: &str, progress: &'a dyn Progress) -> Self {
        Self {
            success: format!("clade: configured {word}"),
            progress,
            kept: Vec::new(),
            line: Vec::new(),
            configured: false,
            failure: None,
        }
    }

    fn print(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > 2 * KEPT {
            self.kept.drain(..self.kept.len() - KEPT);
        }
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                // A line without end is of no interest.
                _ if self.line.len() < 1000 => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let line = line.trim_end();
        if line == self.success {
            self.configured = true;
        } else if let Some(what) = line.strip_prefix("clade: ") {
            // The first says what went wrong.
            self.failure.get_or_insert_with(|| what.to_owned());
        } else if let Some(package) = line.strip_prefix("Setting up ") {
            let name = package.split([' ', ':']).next().unwrap_or(package);
            self.progress.detail(name);
            self.progress.advance(1);
        }
    }

    fn last_lines(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    struct Prints(&'static str, Result<(), String>);

    impl RunMachine for Prints {
        fn run(&self, machine: &FirstBoot, console: &mut dyn FnMut(&[u8])) -> Result<(), String> {
            assert!(machine.cmdline.ends_with(" clade.configure=word"));
            for piece in self.0.as_bytes().chunks(7) {
                console(piece);
            }
            self.1.clone()
        }
    }

    fn run(prints: &'static str, ends: Result<(), String>) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let boot = FirstBoot {
            architecture: Architecture::Riscv64,
            kernel: "k".into(),
            initrd: "i".into(),
            cmdline: String::new(),
            disk: "d".into(),
        };
        let log = folder.path().join("log");
        let result = boot.run(&Prints(prints, ends), "word", 1, &log, &Silent);
        assert_eq!(result.is_err(), log.exists());
        result.map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_right_word_before_the_power_goes_off_is_success() {
        assert!(run("Setting up a (1) ...\r\nclade: configured word\r\n", Ok(())).is_ok());
        for prints in ["", "clade: configured other\r\n", "clade: configured word"] {
            assert!(run(prints, Ok(())).is_err(), "{prints}");
        }
        let reset = Err("the guest reset".to_owned());
        let error = run("clade: configured word\n", reset).unwrap_err();
        assert!(error.contains("the guest reset"), "{error}");
    }

    #[test]
    fn a_failure_is_told_with_what_the_console_said() {
        let prints = "Setting up libc6 (2) ...\nE: no\nclade: dpkg failed\nclade: failed word\n";
        let error = run(prints, Ok(())).unwrap_err();
        assert!(error.contains("dpkg failed"), "{error}");
        assert!(error.contains("E: no\n"), "{error}");
    }

    #[test]
    fn endless_output_is_not_kept() {
        let mut console = Console::new("word", &Silent);
        for _ in 0..100 {
            console.print(&[b'x'; 10_000]);
        }
        assert!(console.kept.len() <= 2 * KEPT && console.line.len() <= 1000);
    }
}
