//! The way to a real Debian mirror, as this host's configuration names one. Skipped, and says so,
//! where there is none or it cannot be reached.

use clade_images::{Error, Progress, Source, deb, find_mirror, package_files};

/// Shows messages only.
struct Messages;

impl Progress for Messages {
    fn begin(&self, _label: &str, _total: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
    fn message(&self, text: &str) {
        eprintln!("{text}");
    }
}

#[test]
fn debians_firmware_is_fetched_checked_and_read() {
    match find_mirror(None) {
        Ok(mirror) => eprintln!("using the mirror that {} names", mirror.origin),
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            return;
        }
    }
    let packages = match package_files(&["opensbi"], &Source::default(), &Messages) {
        Ok(packages) => packages,
        // A mirror in the middle of an update contradicts itself.
        Err(error @ (Error::Network { .. } | Error::Checksum { .. })) => {
            eprintln!("SKIPPED: no mirror that can be used: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let path = "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin";
    let entries = packages[0].entries().unwrap();
    let entry = entries.iter().find(|entry| entry.path == path).unwrap();
    assert_eq!(entry.kind, deb::Kind::File);
    let firmware = packages[0].read(path).unwrap();
    assert_eq!(firmware.len() as u64, entry.size);
    // The second time nothing is fetched, and the content is the same.
    let again = package_files(&["opensbi"], &Source::default(), &Messages).unwrap();
    assert_eq!(again[0].read(path).unwrap(), firmware);
}
