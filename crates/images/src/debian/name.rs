//! Which Debian system is meant: its suite, and the packages that it has more than others.

use std::collections::BTreeSet;

use clade_store::Sha256;

use crate::Error;
use crate::archive::{DEFAULT_SUITE, check_suite};

pub(crate) const NAME: &str = "debian";

/// A suite with further packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) suite: String,
    /// Sorted, none twice.
    pub(crate) include: Vec<String>,
}

impl Variant {
    /// From the image's name, `debian` or `debian:SUITE`, and the packages to include.
    pub(crate) fn new(name: &str, suite: Option<&str>, include: &[String]) -> Result<Self, Error> {
        let (image, tag) = match name.split_once(':') {
            Some((image, tag)) => (image, Some(tag)),
            None => (name, None),
        };
        if image != NAME {
            return Err(Error::UnknownImage {
                name: name.to_owned(),
                known: format!("{NAME} (the same as {NAME}:{DEFAULT_SUITE})"),
            });
        }
        let suite = tag.or(suite).unwrap_or(DEFAULT_SUITE);
        check_suite(suite)?;
        let include: BTreeSet<&String> = include.iter().collect();
        for package in &include {
            check_package(package)?;
        }
        Ok(Self {
            suite: suite.to_owned(),
            include: include.into_iter().cloned().collect(),
        })
    }

    /// As people write it, with `+` and the further packages: `debian:trixie+git+python3`.
    pub(crate) fn title(&self) -> String {
        let mut title = format!("{NAME}:{}", self.suite);
        for package in &self.include {
            title.push('+');
            title.push_str(package);
        }
        title
    }

    /// The name of its folder: any number of packages fit into it.
    pub(crate) fn folder(&self) -> String {
        if self.include.is_empty() {
            return self.suite.clone();
        }
        let list = Sha256::of(self.include.join(",").as_bytes());
        format!("{}+{}", self.suite, list.short())
    }
}

/// Names of packages have lower-case letters, digits and `+-.` (Policy 5.6.7).
fn check_package(name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if begins && name.len() > 1 && name.chars().all(plain) {
        Ok(())
    } else {
        Err(Error::BadPackage {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(name: &str, include: &[&str]) -> Result<Variant, Error> {
        let include: Vec<String> = include.iter().map(|name| (*name).to_owned()).collect();
        Variant::new(name, None, &include)
    }

    #[test]
    fn the_order_of_packages_makes_no_difference() {
        let one = variant("debian", &["git", "python3", "git"]).unwrap();
        let other = variant("debian:trixie", &["python3", "git"]).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.title(), "debian:trixie+git+python3");
        assert_eq!(one.folder(), other.folder());
        assert_ne!(one.folder(), variant("debian", &["git"]).unwrap().folder());
        assert_eq!(variant("debian:sid", &[]).unwrap().folder(), "sid");
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for (name, include) in [
            ("mini", vec![]),
            ("debian:../x", vec![]),
            ("debian", vec!["../x"]),
            ("debian", vec!["a"]),
            ("debian", vec!["A b"]),
            ("debian", vec![""]),
        ] {
            assert!(variant(name, &include).is_err(), "{name} {include:?}");
        }
    }
}
