//! A suite's Release file: which index files there are, and their checksums.

use std::collections::BTreeMap;

use clade_store::Sha256;
use jiff::Timestamp;
use jiff::fmt::strtime;

use crate::control::paragraphs;

/// Size and checksum of a file that a signed index names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) sha256: Sha256,
}

/// A verified Release file.
#[derive(Debug)]
pub(crate) struct Release {
    /// When the suite was published.
    pub(crate) date: Timestamp,
    /// Whether files are also served under their checksum, so that an update in the middle of a
    /// fetch does no harm.
    pub(crate) by_hash: bool,
    /// Its codename, and what it is for now (`stable`).
    names: [String; 2],
    files: BTreeMap<String, Expected>,
}

impl Release {
    /// Reads the signed text of a Release file for the suite that was asked for, at the time `now`.
    pub(crate) fn parse(text: &str, suite: &str, now: Timestamp) -> Result<Self, String> {
        let paragraph = paragraphs(text).next().ok_or("it is empty")?;
        let field = |name| {
            paragraph
                .field(name)
                .ok_or_else(|| format!("it has no {name}"))
        };
        let (alias, codename) = (field("Suite")?, field("Codename")?);
        if suite != alias && suite != codename {
            return Err(format!("it is for {codename} ({alias}), not for {suite}"));
        }
        let date = parse_date(&field("Date")?)?;
        if let Some(until) = paragraph.field("Valid-Until")
            && parse_date(&until)? < now
        {
            return Err(format!(
                "it was valid until {until}: the mirror is out of date (or this host's clock is wrong)"
            ));
        }
        let files = field("SHA256")?
            .lines()
            .filter(|line| !line.is_empty())
            .map(parse_file)
            .collect::<Result<_, _>>()?;
        let by_hash = paragraph
            .field("Acquire-By-Hash")
            .is_some_and(|value| value == "yes");
        Ok(Self {
            date,
            by_hash,
            names: [codename, alias],
            files,
        })
    }

    /// By what name a mirror has the suite besides `suite`, if by any.
    pub(crate) fn other_name(&self, suite: &str) -> Option<&str> {
        let mut names = self.names.iter().map(String::as_str);
        names.find(|name| *name != suite)
    }

    /// What a file of the suite must be, by its path below the suite's folder.
    pub(crate) fn file(&self, path: &str) -> Option<Expected> {
        self.files.get(path).copied()
    }
}

/// One line of the SHA256 field: checksum, size, path.
fn parse_file(line: &str) -> Result<(String, Expected), String> {
    let mut words = line.split_ascii_whitespace();
    let (Some(sum), Some(size), Some(path), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(format!("{line:?} is not a checksum, a size and a path"));
    };
    let size = size
        .parse()
        .map_err(|_| format!("{size:?} is not a size"))?;
    let sha256 = sum.parse().map_err(|error| format!("{error}"))?;
    Ok((path.to_owned(), Expected { size, sha256 }))
}

/// `Sat, 12 Sep 2026 07:55:41 UTC`
fn parse_date(text: &str) -> Result<Timestamp, String> {
    let civil = ["UTC", "GMT", "+0000", "Z"]
        .iter()
        .find_map(|zone| text.strip_suffix(zone));
    civil
        .and_then(|civil| strtime::parse("%a, %d %b %Y %H:%M:%S", civil.trim()).ok())
        .and_then(|time| time.to_datetime().ok())
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map(|time| time.timestamp())
        .ok_or_else(|| format!("{text:?} is not a date"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SUM: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn release(extra: &str) -> String {
        format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n{extra}\
             MD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 7 main/a\nSHA256:\n {SUM}  42 main/a\n {SUM} 1 main/b\n"
        )
    }

    fn now() -> Timestamp {
        "2026-09-13T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn files_are_known_with_size_and_checksum() {
        let release = Release::parse(&release("Acquire-By-Hash: yes\n"), "trixie", now()).unwrap();
        let expected = Expected {
            size: 42,
            sha256: SUM.parse().unwrap(),
        };
        assert_eq!(release.file("main/a"), Some(expected));
        assert_eq!(release.file("main/c"), None);
        assert_eq!(release.date.to_string(), "2026-09-12T07:55:41Z");
        assert!(release.by_hash);
        assert_eq!(release.other_name("trixie"), Some("stable"));
        assert_eq!(release.other_name("stable"), Some("trixie"));
    }

    #[test]
    fn the_suite_must_be_the_one_asked_for_by_either_name() {
        assert!(Release::parse(&release(""), "stable", now()).is_ok());
        let reason = Release::parse(&release(""), "forky", now()).unwrap_err();
        assert_eq!(reason, "it is for trixie (stable), not for forky");
    }

    #[test]
    fn an_old_release_is_refused_only_past_its_own_date() {
        let valid = |until: &str| {
            Release::parse(
                &release(&format!("Valid-Until: {until}\n")),
                "trixie",
                now(),
            )
        };
        assert!(valid("Sun, 13 Sep 2026 00:00:01 UTC").is_ok());
        let reason = valid("Sat, 12 Sep 2026 23:59:59 UTC").unwrap_err();
        assert!(reason.contains("valid until"), "{reason}");
        assert!(valid("tomorrow").is_err());
    }

    #[test]
    fn what_is_missing_or_malformed_is_said() {
        for (text, reason) in [
            (String::new(), "it is empty"),
            (
                release("").replace("Codename", "Nocodename"),
                "it has no Codename",
            ),
            (release("").replace("SHA256:", "SHA1:"), "it has no SHA256"),
            (release("").replace(" 42 ", " x "), "\"x\" is not a size"),
            (
                release("").replace("  42 main/a", ""),
                "is not a checksum, a size and a path",
            ),
        ] {
            let actual = Release::parse(&text, "trixie", now()).unwrap_err();
            assert!(actual.contains(reason), "{actual}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(Suite: trixie\n|Codename: trixie\n|Date: |SHA256:\n| [0-9a-f]{64} [0-9]{0,22} x\n|Sat, [0-9]{2} Sep [0-9]{4} 0[0-9]:00:00 UTC\n|\\PC){0,12}") {
            let _ = Release::parse(&text, "trixie", now());
        }
    }
}
