//! Redshift's digest authentication, code 13.
//!
//! The client answers with SHA-256(SHA-256(password ‖ salt) ‖ server nonce ‖ client nonce) in a
//! message of type `d`.

use base::client::DigestVerifier;
use base::password::sha256;
use base::secret;

use super::answer;
use crate::frame::{Fields, backend};
use crate::handshake::{Channel, Stop};

const CODE: i32 = 13;
const SHA_256: i32 = 0;
const NONCE_BYTES: usize = 16;

pub(super) async fn exchange(
    channel: &mut Channel,
    verifier: &DigestVerifier,
) -> Result<bool, Stop> {
    let nonce = base::rng::bytes::<NONCE_BYTES>();
    let mut request = Vec::new();
    backend::put_i32(&mut request, SHA_256);
    for part in [&verifier.salt[..], &nonce] {
        backend::put_i32(&mut request, i32::try_from(part.len()).unwrap_or(i32::MAX));
        request.extend_from_slice(part);
    }
    let mut out = Vec::new();
    backend::authentication(&mut out, CODE, &request);
    channel.send(&out).await?;

    let mut body = Fields(answer(channel, b'd').await?);
    let digest = body.value()?.unwrap_or_default();
    let client_nonce = body.value()?.unwrap_or_default();
    let expected = sha256(&[&verifier.hash, &nonce, &client_nonce]);
    Ok(secret::equal(&digest, &expected))
}
