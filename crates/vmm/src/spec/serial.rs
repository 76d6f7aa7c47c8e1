use std::fmt;
use std::str::FromStr;

use clade_devices::virtio::serial::PORTS_MAX;
use serde::{Deserialize, Serialize};

/// The name of a serial port: up to 32 letters, digits, and `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SerialName(String);

/// How long a name may be, in bytes.
const LONGEST: usize = 32;

/// What is no name of a serial port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be the name of a serial port; use 1 to {LONGEST} letters, digits, dashes, \
     underscores and dots"
)]
pub struct SerialNameError(String);

/// Why serial ports cannot be had together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SerialPortsError {
    /// There is no room on the device.
    #[error("{0} serial ports are too many; a machine has up to {PORTS_MAX}")]
    TooMany(usize),
    /// Two have one name.
    #[error("two serial ports are called `{0}`; give each a name of its own")]
    Twice(SerialName),
}

impl SerialName {
    /// Makes sure that one machine can have ports with all these names.
    ///
    /// # Errors
    /// They are too many, or two are the same.
    pub fn check_all(names: &[Self]) -> Result<(), SerialPortsError> {
        if names.len() > PORTS_MAX {
            return Err(SerialPortsError::TooMany(names.len()));
        }
        match (1..names.len()).find(|&index| names[..index].contains(&names[index])) {
            Some(index) => Err(SerialPortsError::Twice(names[index].clone())),
            None => Ok(()),
        }
    }

    /// Name of the socket in a machine's folder that is the port's other end.
    pub fn socket_file(&self) -> String {
        format!("port-{self}.sock")
    }
}

impl FromStr for SerialName {
    type Err = SerialNameError;

    fn from_str(text: &str) -> Result<Self, SerialNameError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // The guest has a file of this name.
        let good = (1..=LONGEST).contains(&text.len())
            && text.bytes().all(plain)
            && text != "."
            && text != "..";
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(SerialNameError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for SerialName {
    type Error = SerialNameError;

    fn try_from(text: String) -> Result<Self, SerialNameError> {
        text.parse()
    }
}

impl From<SerialName> for String {
    fn from(name: SerialName) -> Self {
        name.0
    }
}

impl fmt::Display for SerialName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_file_names_of_their_own() {
        let longest = "x".repeat(32);
        for good in ["a", "org.qemu.guest_agent.0", "-x", "...", &longest] {
            assert!(good.parse::<SerialName>().is_ok(), "{good}");
        }
        let longer = "x".repeat(33);
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\0", &longer] {
            let error = bad.parse::<SerialName>().expect_err(bad).to_string();
            assert!(error.contains(bad), "{error}");
        }
        assert!(serde_json::from_str::<SerialName>(r#""../x""#).is_err());
        let name: SerialName = "agent.0".parse().expect("name");
        assert_eq!(name.socket_file(), "port-agent.0.sock");
    }
}
