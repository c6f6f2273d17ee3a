//! Passwords and what is kept of them.
//!
//! Owns the forms in which a password can be given (plain, `md5…`, `sha256|…`), the verifiers
//! made from it, and the hash functions that the authentication exchanges need. Knows nothing
//! of the exchanges themselves.
//!
//! SASLprep (RFC 4013) is a pass-through here: it changes nothing in printable ASCII, which is
//! all that Redshift allows in a password. A password with other characters is hashed as its
//! UTF-8 bytes, as PostgreSQL does when normalisation fails.

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

use crate::client::{DigestVerifier, ScramVerifier, Verifier};
use crate::{Result, Secret, error, rng};

/// The cost of guessing one password against a stolen SCRAM verifier; PostgreSQL's default.
pub const SCRAM_ITERATIONS: u32 = 4_096;
const SALT_BYTES: usize = 16;
const DIGEST_SALT_BYTES: usize = 32;

/// What is kept of one password. Which members are set depends on the form it was given in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verifiers {
    pub digest: Option<DigestVerifier>,
    pub scram: Option<ScramVerifier>,
    pub md5: Option<String>,
}

/// The verifiers of a plain password, with fresh salts.
pub fn make_verifiers(_user: &str, password: &Secret) -> (DigestVerifier, ScramVerifier) {
    let plain = password.reveal().as_bytes();
    let digest = digest_verifier(plain, &rng::bytes::<DIGEST_SALT_BYTES>());
    (digest, scram_verifier(plain, &rng::bytes::<SALT_BYTES>(), SCRAM_ITERATIONS))
}

/// The md5 form of a password: hex MD5(password ‖ user).
pub fn md5_verifier(user: &str, password: &Secret) -> String {
    md5_hex(&[password.reveal().as_bytes(), user.as_bytes()])
}

/// Reads the PASSWORD of CREATE USER or ALTER USER in any of Redshift's forms.
///
/// # Errors
/// 22023 for a hash of the wrong length or with characters that are not hexadecimal.
pub fn parse(user: &str, given: &Secret) -> Result<Verifiers> {
    let text = given.reveal();
    if let Some(hash) = text.strip_prefix("md5").filter(|hash| hash.len() == 32) {
        return match unhex(hash) {
            Some(_) => {
                Ok(Verifiers { md5: Some(hash.to_ascii_lowercase()), ..Verifiers::default() })
            }
            None => Err(bad_hash("md5", "\"md5\" is followed by 32 hexadecimal digits")),
        };
    }
    let Some(rest) = text.strip_prefix("sha256|") else {
        return Ok(both(user, given));
    };
    let Some((hash, salt)) = rest.split_once('|') else {
        return Ok(both(user, &Secret::new(rest)));
    };
    let hash: Option<[u8; 32]> = unhex(hash).and_then(|bytes| bytes.try_into().ok());
    match (hash, unhex(salt)) {
        (Some(hash), Some(salt)) if !salt.is_empty() => {
            Ok(Verifiers { digest: Some(DigestVerifier { salt, hash }), ..Verifiers::default() })
        }
        _ => Err(bad_hash("sha256", "The form is sha256|digest|salt, both in hexadecimal")),
    }
}

fn both(user: &str, plain: &Secret) -> Verifiers {
    let (digest, scram) = make_verifiers(user, plain);
    Verifiers { digest: Some(digest), scram: Some(scram), md5: None }
}

fn bad_hash(kind: &str, form: &str) -> crate::Error {
    error!(InvalidParameterValue, "invalid {kind} password hash").detail(format!("{form}."))
}

/// The verifier of a user that does not exist: no password matches it, and its salts are the
/// same at each try, as those of a real user are. `secret` belongs to the cluster.
pub fn decoy(user: &str, secret: &[u8]) -> Verifier {
    let bytes = |label: &str| hmac_sha256(secret, &[label.as_bytes(), user.as_bytes()]);
    Verifier {
        digest: Some(DigestVerifier { salt: bytes("digest salt ").to_vec(), hash: [0; 32] }),
        scram: Some(ScramVerifier {
            salt: bytes("scram salt ")[..SALT_BYTES].to_vec(),
            iterations: SCRAM_ITERATIONS,
            stored_key: [0; 32],
            server_key: bytes("server key "),
        }),
        md5: None,
        may_log_in: false,
    }
}

/// Redshift's digest: SHA-256(password ‖ salt).
pub fn digest_verifier(password: &[u8], salt: &[u8]) -> DigestVerifier {
    DigestVerifier { salt: salt.to_vec(), hash: sha256(&[password, salt]) }
}

/// SCRAM-SHA-256 (RFC 5802, RFC 7677).
pub fn scram_verifier(password: &[u8], salt: &[u8], iterations: u32) -> ScramVerifier {
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
    ScramVerifier {
        salt: salt.to_vec(),
        iterations,
        stored_key: sha256(&[&hmac_sha256(&salted, &[b"Client Key"])]),
        server_key: hmac_sha256(&salted, &[b"Server Key"]),
    }
}

/// SHA-256 over the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// HMAC-SHA-256 over the parts, one after the other.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mac = <Hmac<Sha256> as Mac>::new_from_slice(key);
    let mut mac = crate::proven(mac.ok(), "HMAC takes keys of every length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Lower-case hex MD5 over the parts, one after the other.
pub fn md5_hex(parts: &[&[u8]]) -> String {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |d: u8| char::from(d).to_digit(16).map(|value| value as u8);
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scram_is_rfc_7677s_example() {
        let salt = [
            0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36,
            0xfa, 0x81,
        ];
        let made = scram_verifier(b"pencil", &salt, 4_096);
        let message: &[u8] = b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTC\
            AfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDp\
            WUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = hmac_sha256(&made.server_key, &[message]);
        // v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=
        assert_eq!(signature[..4], [0xea, 0xba, 0xe2, 0x4d]);
    }

    #[test]
    fn every_form_is_read() {
        let plain = parse("u", &Secret::new("Secret123")).unwrap();
        assert!(plain.digest.is_some() && plain.scram.is_some() && plain.md5.is_none());
        let marked = parse("u", &Secret::new("sha256|Secret123")).unwrap();
        let digest = marked.digest.unwrap();
        assert_eq!(digest_verifier(b"Secret123", &digest.salt), digest);
        let hash = md5_verifier("u", &Secret::new("Secret123"));
        let md5 = parse("u", &Secret::new(format!("md5{hash}"))).unwrap();
        assert_eq!(md5, Verifiers { md5: Some(hash), ..Verifiers::default() });
        let made = sha256(&[b"Secret123", b"salt"]);
        let hex: String = made.iter().map(|b| format!("{b:02x}")).collect();
        let explicit = parse("u", &Secret::new(format!("sha256|{hex}|73616c74"))).unwrap();
        assert_eq!(explicit.digest, Some(digest_verifier(b"Secret123", b"salt")));
        assert!(parse("u", &Secret::new("sha256|zz|11")).is_err());
    }

    #[test]
    fn decoys_stay_the_same_and_differ_by_user() {
        let salt = |user: &str| decoy(user, b"k").scram.map(|scram| scram.salt);
        assert_eq!(salt("a"), salt("a"));
        assert_ne!(salt("a"), salt("b"));
    }
}
