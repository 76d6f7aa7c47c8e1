//! JSON documents that carry their kind, a version and a checksum of their own.
//!
//! A document is one JSON object:
//!
//! ```json
//! {"kind":"snapshot","version":1,"content":{},"blake3":"..."}
//! ```
//!
//! The checksum is that of all bytes before `,"blake3":`, and nothing but it and the line's end comes
//! after. That holds for every version, so damage can be told from a document of another version.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::content::read_whole;
use crate::{ContentError, Error, Staged};

/// Bytes of the longest document.
const LONGEST: u64 = 64 << 20;

/// Bytes behind what the checksum is of.
const SEAL: usize = seal_length();

/// What can be kept as a document.
pub trait Document: Serialize + DeserializeOwned {
    /// What it is, in a word or two: "snapshot".
    const KIND: &'static str;
    /// The version of its content. Documents of any other are refused.
    const VERSION: u32;
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    kind: String,
    version: u32,
    content: T,
}

/// What is in every document, whatever its content.
#[derive(Deserialize)]
struct Header {
    kind: String,
    version: u32,
}

/// Writes a document to a file of this name, by way of [`Staged`].
///
/// # Errors
/// The file cannot be written; what stood there before still does.
pub fn write<T: Document>(path: &Path, document: &T) -> Result<(), Error> {
    let staged = Staged::create(path)?;
    save(staged.file(), document).map_err(|error| staged.write_error(error))?;
    staged.commit()
}

/// Reads the document in the file of this name.
///
/// # Errors
/// As [`load`], naming the file.
pub fn read<T: Document>(path: &Path) -> Result<T, Error> {
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    load(&file).map_err(|error| Error::content(path, error))
}

/// Writes a document to an open file, in place of what is there. Syncing is left to the caller.
///
/// # Errors
/// The file cannot be written.
pub fn save<T: Document>(file: &File, document: &T) -> io::Result<()> {
    let bytes = encode(document)?;
    file.set_len(0)?;
    file.write_all_at(&bytes, 0)
}

/// Reads the document in an open file, and checks every byte of it.
///
/// # Errors
/// The file cannot be read; it is damaged; it is a document of another kind or version.
pub fn load<T: Document>(file: &File) -> Result<T, ContentError> {
    decode(&read_whole(file, LONGEST)?)
}

/// The document that these bytes are, all of which are checked.
pub(crate) fn parse<T: Document>(bytes: &[u8]) -> Result<T, ContentError> {
    decode(bytes)
}

fn encode<T: Document>(document: &T) -> io::Result<Vec<u8>> {
    let envelope = Envelope {
        kind: T::KIND.to_owned(),
        version: T::VERSION,
        content: document,
    };
    let mut bytes = serde_json::to_vec(&envelope)?;
    // The object's brace closes behind the checksum.
    bytes.pop();
    let seal = seal_of(&bytes);
    bytes.extend_from_slice(seal.as_bytes());
    Ok(bytes)
}

fn decode<T: Document>(bytes: &[u8]) -> Result<T, ContentError> {
    let cut_short = || ContentError::damaged("it is too short");
    let length = bytes.len().checked_sub(SEAL).ok_or_else(cut_short)?;
    let (sealed, seal) = bytes.split_at(length);
    if seal_of(sealed).as_bytes() != seal {
        return Err(ContentError::no_match());
    }
    let unexpected = |error: serde_json::Error| ContentError::damaged(error.to_string());
    let header: Header = serde_json::from_slice(bytes).map_err(unexpected)?;
    if header.kind != T::KIND {
        return Err(ContentError::Foreign { kind: T::KIND });
    }
    ContentError::check_version(T::KIND, header.version, T::VERSION)?;
    let envelope: Envelope<T> = serde_json::from_slice(bytes).map_err(unexpected)?;
    Ok(envelope.content)
}

fn seal_of(bytes: &[u8]) -> String {
    format!(",\"blake3\":\"{}\"}}\n", blake3::hash(bytes).to_hex())
}

const fn seal_length() -> usize {
    ",\"blake3\":\"\"}\n".len() + 2 * blake3::OUT_LEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing<const V: u32> {
        words: Vec<String>,
        number: i64,
    }

    impl<const V: u32> Document for Thing<V> {
        const KIND: &'static str = "thing";
        const VERSION: u32 = V;
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Other;

    impl Document for Other {
        const KIND: &'static str = "note";
        const VERSION: u32 = 2;
    }

    fn thing() -> Thing<2> {
        Thing {
            words: vec!["\"blake3\":".into(), "é\n".into()],
            number: -1,
        }
    }

    #[test]
    fn a_document_is_read_as_it_was_written_and_is_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thing.json");
        write(&path, &thing()).unwrap();
        assert_eq!(read::<Thing<2>>(&path).unwrap(), thing());
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["content"]["number"], -1);
    }

    #[test]
    fn every_flipped_bit_and_every_missing_end_is_refused() {
        let bytes = encode(&thing()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let result = decode::<Thing<2>>(&damaged);
                assert!(matches!(result, Err(ContentError::Damaged { .. })), "{at}");
            }
            assert!(decode::<Thing<2>>(&bytes[..at]).is_err(), "{at}");
        }
        assert!(decode::<Thing<2>>(&[&bytes[..], b"\n"].concat()).is_err());
    }

    #[test]
    fn what_is_of_another_version_or_kind_is_refused_by_name() {
        let bytes = encode(&thing()).unwrap();
        let newer = decode::<Thing<1>>(&bytes).unwrap_err().to_string();
        assert!(
            newer.contains("newer Clade") && newer.contains("version 2"),
            "{newer}"
        );
        let older = decode::<Thing<3>>(&bytes).unwrap_err().to_string();
        assert!(older.contains("older Clade"), "{older}");
        let other = decode::<Other>(&bytes).unwrap_err().to_string();
        assert_eq!(other, "Clade expects a note here, and it is none");
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thing.json");
        std::fs::write(&path, b"{}").unwrap();
        let error = read::<Thing<2>>(&path).unwrap_err().to_string();
        assert!(error.contains("thing.json: it is damaged"), "{error}");
    }
}
