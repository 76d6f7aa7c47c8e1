//! OpenPGP inline signatures (RFC 9580, section 7) by a short list of pinned keys.

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PublicKey, PublicSubkey, Signature, SignatureType};
use pgp::types::{Duration, Fingerprint, KeyDetails, Tag, Timestamp};

/// Debian's archive keys, as its package debian-archive-keyring (2025.1) carries them, each with the
/// fingerprint that it must have. Debian publishes the fingerprints; the files alone prove nothing.
const DEBIAN_KEYS: [(&str, &str); 6] = [
    // Debian Archive Automatic Signing Key (13/trixie)
    (
        "04B54C3CDCA79751B16BC6B5225629DF75B188BD",
        include_str!("../keys/trixie-automatic.asc"),
    ),
    // Debian Stable Release Key (13/trixie)
    (
        "41587F7DB8C774BCCF131416762F67A0B2C39DE4",
        include_str!("../keys/trixie-stable.asc"),
    ),
    // Debian Archive Automatic Signing Key (12/bookworm)
    (
        "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8",
        include_str!("../keys/bookworm-automatic.asc"),
    ),
    // Debian Stable Release Key (12/bookworm)
    (
        "4D64FEC119C2029067D6E791F8D2585B8783D481",
        include_str!("../keys/bookworm-stable.asc"),
    ),
    // Debian Security Archive Automatic Signing Key (13/trixie)
    (
        "5E04A1E3223A19A20706E20F9904613D4CCE68C6",
        include_str!("../keys/trixie-security-automatic.asc"),
    ),
    // Debian Security Archive Automatic Signing Key (12/bookworm)
    (
        "05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0",
        include_str!("../keys/bookworm-security-automatic.asc"),
    ),
];

/// Longest signed message that is read. Debian's are below 250 kB.
pub(crate) const MAX_MESSAGE: u64 = 2 << 20;
/// Most lines of a signed message. Debian's are below 4000.
const MAX_LINES: usize = 20_000;

/// The keys whose signatures count.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    keys: Vec<SigningKey>,
}

/// A primary key or subkey that may sign data.
#[derive(Debug, Clone)]
struct SigningKey {
    key: Key,
    fingerprint: Fingerprint,
    created: Timestamp,
    /// Seconds after `created`; 0 for ever.
    lifetime: u32,
}

#[derive(Debug, Clone)]
enum Key {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

impl Trust {
    /// Debian's archive keys.
    pub(crate) fn debian() -> Result<Self, String> {
        Self::pinned(&DEBIAN_KEYS)
    }

    /// Reads armored certificates, each of which must have the fingerprint that stands before it.
    pub(crate) fn pinned(certificates: &[(&str, &str)]) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (fingerprint, armored) in certificates {
            let (certificate, _) = SignedPublicKey::from_string(armored)
                .map_err(|error| format!("the key {fingerprint} cannot be read: {error}"))?;
            let actual = format!("{:X}", certificate.fingerprint());
            if actual != *fingerprint {
                return Err(format!(
                    "a key has the fingerprint {actual}, not {fingerprint}"
                ));
            }
            keys.extend(signing_keys(&certificate));
        }
        Ok(Self { keys })
    }

    /// Checks an inline-signed message and returns the text that is signed, with `\n` line ends;
    /// nothing else of the message may be used. One good signature by a trusted key is enough.
    pub(crate) fn verify(&self, message: &[u8]) -> Result<String, String> {
        let text = std::str::from_utf8(message).map_err(|_| "it is not UTF-8 text".to_owned())?;
        if message.len() as u64 > MAX_MESSAGE || text.lines().count() > MAX_LINES {
            return Err("it is too long".to_owned());
        }
        // Refuses anything before, between and after the text and its signatures.
        let (signed, _) = CleartextSignedMessage::from_string(text)
            .map_err(|error| format!("it is no OpenPGP signed message: {error}"))?;
        let content = signed.signed_text();
        let mut reasons = Vec::new();
        for signature in signed.signatures() {
            match self.check(signature, content.as_bytes()) {
                Ok(()) => return Ok(content.replace("\r\n", "\n")),
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            return Err("it has no signature".to_owned());
        }
        Err(reasons.join("; "))
    }

    fn check(&self, signature: &Signature, content: &[u8]) -> Result<(), String> {
        use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
        if !matches!(
            signature.typ(),
            Some(SignatureType::Text | SignatureType::Binary)
        ) {
            return Err("a signature is of a kind that signs no text".to_owned());
        }
        if !matches!(
            signature.hash_alg(),
            Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)
        ) {
            return Err("a signature uses a hash that is not safe".to_owned());
        }
        let Some(signed_at) = signature.created() else {
            return Err("a signature has no date".to_owned());
        };
        let [issuer] = signature.issuer_fingerprint()[..] else {
            return Err("a signature does not name its key".to_owned());
        };
        let key = self
            .keys
            .iter()
            .find(|key| key.fingerprint == *issuer)
            .ok_or_else(|| format!("it is signed by the key {issuer:X}, which is not trusted"))?;
        key.valid_at(signed_at)?;
        let verified = match &key.key {
            Key::Primary(key) => signature.verify(key, content),
            Key::Subkey(key) => signature.verify(key, content),
        };
        verified.map_err(|_| format!("its signature by the key {issuer:X} is wrong"))
    }
}

