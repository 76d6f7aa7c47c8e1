//! `clade cp`

use std::fs;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use clade_guest::{Command, Exit, Key, Output, Process, Streams};
use clade_images::Progress;
use clade_manager::{Machine, Machines};

use crate::failure::Failure;
use crate::progress::Shown;
use crate::settle;
use crate::style;
use crate::transfer::{self, Packing};
use crate::verbs::exec::explain;

/// How much of what the guest complains of is kept, in bytes.
const MAX_COMPLAINT: u64 = 4096;

/// Puts an archive where it belongs. $1 is the destination, $2 the name that the archive has for what
/// it holds. As `cp -r`: into a folder that is there, or else in the destination's place.
const RECEIVE: &str = r#"
if [ -d "$1" ]; then exec tar -C "$1" -xpf -; fi
parent=$(dirname -- "$1") || exit
if ! [ -d "$parent" ]; then echo "there is no folder $parent" >&2; exit 1; fi
staged=$(mktemp -d "$parent/.cp.XXXXXX") || exit
tar -C "$staged" -xpf - && mv -- "$staged/$2" "$1"
status=$?
rm -rf -- "$staged"
exit "$status"
"#;

/// Copy files and folders between this host and a machine.
///
/// One of the two is MACHINE:PATH; a path that is not absolute begins at root's home there. Owners and
/// modes are kept, as far as this user may. As with `cp -r`, what is copied goes into a folder that is
/// there, or else takes the destination's name.
#[derive(Debug, clap::Args)]
pub(crate) struct Cp {
    /// What is copied.
    source: String,
    /// Where to.
    destination: String,
}

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Here(PathBuf),
    /// Machine and path.
    Guest(String, String),
}

impl Place {
    /// A colon behind a name is a machine's; one behind a slash is a file name's.
    fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((machine, path)) if !machine.is_empty() && !machine.contains('/') => {
                let path = if path.is_empty() { "." } else { path };
                Place::Guest(machine.to_owned(), path.to_owned())
            }
            _ => Place::Here(text.into()),
        }
    }
}

