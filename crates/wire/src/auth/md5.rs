//! PostgreSQL's md5 authentication, for users created with an md5 hash.

use base::password::md5_hex;
use base::secret;

use super::answer;
use crate::frame::{Fields, backend};
use crate::handshake::{Channel, Stop};

const CODE: i32 = 5;

/// `hash` is hex MD5(password ‖ user).
pub(super) async fn exchange(channel: &mut Channel, hash: &str) -> Result<bool, Stop> {
    let salt = base::rng::bytes::<4>();
    let mut out = Vec::new();
    backend::authentication(&mut out, CODE, &salt);
    channel.send(&out).await?;
    let given = Fields(answer(channel, b'p').await?).cstring()?;
    let expected = format!("md5{}", md5_hex(&[hash.as_bytes(), &salt]));
    Ok(secret::equal(&given, expected.as_bytes()))
}
