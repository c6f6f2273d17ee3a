//! SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.

use base::client::ScramVerifier;
use base::password::{hmac_sha256, sha256};
use base::{Error, secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use super::{answer, malformed};
use crate::frame::{Fields, backend, utf8};
use crate::handshake::{Channel, Stop};

const REQUEST: i32 = 10;
const CONTINUE: i32 = 11;
const FINAL: i32 = 12;
const MECHANISM: &str = "SCRAM-SHA-256";
const NONCE_BYTES: usize = 18;

pub(super) async fn exchange(
    channel: &mut Channel,
    verifier: &ScramVerifier,
) -> Result<bool, Stop> {
    let mut out = Vec::new();
    backend::authentication(&mut out, REQUEST, format!("{MECHANISM}\0\0").as_bytes());
    channel.send(&out).await?;
    let first = ClientFirst::parse(answer(channel, b'p').await?)?;

    let nonce = format!("{}{}", first.nonce, BASE64.encode(base::rng::bytes::<NONCE_BYTES>()));
    let salt = BASE64.encode(&verifier.salt);
    let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
    out.clear();
    backend::authentication(&mut out, CONTINUE, server_first.as_bytes());
    channel.send(&out).await?;

    let last = utf8(&answer(channel, b'p').await?)?;
    let (without_proof, proof) = last.rsplit_once(",p=").ok_or_else(no_form)?;
    let expected = format!("c={},r={nonce}", BASE64.encode(&first.header));
    if without_proof != expected {
        // The nonce and the binding are the client's own words; other ones mean a replay.
        return Err(malformed("SCRAM nonce or channel binding does not match").into());
    }
    let message = format!("{},{server_first},{without_proof}", first.bare);
    if !proves(verifier, message.as_bytes(), proof)? {
        return Ok(false);
    }
    let signature = hmac_sha256(&verifier.server_key, &[message.as_bytes()]);
    out.clear();
    backend::authentication(&mut out, FINAL, format!("v={}", BASE64.encode(signature)).as_bytes());
    channel.send(&out).await?;
    Ok(true)
}

fn proves(verifier: &ScramVerifier, message: &[u8], proof: &str) -> Result<bool, Error> {
    let proof: [u8; 32] =
        BASE64.decode(proof).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(no_form)?;
    let signature = hmac_sha256(&verifier.stored_key, &[message]);
    let key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    Ok(secret::equal(&sha256(&[&key]), &verifier.stored_key))
}

fn no_form() -> Error {
    malformed("malformed SCRAM message")
}

struct ClientFirst {
    /// `n,,` or `y,,`: what the client thinks of channel binding.
    header: String,
    /// The rest, which is signed.
    bare: String,
    nonce: String,
}

impl ClientFirst {
    fn parse(body: Bytes) -> Result<ClientFirst, Error> {
        let mut body = Fields(body);
        if body.string()? != MECHANISM {
            return Err(malformed("client selected an invalid SASL authentication mechanism"));
        }
        let text = utf8(&body.value()?.ok_or_else(no_form)?)?;
        let mut parts = text.splitn(3, ',');
        let (binding, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let bare = parts.next().ok_or_else(no_form)?.to_owned();
        if !matches!(binding, "n" | "y") || !(name.is_empty() || name.starts_with("a=")) {
            return Err(no_form());
        }
        let nonce = bare
            .split(',')
            .find_map(|part| part.strip_prefix("r="))
            .filter(|nonce| !nonce.is_empty() && !bare.starts_with("m="))
            .ok_or_else(no_form)?
            .to_owned();
        Ok(ClientFirst { header: format!("{binding},{name},"), bare, nonce })
    }
}
