//! The first packet of a connection: start-up parameters, a cancel request, or a request for
//! encryption. Decodes them and settles protocol versions; reads no socket.

use base::{Result, fail};
use bytes::Bytes;

use crate::frame::{Fields, utf8};

/// The longest start-up packet; PostgreSQL's limit.
pub(crate) const PACKET_BYTES_MAX: usize = 10_000;
/// The newest minor version of protocol 3 that is spoken.
const NEWEST_MINOR: u16 = 2;
/// The newest of Redshift's extension levels that is spoken.
const NEWEST_EXTENSION: u8 = 2;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// A decoded first packet.
#[derive(Debug, PartialEq)]
pub enum Packet {
    Tls,
    Gss,
    Cancel { process_id: i32, key: Vec<u8> },
    Startup(Startup),
}

/// What a client asked for at start-up.
#[derive(Debug, Default, PartialEq)]
pub struct Startup {
    pub minor: u16,
    pub user: String,
    pub database: String,
    /// All other parameters, `options` taken apart.
    pub parameters: Vec<(String, String)>,
    /// Protocol options (`_pq_.…`), all of which are refused.
    pub protocol_options: Vec<String>,
}

impl Startup {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// True for Redshift's own drivers, which speak its digest authentication.
    pub(crate) fn is_redshift_driver(&self) -> bool {
        self.parameter("driver_version").is_some()
            || self.parameter("client_protocol_version").is_some()
    }

    /// The extension level agreed on, `None` when the client did not ask.
    ///
    /// # Errors
    /// 08P01 when what was asked is not a number.
    pub(crate) fn extension(&self) -> Result<Option<u8>> {
        let Some(asked) = self.parameter("client_protocol_version") else { return Ok(None) };
        match asked.trim().parse::<u32>() {
            Ok(level) => Ok(Some(u8::try_from(level).unwrap_or(u8::MAX).min(NEWEST_EXTENSION))),
            Err(_) => fail!(
                ProtocolViolation,
                "invalid value for parameter \"client_protocol_version\": \"{asked}\""
            ),
        }
    }

    /// The version to answer with when the client's wishes cannot all be met.
    pub(crate) fn negotiated(&self) -> Option<u32> {
        let unmet = self.minor > NEWEST_MINOR || !self.protocol_options.is_empty();
        unmet.then(|| 3 << 16 | u32::from(self.minor.min(NEWEST_MINOR)))
    }

    /// Cancel keys longer than four bytes came with protocol 3.2.
    pub(crate) fn long_keys(&self) -> bool {
        self.minor >= 2
    }
}

/// Decodes a first packet, without its length.
///
/// # Errors
/// 08P01 for a packet without its form, 0A000 for another protocol version, 28000 without a
/// user, 42601 for `options` that cannot be read.
pub fn decode(body: Bytes) -> Result<Packet> {
    let mut body = Fields(body);
    match body.u32()? {
        SSL => Ok(Packet::Tls),
        GSS => Ok(Packet::Gss),
        CANCEL => {
            let process_id = body.i32()?;
            let key = body.0.to_vec();
            if !(4..=256).contains(&key.len()) {
                fail!(ProtocolViolation, "invalid length of cancel request packet");
            }
            Ok(Packet::Cancel { process_id, key })
        }
        version if version >> 16 == 3 => startup(version as u16, body).map(Packet::Startup),
        version => fail!(
            FeatureNotSupported,
            "unsupported frontend protocol {}.{}: server supports 3.0 to 3.{NEWEST_MINOR}",
            version >> 16,
            version & 0xffff
        ),
    }
}

