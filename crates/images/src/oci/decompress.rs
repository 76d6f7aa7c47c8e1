//! Unpacking of layers: gzip, Zstandard, or nothing. What a layer is shows in its first bytes,
//! whatever its media type says.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Largest window that a Zstandard frame may ask for, in bytes: the most that `zstd --ultra` uses
/// without `--long`.
const MAX_WINDOW: u64 = 128 << 20;

/// The layer's tar archive.
pub(crate) fn decompress<'a>(mut input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    // A buffered reader may hand out less than it could.
    let mut start = Vec::new();
    input.by_ref().take(4).read_to_end(&mut start)?;
    let whole = io::Cursor::new(start.clone()).chain(input);
    Ok(match start[..] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        // Skippable frames may come first (RFC 8878, section 3.1.2).
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Box::new(Zstd::new(whole)),
        _ => Box::new(whole),
    })
}

/// Frames one behind the other, skippable ones among them, as tools write that let parts of a layer
/// be fetched alone.
struct Zstd<R> {
    input: R,
    decoder: FrameDecoder,
    /// Whether a frame has begun.
    inside: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(input: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self {
            input,
            decoder,
            inside: false,
        }
    }

    /// Goes to the next frame with content; whether there is one.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => {
                    self.inside = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = self.input.by_ref().take(length.into());
                    if io::copy(&mut skipped, &mut io::sink())? < length.into() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.inside && !self.begin()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.input, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            match self.decoder.read(buffer)? {
                0 if self.decoder.is_finished() && !buffer.is_empty() => self.inside = false,
                count => return Ok(count),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        // Hands out one byte at a time, as a slow pipe might.
        let input = io::BufReader::with_capacity(1, bytes);
        decompress(input)?.read_to_end(&mut content)?;
        Ok(content)
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        compress_to_vec(content, CompressionLevel::Fastest)
    }

    #[test]
    fn every_form_comes_out_the_same() {
        let content: Vec<u8> = (0..300_000_u32).map(|n| ((n * n) >> 9) as u8).collect();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&content).unwrap();
        for packed in [gzip.finish().unwrap(), zstd(&content), content.clone()] {
            assert!(unpacked(&packed).unwrap() == content);
        }
        assert_eq!(unpacked(b"").unwrap(), b"");
        assert_eq!(unpacked(b"abc").unwrap(), b"abc");
    }

    #[test]
    fn zstandard_frames_follow_each_other_with_skippable_ones_between() {
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let packed = [
            &skippable[..],
            &zstd(b"one "),
            &skippable,
            &zstd(b""),
            &zstd(b"two"),
            &skippable,
        ];
        assert_eq!(unpacked(&packed.concat()).unwrap(), b"one two");
    }

    #[test]
    fn what_ends_too_early_or_asks_for_too_much_is_refused() {
        let whole = zstd(&[7; 100_000]);
        assert!(unpacked(&whole[..whole.len() - 1]).is_err());
        assert!(unpacked(&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1]).is_err());
        // A frame header with a window of 1 TiB (RFC 8878, section 3.1.1.1.2).
        assert!(unpacked(&[0x28, 0xb5, 0x2f, 0xfd, 0, 30 << 3, 1, 0, 0]).is_err());
    }
}
