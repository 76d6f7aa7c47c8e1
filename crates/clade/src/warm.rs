//! Warm images: the second machine of an image and a shape goes on from where the first of them that was
//! made behind the user's back had booted to. See [`clade_manager::WarmImages`].

mod make;

use std::fs::{self, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clade_images::Architecture;
use clade_manager::{Machines, Order, Snapshot, WarmImage, WarmImages};
use clade_store::{FileName, Sha256};
use clade_vmm::spec::{EngineKind, MachineConfig, NetworkSpec, OutsideSpec};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::verbs::run::session_words;
use crate::verbs::warm_image;
use crate::{arch, style};

pub(crate) use make::make;

/// What a warm image is of: all that a machine is made of but its name and what leads to it from
/// outside. Files of images are known by their names, which have a checksum or a random word in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// The image, as people call it.
    image: String,
    config: MachineConfig,
    /// The image's disk that the machine gets a layer above.
    root: Option<PathBuf>,
}

/// What is to be made, as the process that makes it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Wish {
    key: FileName,
    shape: Shape,
    /// The id of the user's own machine of this shape: nothing is made before it has booted.
    first: String,
}

/// All that the state of a machine depends on.
#[derive(Serialize)]
struct Ingredients<'a> {
    shape: &'a Shape,
    /// The program that made it: another may have other devices.
    version: &'static str,
    program: [u64; 2],
    /// The host's processor, where it is the guest's.
    processor: Option<String>,
}

impl Shape {
    /// That of a machine which is to be made; `None` if it is of no image.
    pub(crate) fn of(order: &Order, root: Option<PathBuf>) -> Option<Self> {
        let mut config = order.config.clone();
        if let NetworkSpec::User(outside) = &mut config.network {
            *outside = OutsideSpec::default();
        }
        // What the shell is told of the terminal; a script is another matter.
        let piped = config.cmdline.contains("clade.stdin=pipe");
        config.cmdline = session_words(&config.cmdline, !piped, None);
        Some(Self {
            image: order.image.clone()?,
            config,
            root,
        })
    }

    /// By what its warm image is found.
    pub(crate) fn key(&self) -> Result<FileName, Failure> {
        let ingredients = Ingredients {
            shape: self,
            version: env!("CARGO_PKG_VERSION"),
            program: stamp(&fs::metadata("/proc/self/exe")?),
            processor: match self.config.engine {
                EngineKind::Emulate => None,
                EngineKind::Kvm => Some(processor()?),
            },
        };
        let text = serde_json::to_vec(&ingredients)?;
        Ok(FileName::new(Sha256::of(&text).to_string())?)
    }

    /// Has the warm image made, in a process of its own, for which nobody waits. `first` is the id of the
    /// user's own machine. What cannot be made is not missed.
    pub(crate) fn make_behind(self, first: &str) {
        // What it says, nobody would expect here.
        let _ = self.begin_making(first);
    }

    fn begin_making(self, first: &str) -> Result<(), Failure> {
        let key = self.key()?;
        if images()?.failed_lately(&key) {
            return Ok(());
        }
        let wish = Wish {
            key,
            shape: self,
            first: first.to_owned(),
        };
        let mut maker = Command::new("/proc/self/exe")
            .arg(warm_image::NAME)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A terminal's Ctrl-C is not for it. It stays in the session, within which the scheduler
            // compares how nice processes are (autogroups, sched(7)).
            .process_group(0)
            .spawn()?;
        let mut stdin = maker.stdin.take().ok_or_else(|| Failure::new("no input"))?;
        Ok(stdin.write_all(&serde_json::to_vec(&wish)?)?)
    }
}

/// The warm images of this user.
pub(crate) fn images() -> Result<WarmImages, Failure> {
    Ok(WarmImages::beside(&Machines::of_user()?)?)
}

