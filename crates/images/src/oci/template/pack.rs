//! Files as they are sent: gzip (RFC 1952), the same bytes for the same content.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use clade_store::Sha256Writer;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::oci::registry::Content;
use crate::{Error, Progress};

/// Bytes that are looked at at once. Those that are all zero become a member of their own.
const PIECE: usize = 1 << 20;

/// Compresses a file, into one without a name that goes with its user.
pub(super) fn pack(path: &Path, folder: &Path, progress: &dyn Progress) -> Result<Content, Error> {
    let failed = |doing, path| move |error| clade_store::Error::io(doing, path, error);
    let from = File::open(path).map_err(failed("open", path))?;
    clade_store::create_folder(folder)?;
    let to = tempfile::tempfile_in(folder).map_err(failed("create a file in", folder))?;
    let mut summed = Sha256Writer::new(&to);
    compress(from, &mut summed, progress).map_err(failed("write a compressed copy of", path))?;
    let (sha256, _) = summed.finish();
    let size = to.metadata().map_err(failed("inspect", folder))?.len();
    Ok(Content {
        file: to,
        size,
        sha256,
    })
}

/// A blob of these bytes as they are.
pub(super) fn plain(bytes: &[u8], folder: &Path) -> Result<Content, Error> {
    let failed = |error| clade_store::Error::io("create a file in", folder, error);
    clade_store::create_folder(folder)?;
    let mut file = tempfile::tempfile_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    Ok(Content {
        file,
        size: bytes.len() as u64,
        sha256: clade_store::Sha256::of(bytes),
    })
}

/// What so many bytes can become at most: what cannot be compressed takes nine bits for eight where the encoder
/// uses DEFLATE's fixed codes (RFC 1951, section 3.2.6).
pub(super) fn longest(size: u64) -> u64 {
    size.saturating_add(size / 8 + (64 << 10))
}

fn compress(mut from: impl Read, mut to: impl Write, progress: &dyn Progress) -> io::Result<()> {
    let zeros = vec![0; PIECE];
    // Emptiness, which disks have a lot of, is worth patience: once.
    let nothing = member(&zeros, Compression::best())?;
    let mut piece = Vec::with_capacity(PIECE);
    let mut data = None;
    loop {
        piece.clear();
        let count = from.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if count == PIECE && piece == zeros {
            finish(data.take(), &mut to)?;
            to.write_all(&nothing)?;
        } else {
            // Pages of memory compress well at once, and hardly better with patience.
            let begin = || GzEncoder::new(Vec::with_capacity(PIECE), Compression::fast());
            let member = data.get_or_insert_with(begin);
            member.write_all(&piece)?;
            to.write_all(member.get_ref())?;
            member.get_mut().clear();
        }
        progress.advance(count as u64);
        if count < PIECE {
            return finish(data, &mut to);
        }
    }
}

fn finish(member: Option<GzEncoder<Vec<u8>>>, mut to: impl Write) -> io::Result<()> {
    match member {
        Some(member) => to.write_all(&member.finish()?),
        None => Ok(()),
    }
}

fn member(bytes: &[u8], level: Compression) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), level);
    gzip.write_all(bytes)?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_compressed_is_no_longer_than_it_may_be() {
        let mut state = 1u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            0x90 | (state >> 33) as u8
        })
        .take(5 << 20)
        .collect();
        let mut packed = Vec::new();
        compress(&bytes[..], &mut packed, &crate::Silent).expect("memory");
        assert!(packed.len() as u64 <= longest(bytes.len() as u64));
        let noise: Vec<u8> = bytes
            .iter()
            .zip(bytes.iter().skip(7))
            .map(|(a, b)| a.wrapping_mul(*b))
            .collect();
        let mut packed = Vec::new();
        compress(&noise[..], &mut packed, &crate::Silent).expect("memory");
        assert!(packed.len() as u64 <= longest(noise.len() as u64));
    }
    use crate::Silent;
    use crate::oci::decompress::decompress;

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        compress(content, &mut packed, &Silent).unwrap();
        packed
    }

    #[test]
    fn what_goes_in_comes_out_and_emptiness_is_small() {
        let mut content = vec![0; 64 * PIECE + 5];
        for (n, byte) in content[3 * PIECE - 100..5 * PIECE].iter_mut().enumerate() {
            *byte = ((n * n) >> 9) as u8;
        }
        for length in [
            0,
            1,
            PIECE - 1,
            PIECE,
            3 * PIECE,
            4 * PIECE + 1,
            content.len(),
        ] {
            let packed = packed(&content[..length]);
            let mut back = Vec::new();
            decompress(&packed[..])
                .unwrap()
                .read_to_end(&mut back)
                .unwrap();
            assert!(back == content[..length], "{length}");
        }
        let empty = packed(&vec![0; 64 * PIECE]);
        assert!(empty.len() < 70_000, "{}", empty.len());
        assert!(!packed(b"").is_empty());
    }

    #[test]
    fn the_same_content_is_the_same_blob() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![5; 3_000_000]).unwrap();
        let one = pack(&path, folder.path(), &Silent).unwrap();
        let other = pack(&path, &folder.path().join("new"), &Silent).unwrap();
        assert_eq!((one.sha256, one.size), (other.sha256, other.size));
        let mut bytes = vec![0; one.size as usize];
        std::os::unix::fs::FileExt::read_exact_at(&one.file, &mut bytes, 0).unwrap();
        assert_eq!(clade_store::Sha256::of(&bytes), one.sha256);
        // No name is left of them.
        assert_eq!(
            std::fs::read_dir(folder.path().join("new"))
                .unwrap()
                .count(),
            0
        );
    }
}
