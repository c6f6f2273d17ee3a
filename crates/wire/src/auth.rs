//! Proving who the client is: which exchange is used, and what a failure looks like.
//!
//! The exchanges themselves are in the modules below. A user that does not exist goes through
//! the same exchange and fails with the same words after the same delay.

mod cleartext;
mod digest;
mod md5;
mod scram;
mod throttle;

use base::client::{DigestVerifier, ScramVerifier, Verifier};
use base::{Error, SqlState};
use bytes::Bytes;

pub(crate) use throttle::Throttle;

use crate::handshake::{Channel, Stop};

/// Long enough for a SASL message or a password, short enough to be held for a stranger.
const ANSWER_BYTES_MAX: usize = 16_384;

enum Method<'a> {
    Digest(&'a DigestVerifier),
    Scram(&'a ScramVerifier),
    Md5(&'a str),
    Cleartext(&'a DigestVerifier),
}

/// Redshift's drivers know its digest and md5; PostgreSQL's know SCRAM and md5. A password of
/// which only Redshift's digest is kept is asked for in clear text, within TLS only.
fn choose(verifier: &Verifier, redshift_driver: bool, tls: bool) -> Option<Method<'_>> {
    let digest = verifier.digest.as_ref();
    let scram = verifier.scram.as_ref().map(Method::Scram);
    let md5 = verifier.md5.as_deref().map(Method::Md5);
    if redshift_driver {
        return digest.map(Method::Digest).or(md5).or(scram);
    }
    scram.or(md5).or(digest.filter(|_| tls).map(Method::Cleartext))
}

/// Carries out one exchange. On failure the error to end the connection with.
pub(crate) async fn authenticate(
    channel: &mut Channel,
    user: &str,
    verifier: &Verifier,
    redshift_driver: bool,
) -> Result<(), Stop> {
    let tls = channel.is_tls();
    let method = choose(verifier, redshift_driver, tls);
    let state = match method {
        Some(Method::Digest(_)) => SqlState::InvalidAuthorizationSpecification,
        _ => SqlState::InvalidPassword,
    };
    let proved = match method {
        Some(Method::Digest(verifier)) => digest::exchange(channel, verifier).await?,
        Some(Method::Scram(verifier)) => scram::exchange(channel, verifier).await?,
        Some(Method::Md5(hash)) => md5::exchange(channel, hash).await?,
        Some(Method::Cleartext(verifier)) => cleartext::exchange(channel, verifier).await?,
        None => false,
    };
    if proved & verifier.may_log_in {
        return Ok(());
    }
    let message = format!("password authentication failed for user \"{user}\"");
    Err(Error::new(state, message).into())
}

/// The client's next answer, which has to be of type `tag`.
async fn answer(channel: &mut Channel, tag: u8) -> Result<Bytes, Stop> {
    let (got, body) = channel.message(ANSWER_BYTES_MAX).await?;
    match got {
        _ if got == tag => Ok(body),
        b'X' => Err(Stop::Gone),
        _ => Err(malformed("expected password response").into()),
    }
}

fn malformed(message: &str) -> Error {
    Error::new(SqlState::ProtocolViolation, message)
}