impl SigningKey {
    fn valid_at(&self, time: Timestamp) -> Result<(), String> {
        let (born, now) = (u64::from(self.created.as_secs()), u64::from(time.as_secs()));
        let fingerprint = &self.fingerprint;
        if now < born {
            Err(format!(
                "its signature is older than the key {fingerprint:X}"
            ))
        } else if self.lifetime != 0 && now >= born + u64::from(self.lifetime) {
            Err(format!(
                "the key {fingerprint:X} had expired when it signed"
            ))
        } else {
            Ok(())
        }
    }
}

/// The keys of a certificate that its self-signatures allow to sign data. Self-signatures that do
/// not verify, and certificates that were revoked, give none.
fn signing_keys(certificate: &SignedPublicKey) -> Vec<SigningKey> {
    let primary = &certificate.primary_key;
    if !certificate.details.revocation_signatures.is_empty() {
        return Vec::new();
    }
    let self_signatures = certificate.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|signature| {
            signature.is_certification()
                && signature
                    .verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
        })
    });
    let primary_binding = self_signatures.max_by_key(|signature| signature.created());
    let primary_key = primary_binding
        .filter(|binding| binding.key_flags().sign())
        .map(|binding| SigningKey {
            key: Key::Primary(primary.clone()),
            fingerprint: primary.fingerprint(),
            created: primary.created_at(),
            lifetime: lifetime(binding),
        });
    let subkeys = certificate.public_subkeys.iter().filter_map(|subkey| {
        // Also checks that the subkey signed the primary key in turn (RFC 9580, section 5.2.1.8).
        subkey.verify_bindings(primary).ok()?;
        let revoked = |s: &&Signature| s.typ() == Some(SignatureType::SubkeyRevocation);
        if subkey
            .signatures
            .iter()
            .any(|signature| revoked(&signature))
        {
            return None;
        }
        let binding = subkey
            .signatures
            .iter()
            .max_by_key(|signature| signature.created())?;
        binding.key_flags().sign().then(|| SigningKey {
            fingerprint: subkey.key.fingerprint(),
            created: subkey.key.created_at(),
            lifetime: lifetime(binding),
            key: Key::Subkey(subkey.key.clone()),
        })
    });
    primary_key.into_iter().chain(subkeys).collect()
}

