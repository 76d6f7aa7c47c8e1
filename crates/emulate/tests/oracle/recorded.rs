//! Programs with the signatures that Spike left, for hosts that have no Spike.
//!
//! The file is a gzip stream of programs: the lengths of image and signature in bytes (32 bits
//! each, little-endian), then both.

use std::io::{Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::{bytes, doublewords};

/// A program, and what it leaves in its signature area.
pub(crate) struct Recorded {
    pub(crate) image: Vec<u8>,
    pub(crate) signature: Vec<u64>,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/oracle/{name}.gz"))
}

/// Reads the programs kept under `name`.
pub(crate) fn load(name: &str) -> std::io::Result<Vec<Recorded>> {
    let mut data = Vec::new();
    GzDecoder::new(std::fs::File::open(path(name))?).read_to_end(&mut data)?;
    let mut rest = data.as_slice();
    let mut programs = Vec::new();
    while !rest.is_empty() {
        let mut lengths = [[0; 4]; 2];
        rest.read_exact(&mut lengths[0])?;
        rest.read_exact(&mut lengths[1])?;
        let [mut image, mut signature] = lengths.map(|l| vec![0; u32::from_le_bytes(l) as usize]);
        rest.read_exact(&mut image)?;
        rest.read_exact(&mut signature)?;
        programs.push(Recorded {
            image,
            signature: doublewords(&signature),
        });
    }
    Ok(programs)
}

/// Replaces the programs kept under `name`.
pub(crate) fn save(name: &str, programs: &[Recorded]) -> std::io::Result<()> {
    let file = std::fs::File::create(path(name))?;
    let mut encoder = GzEncoder::new(file, Compression::best());
    for Recorded { image, signature } in programs {
        let signature = bytes(signature);
        for part in [image, &signature] {
            encoder.write_all(&(part.len() as u32).to_le_bytes())?;
        }
        encoder.write_all(image)?;
        encoder.write_all(&signature)?;
    }
    encoder.finish()?.sync_all()
}
