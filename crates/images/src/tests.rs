//! The whole way from a mirror to an image, against a mirror of the tests' own: no network needed.

mod fetch;
mod oci;
mod server;
pub(crate) mod world;

#[test]
fn own_images_are_told_from_oci_images() {
    for (name, oci) in [
        ("mini", false),
        ("mini:forky", false),
        ("debian", false),
        ("debian:sid", false),
        ("alpine", true),
        ("docker.io/library/debian", true),
        ("minimal", true),
        ("oci:./layout", true),
    ] {
        assert_eq!(crate::is_oci(name), oci, "{name}");
    }
}
