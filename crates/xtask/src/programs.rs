//! Programs of this workspace, and the libraries that a program needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Builds what the arguments to cargo say, and gives the executables as `(name, path)`.
pub(crate) fn build(arguments: &[&str]) -> Result<Vec<(String, PathBuf)>, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--release", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo {} failed", arguments.join(" ")));
    }
    // With the tests of a command comes the command.
    let tests = arguments.first() == Some(&"test");
    let messages = String::from_utf8_lossy(&output.stdout);
    let executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["profile"]["test"].as_bool() != Some(tests) {
            return None;
        }
        let path = message["executable"].as_str()?;
        let name = message["target"]["name"].as_str()?;
        Some((name.to_owned(), PathBuf::from(path)))
    });
    Ok(executables.collect())
}

/// The program without what only debuggers read, if this host can take that away: a fifth of the bytes.
pub(crate) fn stripped(path: &Path) -> io::Result<Vec<u8>> {
    let file = tempfile::NamedTempFile::new()?;
    let strip = Command::new("strip")
        .arg("-o")
        .args([file.path(), path])
        .stderr(Stdio::null())
        .status();
    match strip {
        Ok(status) if status.success() => fs::read(file.path()),
        _ => fs::read(path),
    }
}

pub(crate) fn is_program(content: &[u8]) -> bool {
    content.starts_with(b"\x7fELF")
}

/// The shared libraries that a program of this host is started with, the loader among them.
pub(crate) fn libraries(path: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("ldd")
        .arg(path)
        .output()
        .map_err(|error| format!("ldd cannot be run: {error}"))?;
    // A program without any makes it fail.
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(library).collect())
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)`, or the path alone.
fn library(line: &str) -> Option<PathBuf> {
    let path = line.split("=>").last()?.split_whitespace().next()?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path() {
        for (line, path) in [
            (
                "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0)",
                Some("/lib/x86_64-linux-gnu/libc.so.6"),
            ),
            (
                "\t/lib64/ld-linux-x86-64.so.2 (0x00007f0)",
                Some("/lib64/ld-linux-x86-64.so.2"),
            ),
            ("\tlinux-vdso.so.1 (0x00007ffe)", None),
            ("\tstatically linked", None),
        ] {
            assert_eq!(library(line), path.map(PathBuf::from), "{line}");
        }
    }
}
