//! The whole way from a mirror to an image, against a mirror of the tests' own: no network needed.

mod fetch;
mod oci;
mod server;
pub(crate) mod world;
