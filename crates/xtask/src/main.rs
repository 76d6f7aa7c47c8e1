//! Work on Clade itself: `cargo xtask test-kvm`, `bench-kvm`, `kvm-machine`.
//!
//! Few hosts of tests have a KVM that is real. QEMU's emulation of AMD's processors has SVM with nested
//! paging, though: in such a machine Debian's kernel has a true `/dev/kvm`, whose guests run as they would
//! on hardware. It is made here, from Debian's packages and programs of this workspace, and boots in seconds.

mod bench_kvm;
mod machine;
mod programs;
mod system;
mod test_kvm;

use std::path::PathBuf;
use std::process::ExitCode;

use machine::Machine;
use system::{System, Work};

const USAGE: &str = "usage: cargo xtask test-kvm [OPTION...] [TEST...]
       cargo xtask bench-kvm [OPTION...] -- ARGUMENT...
       cargo xtask kvm-machine [OPTION...] [-- COMMAND [ARGUMENT...]]

  test-kvm      run the tests of the KVM engine in a machine that has KVM, made by QEMU: all, or those of
                programs whose names begin so (clade/branch), or single functions (clade/exec::a_machine)
  bench-kvm     run clade-bench with these arguments in such a machine
  kvm-machine   run a command in such a machine and exit as it does; without one, a shell on this terminal

  --cpus N              its processors (default 1; more are not safe with QEMU 7.2)
  --memory MIB          its memory (default 4096)
  --file PATH[:TARGET]  put a file of this host into it (default target: /root/NAME); with a program come
                        the libraries that it needs. A folder comes with all that is in it
  --clade               build clade and put it into /usr/bin
  --mini                put the image mini there, too
  --tests PACKAGE       build a package's tests and put them into /root/tests
  --log FILE            where the messages of its kernel go
  --network             it reaches what this host reaches
  --disk FILE           a file with an ext4 file system: /disk, where its user's data are kept
  --time SECONDS        how long it may run, or each program of tests (default 600)";

/// What the command line asked for.
struct Options {
    machine: Machine,
    system: System,
    rest: Vec<String>,
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let result = match verb.as_str() {
        "test-kvm" => options(words).and_then(test_kvm::run),
        "bench-kvm" => options(words).and_then(bench_kvm::run),
        "kvm-machine" => options(words).and_then(kvm_machine),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::from(125)
        }
    }
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        machine: Machine::default(),
        system: System::default(),
        rest: Vec::new(),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value\n{USAGE}"));
        match word.as_str() {
            "--cpus" => options.machine.cpus = number(&word, &value()?)?,
            "--memory" => options.machine.memory = number(&word, &value()?)?,
            "--time" => options.machine.seconds = number(&word, &value()?)?.into(),
            "--log" => options.machine.log = Some(PathBuf::from(value()?)),
            "--network" => options.machine.network = true,
            "--disk" => options.machine.disk = Some(PathBuf::from(value()?)),
            "--file" => options.system.add_file(&value()?)?,
            "--clade" => options.system.add_clade()?,
            "--mini" => options.system.add_mini()?,
            "--tests" => {
                options.system.add_tests(&value()?, &[])?;
            }
            "--" => options.rest.extend(words.by_ref()),
            _ if word.starts_with('-') => return Err(format!("what is {word}?\n{USAGE}")),
            _ => options.rest.push(word),
        }
    }
    Ok(options)
}

fn number(option: &str, text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{option} wants a positive number, not {text:?}")),
    }
}

/// Runs one command, or a shell for whoever sits there.
fn kvm_machine(options: Options) -> Result<u8, String> {
    let work = match options.rest.is_empty() {
        true => Work::Shell,
        false => Work::Script(quoted(&options.rest)),
    };
    if let Some(reason) = machine::missing() {
        return Err(reason);
    }
    let boot = options.system.assemble(&work)?;
    match work {
        Work::Shell => options.machine.interact(&boot).map(|()| 0),
        Work::Script(_) => options.machine.run(&boot, |line| println!("{line}")),
    }
}

/// Words as a shell has to be told them.
fn quoted(words: &[String]) -> String {
    let quote = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}
