//! Names and ids of machines.

use std::io;

use crate::Error;

/// As of a host in a domain (RFC 1123): a name may end up there.
const LONGEST: usize = 63;

#[rustfmt::skip]
const ADJECTIVES: &[&str] = &[
    "agile", "amber", "ample", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid",
    "clever", "cosmic", "crisp", "curious", "daring", "deft", "eager", "early", "fair", "fleet",
    "fond", "gentle", "glad", "golden", "grand", "happy", "hardy", "jolly", "keen", "kind",
    "lively", "lucid", "lucky", "mellow", "merry", "mighty", "modest", "nimble", "noble", "patient",
    "placid", "polite", "proud", "quick", "quiet", "rapid", "ready", "serene", "sharp", "silver",
    "sleek", "snug", "spry", "steady", "sunny", "swift", "tidy", "vivid", "warm", "witty",
];

#[rustfmt::skip]
const NOUNS: &[&str] = &[
    "acorn", "alder", "aspen", "badger", "beech", "birch", "bison", "bramble", "cedar", "clover",
    "condor", "coral", "crane", "cypress", "daisy", "dingo", "egret", "elm", "falcon", "fern",
    "finch", "fjord", "gecko", "ginkgo", "hazel", "heron", "hickory", "ibis", "iris", "jackal",
    "jasmine", "juniper", "kelp", "kestrel", "larch", "lark", "lemur", "lichen", "lotus", "lynx",
    "magpie", "maple", "marten", "moss", "myrtle", "newt", "oak", "orchid", "osprey", "otter",
    "panda", "petrel", "pine", "plover", "poppy", "puffin", "quail", "raven", "reed", "robin",
    "rowan", "sequoia", "sparrow", "spruce", "tapir", "thistle", "thrush", "tulip", "vole", "willow",
];

/// A name that is easy to say, chosen at random: an adjective and a living thing.
///
/// # Errors
/// When the host has no randomness to give.
pub fn friendly_name() -> io::Result<String> {
    let random: [u8; 4] = random()?;
    let pick = |list: &[&'static str], bytes: [u8; 2]| {
        list[usize::from(u16::from_le_bytes(bytes)) % list.len()]
    };
    let adjective = pick(ADJECTIVES, [random[0], random[1]]);
    let noun = pick(NOUNS, [random[2], random[3]]);
    Ok(format!("{adjective}-{noun}"))
}

/// A new id: twelve hexadecimal digits at random.
pub(crate) fn new_id() -> io::Result<String> {
    let random: [u8; 6] = random()?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether a machine may have this name.
///
/// # Errors
/// [`Error::BadName`] with the reason.
pub fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let reason = match name.as_bytes() {
        [] => "it is empty",
        bytes if bytes.len() > LONGEST => "it is too long",
        [first, ..] if !first.is_ascii_alphanumeric() => "it starts with another character",
        bytes if !bytes.iter().copied().all(allowed) => "it has another character",
        _ => return Ok(()),
    };
    Err(Error::BadName {
        what: "machine",
        name: name.to_owned(),
        reason,
    })
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let count = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if count == N {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_friendly_name_is_allowed_and_distinct() {
        let mut names = BTreeSet::new();
        for adjective in ADJECTIVES {
            for noun in NOUNS {
                let name = format!("{adjective}-{noun}");
                assert!(check_name(&name).is_ok(), "{name}");
                assert!(names.insert(name));
            }
        }
        assert!(names.contains(&friendly_name().expect("random")));
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        let long = "x".repeat(64);
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "/",
            ".lock",
            "-d",
            "a b",
            "é",
            "a\0",
            long.as_str(),
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "web-1", "Web_2.old", "7"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn an_allowed_name_is_one_component(name in "\\PC{0,70}") {
            if check_name(&name).is_ok() {
                let path = std::path::Path::new(&name);
                prop_assert_eq!(path.components().count(), 1);
                prop_assert_eq!(path.file_name(), Some(name.as_ref()));
            }
        }
    }
}
