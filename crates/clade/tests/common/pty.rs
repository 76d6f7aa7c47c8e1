//! A pseudo-terminal whose other end the test holds.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OutputModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use super::Home;

/// A terminal: the user's end, and the program's.
pub(crate) struct Terminal {
    pub(crate) user: File,
    program: OwnedFd,
    before: Termios,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("pty");
        grantpt(&user).expect("grant");
        unlockpt(&user).expect("unlock");
        let name = ptsname(&user, Vec::new()).expect("name");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let program = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("open");
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&program, size).expect("size");
        let before = tcgetattr(&program).expect("attributes");
        assert!(
            before
                .local_modes
                .contains(LocalModes::ICANON | LocalModes::ECHO)
        );
        Self {
            user: File::from(user),
            program,
            before,
        }
    }

    pub(crate) fn run(&self, home: &Home, arguments: &[&str]) -> Child {
        self.spawn(home.clade(arguments))
    }

    /// Starts a command that has the terminal.
    pub(crate) fn spawn(&self, mut command: Command) -> Child {
        let end = || self.program.try_clone().expect("descriptor");
        command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("clade")
    }

    pub(crate) fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.program).expect("attributes");
        let cooked = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        !now.local_modes.intersects(cooked) && !now.output_modes.contains(OutputModes::OPOST)
    }

    #[track_caller]
    pub(crate) fn assert_restored(&self) {
        let now = tcgetattr(&self.program).expect("attributes");
        assert_eq!(now.local_modes, self.before.local_modes);
        assert_eq!(now.output_modes, self.before.output_modes);
        assert_eq!(now.input_modes, self.before.input_modes);
        assert_eq!(now.control_modes, self.before.control_modes);
    }
}
