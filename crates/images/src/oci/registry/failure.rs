//! What a registry's refusals mean, for whoever wanted something of it.

use std::time::Duration;

use oci_client::errors::{OciDistributionError, OciEnvelope, OciErrorCode};

use crate::Error;
use crate::download::Failure;

/// What a registry is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    FetchImage,
    FetchTemplate,
    Push,
}

impl Purpose {
    /// A verb phrase, for [`Error::Registry`].
    fn doing(self) -> &'static str {
        match self {
            Self::FetchImage => "fetch the image",
            Self::FetchTemplate => "fetch the template",
            Self::Push => "push to",
        }
    }

    /// How long an answer may take. One to what was sent begins when all of that has arrived, and was
    /// perhaps copied to where it stays.
    pub(super) fn patience(self) -> Duration {
        match self {
            Self::FetchImage | Self::FetchTemplate => Duration::from_secs(30),
            Self::Push => Duration::from_secs(300),
        }
    }

    fn no_such(self) -> &'static str {
        match self {
            Self::FetchImage => {
                "the registry has no such image, or not all of it; check its name and tag"
            }
            Self::FetchTemplate => {
                "the registry has no such template, or not all of it; check its name and tag"
            }
            Self::Push => "the registry has no such repository; check its name",
        }
    }

    fn unauthorized(self) -> String {
        let refused = match self {
            Self::FetchImage => {
                "the registry refuses it to you: there is no such image, or it is not public"
            }
            Self::FetchTemplate => {
                "the registry refuses it to you: there is no such template, or it is not public"
            }
            Self::Push => "the registry does not let you write there",
        };
        format!("{refused}. `docker login` or `podman login` keep the credentials that clade uses")
    }

    /// What happened, to what, and what to do.
    pub(super) fn error(self, name: &str, reason: impl Into<String>) -> Error {
        Error::Registry {
            doing: self.doing(),
            name: name.to_owned(),
            reason: reason.into(),
        }
    }

    /// Says it in terms of registries; what was wanted was not a file of a mirror.
    pub(super) fn of_registry(self, name: &str, error: Error) -> Error {
        match error {
            Error::Network { reason, .. } => {
                let reason = format!("{reason}; check the network and the registry's name");
                self.error(name, reason)
            }
            Error::Checksum {
                expected, actual, ..
            } => Error::BlobChecksum {
                name: name.to_owned(),
                expected,
                actual,
            },
            other => other,
        }
    }

    /// What the client's error means, and whether another attempt may help.
    pub(super) fn failure(self, name: &str, error: OciDistributionError) -> Failure {
        let refused = |reason: String| Failure::Final(self.error(name, reason));
        match error {
            OciDistributionError::RequestError(error) => match error.status() {
                Some(status) => self.of_status(name, status.as_u16(), ""),
                None => Failure::transient(with_causes(&error.without_url())),
            },
            OciDistributionError::ServerError { code, message, .. } => {
                self.of_status(name, code, &message)
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => refused(self.unauthorized()),
            OciDistributionError::RegistryError { envelope, .. } => self.of_answer(name, &envelope),
            OciDistributionError::DigestError(error) => Failure::Final(Error::malformed(
                name,
                format!("the registry sent something else than what was asked for ({error})"),
            )),
            other => refused(printable(&other.to_string())),
        }
    }

    fn of_status(self, name: &str, code: u16, message: &str) -> Failure {
        let refused = |reason: String| Failure::Final(self.error(name, reason));
        let said = format!("the registry answered with HTTP status {code}");
        match code {
            500.. | 408 | 425 | 429 => Failure::transient(said),
            404 => refused(self.no_such().to_owned()),
            401 => refused(self.unauthorized()),
            403 if self == Self::Push => refused(self.unauthorized()),
            _ => match serde_json::from_str::<OciEnvelope>(message) {
                Ok(envelope) => refused(format!("{said}: {}", printable(&envelope.to_string()))),
                Err(_) => refused(said),
            },
        }
    }

    fn of_answer(self, name: &str, envelope: &OciEnvelope) -> Failure {
        let refused = |reason: String| Failure::Final(self.error(name, reason));
        match envelope.errors.first().map(|error| &error.code) {
            Some(
                OciErrorCode::ManifestUnknown
                | OciErrorCode::NameUnknown
                | OciErrorCode::NotFound
                | OciErrorCode::BlobUnknown,
            ) => refused(self.no_such().to_owned()),
            Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => refused(self.unauthorized()),
            Some(OciErrorCode::Toomanyrequests) => {
                Failure::transient("the registry says that there were too many requests")
            }
            _ => refused(printable(&envelope.to_string())),
        }
    }
}

/// Most that is repeated of what a registry says, in characters.
const MAX_SAYING: usize = 300;

/// What a registry says goes to a terminal: nothing in it may steer that.
fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).take(MAX_SAYING).collect()
}

/// An error, and what it comes from.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    printable(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_cannot_steer_a_terminal() {
        assert_eq!(printable("a\x1b[31mb\n"), "a [31mb ");
        assert_eq!(printable(&"x".repeat(1000)).len(), MAX_SAYING);
    }

    #[test]
    fn refusals_say_what_was_wanted() {
        let said = |purpose: Purpose, code, message| match purpose.of_status("x/y", code, message) {
            Failure::Final(error) => error.to_string(),
            Failure::Transient { reason, .. } => format!("again: {reason}"),
        };
        let denied = said(Purpose::Push, 403, "");
        assert!(denied.starts_with("cannot push to x/y: ") && denied.contains("docker login"));
        assert!(said(Purpose::FetchTemplate, 404, "").contains("no such template"));
        assert!(said(Purpose::FetchImage, 503, "").starts_with("again"));
        let words =
            r#"{"errors":[{"code":"SIZE_INVALID","message":"too large\u001b","detail":null}]}"#;
        let said = said(Purpose::Push, 413, words);
        assert!(said.contains("413") && said.contains("too large"), "{said}");
        assert!(!said.contains('\x1b'), "{said}");
    }
}
