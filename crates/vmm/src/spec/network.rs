use std::fmt;
use std::str::FromStr;

use clade_net::{Forward, Host};
use serde::{Deserialize, Serialize};

/// What a machine's network card is connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkSpec {
    /// There is no card.
    #[default]
    None,
    /// The user-mode network: the world by way of the host's sockets.
    User(OutsideSpec),
    /// A switch that machines of this user share, with the world behind it as well.
    Switch(SwitchName, OutsideSpec),
    /// A tap interface of the host, by its name.
    Tap(String),
}

impl NetworkSpec {
    /// What goes out of, and into, the user-mode network, if there is one.
    pub fn outside(&self) -> Option<&OutsideSpec> {
        match self {
            Self::None | Self::Tap(_) => None,
            Self::User(outside) | Self::Switch(_, outside) => Some(outside),
        }
    }
}

/// What goes out of, and into, a user-mode network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutsideSpec {
    /// Ports of the host that lead to the guest.
    pub forwards: Vec<Forward>,
    /// If there are any, the only hosts that the guest may reach.
    pub allow: Vec<Host>,
    /// Hosts that the guest may not reach.
    pub deny: Vec<Host>,
}

/// The name of a switch: letters, digits and dashes, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SwitchName(String);

/// How long a switch's name may be, in bytes.
const LONGEST: usize = 40;

/// What is no name of a switch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no network: `user`, `none`, `tap:INTERFACE`, or a name for a network of several \
     machines, of at most 40 letters, digits and dashes"
)]
pub struct SwitchNameError(String);

impl FromStr for SwitchName {
    type Err = SwitchNameError;

    fn from_str(text: &str) -> Result<Self, SwitchNameError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let good = (1..=LONGEST).contains(&text.len())
            && text.bytes().all(plain)
            && !text.starts_with('-')
            && text != "user"
            && text != "none";
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(SwitchNameError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for SwitchName {
    type Error = SwitchNameError;

    fn try_from(text: String) -> Result<Self, SwitchNameError> {
        text.parse()
    }
}

impl From<SwitchName> for String {
    fn from(name: SwitchName) -> Self {
        name.0
    }
}

impl fmt::Display for SwitchName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_written_as_they_are_read() {
        let outside = OutsideSpec {
            forwards: vec!["8080:80".parse().expect("forward")],
            allow: vec!["example.org".parse().expect("host")],
            deny: vec!["10.0.0.0/8".parse().expect("host")],
        };
        let name = "blue-1".parse().expect("name");
        for network in [
            NetworkSpec::None,
            NetworkSpec::User(outside.clone()),
            NetworkSpec::Switch(name, outside),
            NetworkSpec::Tap("tap0".to_owned()),
        ] {
            let text = serde_json::to_string(&network).expect("written");
            assert_eq!(
                serde_json::from_str::<NetworkSpec>(&text).expect(&text),
                network
            );
        }
        for text in [
            "",
            "user",
            "none",
            "-a",
            "a/b",
            "..",
            "tap:x",
            &"x".repeat(41),
        ] {
            assert!(text.parse::<SwitchName>().is_err(), "{text}");
        }
        let bad = r#"{"switch": ["../x", {}]}"#;
        assert!(serde_json::from_str::<NetworkSpec>(bad).is_err());
    }
}