fn lifetime(binding: &Signature) -> u32 {
    binding.key_expiration_time().map_or(0, Duration::as_secs)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use pgp::composed::{ArmorOptions, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
    use pgp::packet::{SignatureConfig, Subpacket, SubpacketData};
    use pgp::types::Password;
    use std::io::Read;

    /// A key of the test's own, which signs as Debian's do.
    pub(crate) struct Signer {
        secret: SignedSecretKey,
    }

    impl Signer {
        pub(crate) fn new() -> Self {
            let secret = SecretKeyParamsBuilder::default()
                .key_type(KeyType::Ed25519Legacy)
                .can_sign(true)
                .can_certify(true)
                .primary_user_id("A Test <test@example.org>".to_owned())
                .build()
                .unwrap()
                .generate(rand::thread_rng())
                .unwrap();
            Self { secret }
        }

        pub(crate) fn trust(&self) -> Trust {
            let fingerprint = format!("{:X}", self.secret.fingerprint());
            let public = self.secret.to_public_key();
            let armored = public.to_armored_string(ArmorOptions::default()).unwrap();
            Trust::pinned(&[(&fingerprint, &armored)]).unwrap()
        }

        pub(crate) fn sign(&self, text: &str) -> String {
            self.sign_at(text, Timestamp::now())
        }

        fn sign_at(&self, text: &str, time: Timestamp) -> String {
            let key = &self.secret.primary_key;
            let mut config =
                SignatureConfig::from_key(rand::thread_rng(), key, SignatureType::Text).unwrap();
            config.hashed_subpackets = vec![
                Subpacket::regular(SubpacketData::SignatureCreationTime(time)).unwrap(),
                Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
            ];
            CleartextSignedMessage::new(text, config, key, &Password::empty())
                .unwrap()
                .to_armored_string(ArmorOptions::default())
                .unwrap()
        }
    }

    /// A small Release file as Debian signed it, with both archive keys.
    fn debian_message() -> String {
        let packed = include_bytes!("../tests/data/trixie-updates-InRelease.xz");
        let mut message = String::new();
        lzma_rust2::XzReader::new(&packed[..], false)
            .read_to_string(&mut message)
            .unwrap();
        message
    }

    #[test]
    fn a_message_that_debian_signed_is_accepted_by_either_key_alone() {
        let message = debian_message();
        let text = Trust::debian().unwrap().verify(message.as_bytes()).unwrap();
        assert!(text.starts_with("Origin: Debian\nLabel: Debian\nSuite: stable-updates\n"));
        assert!(!text.contains("PGP") && !text.contains('\r'));
        for automatic in [0, 2] {
            let trust = Trust::pinned(&DEBIAN_KEYS[automatic..=automatic]).unwrap();
            assert_eq!(trust.verify(message.as_bytes()).unwrap(), text);
        }
    }

    #[test]
    fn every_debian_key_can_sign() {
        for key in DEBIAN_KEYS {
            assert!(!Trust::pinned(&[key]).unwrap().keys.is_empty(), "{}", key.0);
        }
    }

    #[test]
    fn an_altered_message_is_refused() {
        let trust = Trust::debian().unwrap();
        let message = debian_message();
        let altered = message.replacen("Suite: stable-updates", "Suite: stable", 1);
        let reason = trust.verify(altered.as_bytes()).unwrap_err();
        assert!(reason.contains("is wrong"), "{reason}");
    }

    #[test]
    fn text_around_the_signed_text_is_refused() {
        let signer = Signer::new();
        let message = signer.sign("Suite: trixie\n");
        let trust = signer.trust();
        assert_eq!(trust.verify(message.as_bytes()).unwrap(), "Suite: trixie\n");
        for forged in [
            format!("Suite: other\n{message}"),
            format!("{message}Suite: other\n"),
            message.replacen("\n\n", "\nSuite: other\n\n", 1),
            message.replacen(
                "-----BEGIN PGP SIGNATURE",
                "Suite: other\n-----BEGIN PGP SIGNATURE",
                1,
            ),
            message.replacen("\n\n", "\n\n- -----BEGIN\nSuite: other\n", 1),
            format!("{message}{message}"),
        ] {
            assert!(trust.verify(forged.as_bytes()).is_err(), "{forged}");
        }
    }

    #[test]
    fn a_key_that_is_not_pinned_is_named_and_refused() {
        let message = Signer::new().sign("Suite: trixie\n");
        let reason = Trust::debian()
            .unwrap()
            .verify(message.as_bytes())
            .unwrap_err();
        assert!(reason.contains("not trusted"), "{reason}");
    }

    #[test]
    fn a_key_with_another_fingerprint_than_the_pinned_one_is_refused() {
        let wrong = [(DEBIAN_KEYS[1].0, DEBIAN_KEYS[0].1)];
        assert!(Trust::pinned(&wrong).unwrap_err().contains("fingerprint"));
    }

    #[test]
    fn a_signature_from_before_the_key_or_after_its_end_is_refused() {
        let signer = Signer::new();
        let mut trust = signer.trust();
        let early = signer.sign_at("a\n", Timestamp::from_secs(1));
        assert!(
            trust
                .verify(early.as_bytes())
                .unwrap_err()
                .contains("older than the key")
        );
        let born = trust.keys[0].created.as_secs();
        trust.keys[0].lifetime = 10;
        for (age, good) in [(9, true), (10, false)] {
            let message = signer.sign_at("a\n", Timestamp::from_secs(born + age));
            assert_eq!(trust.verify(message.as_bytes()).is_ok(), good, "{age}");
        }
    }

    #[test]
    fn what_is_no_signed_message_is_refused() {
        let trust = Trust::debian().unwrap();
        let unsigned = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSuite: trixie\n";
        let long = vec![b'\n'; MAX_MESSAGE as usize + 1];
        for message in [
            b"".as_slice(),
            b"Suite: trixie\n",
            b"\xff\xfe",
            unsigned.as_bytes(),
            &long,
        ] {
            assert!(trust.verify(message).is_err());
        }
    }
}
