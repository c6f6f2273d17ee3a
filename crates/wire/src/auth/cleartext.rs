//! The password itself, asked for within TLS only: for PostgreSQL clients of a user of whom
//! only Redshift's digest is kept.

use base::client::DigestVerifier;
use base::password::sha256;
use base::secret;

use super::answer;
use crate::frame::{Fields, backend};
use crate::handshake::{Channel, Stop};

const CODE: i32 = 3;

pub(super) async fn exchange(
    channel: &mut Channel,
    verifier: &DigestVerifier,
) -> Result<bool, Stop> {
    let mut out = Vec::new();
    backend::authentication(&mut out, CODE, &[]);
    channel.send(&out).await?;
    let password = Fields(answer(channel, b'p').await?).cstring()?;
    Ok(secret::equal(&sha256(&[&password, &verifier.salt]), &verifier.hash))
}