fn startup(minor: u16, mut body: Fields) -> Result<Startup> {
    let mut startup = Startup { minor, ..Startup::default() };
    loop {
        let name = body.cstring()?;
        if name.is_empty() {
            break;
        }
        let (name, value) = (utf8(&name)?, utf8(&body.cstring()?)?);
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            _ if lower.starts_with("_pq_.") => startup.protocol_options.push(name),
            "user" => startup.user = value,
            "database" => startup.database = value,
            "options" => options(&value, &mut startup.parameters)?,
            "replication" if !matches!(value.as_str(), "false" | "off" | "no" | "0") => {
                fail!(FeatureNotSupported, "replication connections are not supported")
            }
            "replication" => {}
            _ => startup.parameters.push((lower, value)),
        }
    }
    if startup.user.is_empty() {
        fail!(InvalidAuthorizationSpecification, "no user name specified in startup packet");
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    Ok(startup)
}

/// Takes apart `-c name=value` and `--name=value`, with backslashes before spaces.
fn options(text: &str, into: &mut Vec<(String, String)>) -> Result<()> {
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--") {
            Some(setting) => setting.to_owned(),
            None if word == "-c" => words.next().unwrap_or_default(),
            None => word.strip_prefix("-c").unwrap_or_default().to_owned(),
        };
        match setting.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                into.push((name.to_ascii_lowercase().replace('-', "_"), value.to_owned()));
            }
            _ => fail!(SyntaxError, "invalid command-line argument for server process: {word}"),
        }
    }
    Ok(())
}

fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                if let (Some(word), Some(next)) = (words.last_mut(), chars.next()) {
                    word.push(next);
                }
            }
            c if c.is_whitespace() => words.push(String::new()),
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(version: u32, text: &str) -> Bytes {
        let mut body = version.to_be_bytes().to_vec();
        body.extend(text.as_bytes());
        body.into()
    }

    fn start(text: &str) -> Startup {
        match decode(packet(3 << 16, text)) {
            Ok(Packet::Startup(startup)) => startup,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parameters_and_options_are_read() {
        let made = start(
            "user\0u\0DateStyle\0ISO\0options\0-c search_path=a\\ b --TimeZone=UTC\0_pq_.x\0on\0\0",
        );
        assert_eq!((made.user.as_str(), made.database.as_str()), ("u", "u"));
        assert_eq!(made.parameter("datestyle"), Some("ISO"));
        assert_eq!(made.parameter("search_path"), Some("a b"));
        assert_eq!(made.parameter("timezone"), Some("UTC"));
        assert_eq!(made.protocol_options, ["_pq_.x"]);
        assert_eq!(made.negotiated(), Some(3 << 16));
        assert!(!made.is_redshift_driver());
    }

    #[test]
    fn versions_are_settled() {
        assert_eq!(start("user\0u\0\0").negotiated(), None);
        let asked = |level: &str| start(&format!("user\0u\0client_protocol_version\0{level}\0\0"));
        assert_eq!(asked("3").extension().unwrap(), Some(2));
        assert_eq!(asked("1").extension().unwrap(), Some(1));
        assert!(asked("x").extension().is_err());
        let newer = decode(packet(3 << 16 | 9_999, "user\0u\0\0")).unwrap();
        let Packet::Startup(newer) = newer else { panic!("{newer:?}") };
        assert_eq!(newer.negotiated(), Some(3 << 16 | 2));
        assert!(decode(packet(2 << 16, "")).is_err());
        assert!(decode(packet(3 << 16, "user\0\0\0")).is_err());
        assert!(decode(packet(3 << 16, "user\0u\0options\0-x\0\0")).is_err());
    }

    #[test]
    fn cancel_keys_may_be_long() {
        let cancel = |key: &[u8]| {
            let mut body = CANCEL.to_be_bytes().to_vec();
            body.extend(7_i32.to_be_bytes());
            body.extend(key);
            decode(body.into())
        };
        assert!(matches!(cancel(&[1; 32]), Ok(Packet::Cancel { process_id: 7, .. })));
        assert!(cancel(&[1; 3]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(minor: u16, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(body.clone().into());
            for version in [CANCEL, SSL, GSS, 3 << 16 | u32::from(minor)] {
                let mut packet = version.to_be_bytes().to_vec();
                packet.extend(&body);
                let _ = decode(packet.into());
            }
        }
    }
}
