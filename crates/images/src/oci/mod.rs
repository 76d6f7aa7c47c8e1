//! OCI images: from a registry, a folder or an archive to a file system that a machine can mount.

mod archive;
mod cache;
mod decompress;
mod document;
mod image;
mod layers;
mod layout;
mod name;
mod registry;
mod seed;
mod source;
mod template;

pub use image::{OciImage, OciProcess, OciRequest};
pub use template::{Pushed, RemoteTemplate, TemplateRequest, push};

pub(crate) use cache::{list, remove, sweep_parts};
pub(crate) use image::ensure;
