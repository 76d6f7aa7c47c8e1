//! Names of translated code for Linux's `perf report`: lines of `start size name`, in hexadecimal,
//! in the file where it looks for those of a process (the kernel's `tools/perf/Documentation/
//! jit-interface.txt`). Written when `CLADE_PERF_MAP` is 1.
//!
//! Where code is given up to make room, the names of what was there before stay, too.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags, open};

/// The file of this process, opened once: a confined process may open no other.
static FILE: OnceLock<Option<File>> = OnceLock::new();

/// The map of this process, if one is wanted and can be written.
#[derive(Clone, Copy)]
pub(super) struct PerfMap(&'static File);

impl PerfMap {
    pub(super) fn of_this_process() -> Option<Self> {
        FILE.get_or_init(create).as_ref().map(Self)
    }

    /// Names the `size` bytes of code at `start`.
    pub(super) fn add(self, start: usize, size: usize, name: impl Display) {
        // In one write, as the harts of several machines may do so at once. Names are all that is
        // lost where it fails.
        let _ = (&*self.0).write_all(line(start, size, name).as_bytes());
    }
}

fn create() -> Option<File> {
    std::env::var_os("CLADE_PERF_MAP").filter(|value| value == "1")?;
    let path = format!("/tmp/perf-{}.map", std::process::id());
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::TRUNC
        | OFlags::APPEND
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC;
    open(path, flags, Mode::RUSR | Mode::WUSR)
        .ok()
        .map(File::from)
}

fn line(start: usize, size: usize, name: impl Display) -> String {
    format!("{start:x} {size:x} {name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_perf_reads_it() {
        assert_eq!(
            line(0x7f00_1000, 32, "guest 0x80200010"),
            "7f001000 20 guest 0x80200010\n"
        );
    }
}
