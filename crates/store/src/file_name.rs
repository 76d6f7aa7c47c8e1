use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The plain name of a file in a folder of the store, which cannot lead anywhere else: letters,
/// digits, `-`, `_` and `.`, beginning with a letter or digit, at most [`FileName::LONGEST`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct FileName(String);

/// The text is no plain file name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a plain file name: up to {longest} letters, digits, '-', '_' and '.', of which \
     the first is a letter or digit",
    longest = FileName::LONGEST
)]
pub struct BadFileName(String);

impl FileName {
    /// Bytes that a name has at most.
    pub const LONGEST: usize = 128;

    /// Checks a name.
    ///
    /// # Errors
    /// [`BadFileName`] when it is not a plain one.
    pub fn new(name: impl Into<String>) -> Result<Self, BadFileName> {
        let name = name.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let first = name.bytes().next();
        let good = first.is_some_and(|byte| byte.is_ascii_alphanumeric())
            && name.len() <= Self::LONGEST
            && name.bytes().all(plain);
        if good {
            Ok(Self(name))
        } else {
            Err(BadFileName(name.chars().take(Self::LONGEST).collect()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<std::path::Path> for FileName {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for FileName {
    type Error = BadFileName;

    fn try_from(name: String) -> Result<Self, BadFileName> {
        Self::new(name)
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_taken() {
        for good in ["a", "disk.img", "root-1.qcow2", "0f_3.mem"] {
            assert_eq!(FileName::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(FileName::LONGEST + 1);
        for bad in ["", ".", "..", ".new", "a/b", "/a", "a\0", "é", "-a", &long] {
            assert!(FileName::new(bad).is_err(), "{bad}");
            assert!(serde_json::from_value::<FileName>(bad.into()).is_err());
        }
    }
}
