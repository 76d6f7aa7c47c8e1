//! A machine of the image `mini` that runs on its own.

use std::sync::MutexGuard;

use super::images::{alone, mini};
use super::{Finished, Home, timeout};

/// Its name.
pub(crate) const NAME: &str = "box";

/// The one guest of its time, with a home of its own.
pub(crate) struct Machine {
    pub(crate) home: Home,
    _alone: MutexGuard<'static, ()>,
}

impl Machine {
    /// Starts it with these options of `clade run`, and waits until it is ready. None, and why is said,
    /// where the image cannot be had.
    pub(crate) fn start(test: &str, options: &[&str]) -> Option<Self> {
        mini(test)?;
        let machine = Self {
            _alone: alone(),
            home: Home::with_cache(),
        };
        machine.done(&[&["run", "-d", "--name", NAME], options, &["mini"]].concat());
        machine.done(&["wait", NAME, "--for", "ready", "--timeout", &timeout(50)]);
        Some(machine)
    }

    /// Runs `clade`, which must succeed.
    pub(crate) fn done(&self, arguments: &[&str]) -> Finished {
        let done = self.home.run(arguments);
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
        done
    }

    /// Runs a command in the guest.
    pub(crate) fn exec(&self, arguments: &[&str]) -> Finished {
        self.home.run(&[&["exec", NAME, "--"], arguments].concat())
    }

    /// Runs a script in the guest.
    pub(crate) fn shell(&self, script: &str) -> Finished {
        self.exec(&["sh", "-c", script])
    }

    /// Runs a script in the guest that must succeed, and returns what it prints.
    pub(crate) fn run(&self, script: &str) -> String {
        let done = self.shell(script);
        assert_eq!(done.code, Some(0), "{script}: {done:?}");
        done.stdout().to_owned()
    }
}
