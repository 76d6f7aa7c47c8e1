//! The agent in guests of ours: what runs the host's commands there, and what leads connections on the socket
//! device to servers that know only the internet's. It is in C, as no guest's Rust can be counted on where Clade is
//! built, and is kept as programs beside its source; the tests below make them.

use crate::archive::Architecture;

/// Where it is in a guest.
pub(crate) const PATH: &str = "usr/libexec/clade-agent";

/// The agent for guests of this architecture.
pub(crate) fn program(architecture: Architecture) -> &'static [u8] {
    match architecture {
        Architecture::Riscv64 => include_bytes!("../guest/agent/agent-riscv64"),
        Architecture::Amd64 => include_bytes!("../guest/agent/agent-x86-64"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::{env, fs};

    use clade_store::Sha256;

    use super::*;

    const SOURCES: [&str; 7] = [
        "agent.c",
        "card.c",
        "session.c",
        "card.h",
        "linux.h",
        "protocol.h",
        "session.h",
    ];

    const OPTIONS: &str = "-std=gnu11 -Os -Wall -Wextra -Werror -ffreestanding -fno-stack-protector \
        -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-pic -nostdlib -static \
        -Wl,-s,-z,max-page-size=4096,-z,noseparate-code,-z,noexecstack";

    /// Architecture, the program's name, the compiler, options of its own.
    const MADE: [(Architecture, &str, &str, &[&str]); 2] = [
        (
            Architecture::Riscv64,
            "agent-riscv64",
            "riscv64-linux-gnu-gcc",
            &["-march=rv64imac", "-mabi=lp64"],
        ),
        (
            Architecture::Amd64,
            "agent-x86-64",
            "x86_64-linux-gnu-gcc",
            &["-march=x86-64"],
        ),
    ];

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/agent")
    }

    /// What a program's build ID is: it follows from all that it is made from.
    fn build_id(options: &[&str]) -> String {
        let sources = SOURCES.iter();
        let mut all: Vec<_> = sources
            .map(|name| fs::read(folder().join(name)).unwrap())
            .collect();
        all.push(format!("{OPTIONS} {options:?}").into_bytes());
        Sha256::of(&all.concat()).to_string()[..32].to_owned()
    }

    /// With `CLADE_BLESS` it makes the programs first.
    #[test]
    fn the_programs_are_made_from_their_sources() {
        for (architecture, name, compiler, options) in MADE {
            let id = build_id(options);
            if env::var_os("CLADE_BLESS").is_some() {
                compile(compiler, options, &id, &folder().join(name));
                continue;
            }
            let bytes = (0..id.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&id[at..at + 2], 16));
            let bytes = bytes.collect::<Result<Vec<_>, _>>().unwrap();
            let has_id = program(architecture)
                .windows(bytes.len())
                .any(|at| at == bytes);
            assert!(
                has_id,
                "{name} is not made from its sources; `CLADE_BLESS=1 cargo test -p clade-images agent` makes it"
            );
        }
    }

    #[test]
    fn the_same_compiler_makes_the_same_programs() {
        if env::var_os("CLADE_BLESS").is_some() {
            return;
        }
        for (architecture, name, compiler, options) in MADE {
            let Some(version) = version(compiler) else {
                println!("SKIPPED: there is no {compiler} to make {name} with");
                continue;
            };
            let kept = program(architecture);
            let version = version.as_bytes();
            if !kept.windows(version.len()).any(|at| at == version) {
                println!("SKIPPED: {name} was made by another version of {compiler}");
                continue;
            }
            let made = tempfile::tempdir().unwrap();
            let made = made.path().join(name);
            compile(compiler, options, &build_id(options), &made);
            assert!(
                fs::read(made).unwrap() == kept,
                "{name} is not what its source says"
            );
        }
    }

    /// As the compiler writes it into programs: `GCC: (Debian 12.2.0-14) 12.2.0`.
    fn version(compiler: &str) -> Option<String> {
        let output = Command::new(compiler).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let (_, version) = text.lines().next()?.split_once(' ')?;
        Some(format!("GCC: {version}"))
    }

    fn compile(compiler: &str, options: &[&str], id: &str, to: &Path) {
        let status = Command::new(compiler)
            .current_dir(folder())
            .args(OPTIONS.split_whitespace())
            .args(options)
            .arg(format!("-Wl,--build-id=0x{id}"))
            .args(SOURCES.iter().filter(|name| name.ends_with(".c")))
            .arg("-o")
            .arg(to)
            .status()
            .expect(
                "the compiler (packages gcc-riscv64-linux-gnu, linux-libc-dev-riscv64-cross, gcc)",
            );
        assert!(status.success());
    }
}
