//! Templates as OCI artifacts (OCI Image Format Specification 1.1, "Guidelines for Artifact Usage").
//!
//! The configuration of the artifact is the snapshot's manifest as it is, sealed; each of its files is a
//! layer, compressed by gzip. The same content is the same layer, so what several templates share is in a
//! registry once, is sent once, and fetched once. Should another host compress it to other bytes, it still
//! knows as what layer it once got a content ([`contents`]).

mod contents;
mod document;
mod pack;
mod pull;
mod push;

pub use pull::RemoteTemplate;
pub use push::{Pushed, push};

pub(crate) use document::is_template;

use oci_client::Reference;

use super::name::Name;
use crate::Error;

/// Which template of a registry is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateRequest {
    /// As Docker writes references: `ghcr.io/owner/name:tag`; the tag is `latest` if there is none.
    pub reference: String,
    /// Registries, as `HOST[:PORT]`, that are spoken to without encryption; those on this host are in
    /// any case.
    pub insecure_registries: Vec<String>,
}

impl TemplateRequest {
    fn parse(&self) -> Result<Reference, Error> {
        match Name::parse(&self.reference)? {
            Name::Registry(reference) => Ok(reference),
            Name::Layout { .. } | Name::Archive { .. } => Err(Error::NoTemplate {
                name: self.reference.clone(),
                reason: "templates are in registries, like ghcr.io/owner/name:tag; \
                         `clade template import` reads files"
                    .to_owned(),
            }),
        }
    }
}