impl Cp {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match (Place::parse(&self.source), Place::parse(&self.destination)) {
            (Place::Here(source), Place::Guest(machine, destination)) => {
                send(&source, &Guest::find(&machine)?, &destination)?;
            }
            (Place::Guest(machine, source), Place::Here(destination)) => {
                fetch(&Guest::find(&machine)?, &source, &destination)?;
            }
            (Place::Here(_), Place::Here(_)) => {
                return Err(Failure::new(
                    "neither is in a machine; write the one that is as MACHINE:PATH",
                ));
            }
            (Place::Guest(..), Place::Guest(..)) => {
                return Err(Failure::new(
                    "both are in machines; copy to this host first, and from here then",
                ));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

struct Guest {
    machine: Machine,
    key: Key,
}

impl Guest {
    fn find(text: &str) -> Result<Self, Failure> {
        Ok(Self {
            machine: Machines::of_user()?.find(text)?,
            key: Key::of_user()?,
        })
    }

    fn start(&self, arguments: &[&str]) -> Result<(Process, Streams), Failure> {
        let command = Command {
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            ..Command::default()
        };
        Process::start(&settle::way_in(&self.machine)?, &self.key, command)
            .map_err(|error| explain(error, &self.machine.spec.name))
    }
}

fn send(source: &Path, guest: &Guest, destination: &str) -> Result<(), Failure> {
    let name = name_of(source)?;
    let packing = Packing::survey(source, Path::new(&name))
        .map_err(|error| Failure::new(format!("cannot read {error}")))?;
    let script = ["sh", "-c", RECEIVE, "sh", destination, name.as_str()];
    let (process, streams) = guest.start(&script)?;
    let Streams {
        input,
        output,
        errors,
    } = streams;
    let complaint = complaint(errors)?;
    drop(output);
    let shown = Shown::new();
    shown.begin(&format!("copying {name}"), packing.total);
    let counted = Counted {
        inner: input,
        shown: &shown,
    };
    let written = packing.write(BufWriter::with_capacity(32 << 10, counted));
    shown.finish();
    // The guest's own reason comes first: if it gives up, it stops to read.
    finish(process, complaint)?;
    written.map_err(|error| Failure::new(format!("cannot copy {error}")))
}

fn fetch(guest: &Guest, source: &str, destination: &Path) -> Result<(), Failure> {
    let trimmed = source.trim_end_matches('/');
    let (parent, name) = match trimmed.rsplit_once('/') {
        _ if trimmed.is_empty() => ("/", "."),
        Some(("", name)) => ("/", name),
        Some((parent, name)) => (parent, name),
        None => (".", trimmed),
    };
    if name == ".." {
        return Err(Failure::new(format!(
            "'{source}' names nothing that could be copied"
        )));
    }
    let landing = Landing::at(destination, name)?;
    let script = r#"cd -- "$1" && exec tar -cf - -- "$2""#;
    let (process, streams) = guest.start(&["sh", "-c", script, "sh", parent, name])?;
    let Streams {
        input,
        output,
        errors,
    } = streams;
    drop(input);
    let complaint = complaint(errors)?;
    let shown = Shown::new();
    shown.begin(&format!("copying {name}"), 0);
    let counted = Counted {
        inner: output,
        shown: &shown,
    };
    let unpacked = receive(counted, landing.folder());
    shown.finish();
    finish(process, complaint)?;
    let unpacked =
        unpacked.map_err(|error| Failure::new(format!("cannot copy '{source}': {error}")))?;
    if unpacked.left_out > 0 {
        style::talk(&format!(
            "{} devices and pipes were left out",
            unpacked.left_out
        ));
    }
    landing.settle(name, destination)
}

/// Unpacks, and takes what comes behind the archive's end, so that the guest's `tar` can end.
fn receive(output: impl Read, folder: &Path) -> io::Result<transfer::Unpacked> {
    let mut output = BufReader::new(output);
    let unpacked = transfer::unpack(&mut output, folder)?;
    io::copy(&mut output, &mut io::sink())?;
    Ok(unpacked)
}

/// Where what comes from a guest is put until it is whole.
enum Landing {
    /// Into a folder that is there, where it may meet what is there already.
    Folder(PathBuf),
    /// Beside the destination, which it then becomes.
    Beside(tempfile::TempDir),
}

impl Landing {
    fn at(destination: &Path, name: &str) -> Result<Self, Failure> {
        if destination.is_dir() {
            return Ok(Landing::Folder(destination.to_owned()));
        }
        if name == "." {
            return Err(Failure::new(format!(
                "{} is no folder; make it first",
                destination.display()
            )));
        }
        let parent = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let staged = tempfile::Builder::new().prefix(".cp.").tempdir_in(parent);
        staged
            .map(Landing::Beside)
            .map_err(|error| Failure::new(format!("cannot write to {}: {error}", parent.display())))
    }

    fn folder(&self) -> &Path {
        match self {
            Landing::Folder(folder) => folder,
            Landing::Beside(staged) => staged.path(),
        }
    }

    fn settle(self, name: &str, destination: &Path) -> Result<(), Failure> {
        if let Landing::Beside(staged) = self {
            fs::rename(staged.path().join(name), destination).map_err(|error| {
                Failure::new(format!("cannot write {}: {error}", destination.display()))
            })?;
        }
        Ok(())
    }
}

/// The name by which a file goes on its way: its last, be it written as `.` or with a slash.
fn name_of(path: &Path) -> Result<String, Failure> {
    let unreadable = |error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let last = match path.components().next_back() {
        Some(Component::Normal(name)) => Some(name.to_owned()),
        _ => {
            let whole = fs::canonicalize(path).map_err(unreadable)?;
            whole.file_name().map(ToOwned::to_owned)
        }
    };
    last.and_then(|name| name.into_string().ok())
        .ok_or_else(|| {
            Failure::new(format!(
                "{} has no name that a guest could use",
                path.display()
            ))
        })
}

/// What the guest has to say about it.
fn complaint(errors: Output) -> io::Result<thread::JoinHandle<String>> {
    thread::Builder::new().name("stderr".into()).spawn(move || {
        let mut errors = errors;
        let mut text = Vec::new();
        let _ = (&mut errors).take(MAX_COMPLAINT).read_to_end(&mut text);
        let _ = io::copy(&mut errors, &mut io::sink());
        String::from_utf8_lossy(&text).trim_end().to_owned()
    })
}

fn finish(process: Process, complaint: thread::JoinHandle<String>) -> Result<(), Failure> {
    let exit = process.wait()?;
    let complaint = complaint.join().unwrap_or_default();
    match exit {
        Exit::Status(0) => {
            if !complaint.is_empty() {
                style::talk(&complaint);
            }
            Ok(())
        }
        Exit::Status(127) => Err(Failure::new(format!(
            "the guest cannot copy files, for it has no `tar` or `sh`:\n{complaint}"
        ))),
        _ => Err(Failure::new(format!(
            "the guest could not copy it:\n{complaint}"
        ))),
    }
}

/// Shows what passes.
struct Counted<'a, T> {
    inner: T,
    shown: &'a Shown,
}

impl<T: Write> Write for Counted<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.shown.advance(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Counted<'_, T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.shown.advance(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_what_stands_before_a_colon() {
        let guest = |machine: &str, path: &str| Place::Guest(machine.into(), path.into());
        assert_eq!(Place::parse("web:/etc"), guest("web", "/etc"));
        assert_eq!(Place::parse("web:a:b"), guest("web", "a:b"));
        assert_eq!(Place::parse("web:"), guest("web", "."));
        for here in ["file", "./a:b", "/a:b", ":x"] {
            assert_eq!(Place::parse(here), Place::Here(here.into()));
        }
    }

    #[test]
    fn every_path_has_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("named");
        fs::create_dir(&named).unwrap();
        for path in ["named", "named/", "named/.", "named/../named"] {
            assert_eq!(name_of(&folder.path().join(path)).unwrap(), "named");
        }
        assert_eq!(name_of(&named.join("..").join("named")).unwrap(), "named");
        assert!(name_of(Path::new("/")).is_err());
    }
}