/// The warm image of this key. One that is damaged is dropped, and that is told.
pub(crate) fn find(key: &FileName) -> Option<Snapshot> {
    let images = images().ok()?;
    images.get(key).unwrap_or_else(|error| {
        drop_damaged(key, &error.to_string());
        None
    })
}

/// Drops a warm image from which no machine goes on.
pub(crate) fn drop_damaged(key: &FileName, reason: &str) {
    style::talk(&format!(
        "warning: the warm image cannot be used and is dropped; the machine boots: {reason}"
    ));
    // It is in nobody's way.
    let _ = images().and_then(|images| Ok(images.remove(key)?));
}

/// Drops those of an image that was removed or replaced, for these machines or all.
pub(crate) fn drop_of_image(name: &str, architecture: Option<Architecture>) -> Result<(), Failure> {
    let images = images()?;
    for image in images.list()? {
        if is_of(&image, name, architecture) {
            images.remove(&image.key)?;
        }
    }
    Ok(())
}

/// Whether it is of this image, for these machines or any.
pub(crate) fn is_of(image: &WarmImage, name: &str, architecture: Option<Architecture>) -> bool {
    image.machine.as_ref().is_some_and(|machine| {
        let of = arch::of_engine(machine.config.engine);
        machine.image.as_deref() == Some(name) && architecture.is_none_or(|wanted| wanted == of)
    })
}

/// By what one build of a program is told from another.
fn stamp(meta: &Metadata) -> [u64; 2] {
    let nanoseconds = meta.mtime().wrapping_mul(1_000_000_000);
    let modified = nanoseconds.wrapping_add(meta.mtime_nsec());
    [meta.size(), modified.cast_unsigned()]
}

/// What the host's processors can do, as far as that says it.
fn processor() -> Result<String, Failure> {
    const FIELDS: [&str; 6] = [
        "vendor_id",
        "cpu family",
        "model",
        "stepping",
        "microcode",
        "flags",
    ];
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let first = text.split("\n\n").next().unwrap_or_default();
    let is_telling = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        FIELDS.contains(&name.trim())
    };
    let lines: Vec<_> = first.lines().filter(is_telling).collect();
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        let network = NetworkSpec::User(OutsideSpec::default());
        Order {
            name: None,
            image: Some("mini:trixie".to_owned()),
            temporary: true,
            config: MachineConfig {
                cmdline: "quiet".to_owned(),
                network,
                ..MachineConfig::default()
            },
        }
    }

    fn key(order: &Order) -> FileName {
        let shape = Shape::of(order, None).expect("of an image");
        shape.key().expect("readable")
    }

    #[test]
    fn names_ports_and_terminals_make_no_difference() {
        let plain = key(&order());
        let mut other = order();
        other.name = Some("x".to_owned());
        other.temporary = false;
        other.config.cmdline = "quiet clade.term=xterm".to_owned();
        other.config.network = NetworkSpec::User(OutsideSpec {
            forwards: vec!["8080:80".parse().expect("ports")],
            ..OutsideSpec::default()
        });
        assert_eq!(key(&other), plain);
    }

    #[test]
    fn what_the_guest_sees_makes_a_difference() {
        type Change = fn(&mut Order);
        let changes: [Change; 7] = [
            |_| (),
            |order| order.image = Some("mini:sid".to_owned()),
            |order| order.config.cpus = 2,
            |order| order.config.memory = 512 << 20,
            |order| order.config.network = NetworkSpec::None,
            |order| order.config.kernel = Some("/images/kernel-1".into()),
            |order| order.config.cmdline.push_str(" clade.stdin=pipe"),
        ];
        let keys = changes.map(|change| {
            let mut changed = order();
            change(&mut changed);
            key(&changed)
        });
        for (number, one) in keys.iter().enumerate() {
            assert!(!keys[..number].contains(one), "change {number}");
        }
        let with_root = Shape::of(&order(), Some("/images/disk-1".into())).expect("shape");
        assert!(!keys.contains(&with_root.key().expect("key")));
    }
}
