//! Comparing versions of Debian packages (deb-version(7)).

use std::cmp::Ordering;
use std::iter::Peekable;
use std::str::Bytes;

/// Compares two versions: epoch, upstream version, Debian revision.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Version::parse(one), Version::parse(other));
    one.epoch
        .cmp(&other.epoch)
        .then_with(|| compare_part(one.upstream, other.upstream))
        .then_with(|| compare_part(one.revision, other.revision))
}

struct Version<'a> {
    epoch: u64,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Version<'a> {
    fn parse(text: &'a str) -> Self {
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self {
            epoch: epoch.parse().unwrap_or(0),
            upstream,
            revision,
        }
    }
}

/// Runs of other characters and of digits in turn; the former by their order, the latter by value.
fn compare_part(one: &str, other: &str) -> Ordering {
    let mut one = one.bytes().peekable();
    let mut other = other.bytes().peekable();
    while one.peek().is_some() || other.peek().is_some() {
        loop {
            let weights = (weight(one.peek()), weight(other.peek()));
            if weights.0 != weights.1 {
                return weights.0.cmp(&weights.1);
            }
            if weights.0 == 0 {
                break;
            }
            one.next();
            other.next();
        }
        let order = compare_numbers(&digits(&mut one), &digits(&mut other));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// A tilde sorts before the end, letters after it, all else after letters.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// The number that comes next, without zeros in front.
fn digits(text: &mut Peekable<Bytes<'_>>) -> Vec<u8> {
    let mut digits = Vec::new();
    while let Some(digit) = text.next_if(u8::is_ascii_digit) {
        if digit != b'0' || !digits.is_empty() {
            digits.push(digit);
        }
    }
    digits
}

fn compare_numbers(one: &[u8], other: &[u8]) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn versions_are_ordered_as_debian_orders_them() {
        let ordered = [
            "0~~",
            "0~",
            "0",
            "0a",
            "0+b1",
            "1~rc1-1",
            "1-1~deb13u1",
            "1-1",
            "1-1+b1",
            "1-2",
            "1.2-1",
            "1.10-1",
            "1.10a-1",
            "1.10+dfsg-1",
            "9-1",
            "10-1",
            "1:0",
            "2:0",
        ];
        for (low, one) in ordered.iter().enumerate() {
            for (high, other) in ordered.iter().enumerate() {
                assert_eq!(compare(one, other), low.cmp(&high), "{one} {other}");
            }
        }
        assert_eq!(compare("1.0", "1.00"), Ordering::Equal);
        assert_eq!(compare("0:1-0", "1"), Ordering::Equal);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn dpkg_agrees(one in "[0-3](:[0-9])?[0-9a~+.]{0,4}(-[0-9a~+.]{1,3})?", other in "[0-3](:[0-9])?[0-9a~+.]{0,4}(-[0-9a~+.]{1,3})?") {
            let relation = match compare(&one, &other) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            match Command::new("dpkg").args(["--compare-versions", &one, relation, &other]).status() {
                Ok(status) => prop_assert!(status.success(), "{} {} {}", one, relation, other),
                Err(_) => eprintln!("SKIPPED: no dpkg here"),
            }
        }
    }
}
