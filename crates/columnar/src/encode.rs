//! Redshift's ENCODE names and what each means here.

use std::fmt;
use std::str::FromStr;

use base::suggest::did_you_mean;
use base::{Error, Result, error};

use crate::integer::Menu;

/// A compression encoding as CREATE TABLE names it.
///
/// The name is kept and reported; the bytes are written in this format's own encodings:
/// RAW writes plain values, ZSTD adds ZSTD on top of the chosen encoding, DELTA, MOSTLY,
/// RUNLENGTH and BYTEDICT/TEXT prefer steps, packed values, runs and dictionaries, the others
/// leave the choice to the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encode {
    Raw,
    Az64,
    Lzo,
    Zstd,
    Delta,
    Delta32k,
    Mostly8,
    Mostly16,
    Mostly32,
    RunLength,
    Bytedict,
    Text255,
    Text32k,
    Auto,
}

impl Encode {
    /// Every encoding with its name in lower case.
    pub const ALL: &[(&str, Encode)] = &[
        ("raw", Encode::Raw),
        ("az64", Encode::Az64),
        ("lzo", Encode::Lzo),
        ("zstd", Encode::Zstd),
        ("delta", Encode::Delta),
        ("delta32k", Encode::Delta32k),
        ("mostly8", Encode::Mostly8),
        ("mostly16", Encode::Mostly16),
        ("mostly32", Encode::Mostly32),
        ("runlength", Encode::RunLength),
        ("bytedict", Encode::Bytedict),
        ("text255", Encode::Text255),
        ("text32k", Encode::Text32k),
        ("auto", Encode::Auto),
    ];

    /// The name in lower case, as `pg_table_def` shows it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, encode)| *encode == self).map_or("auto", |(name, _)| name)
    }

    pub(crate) fn menu(self) -> Menu {
        match self {
            Encode::Raw => Menu::Plain,
            Encode::Delta | Encode::Delta32k => Menu::Delta,
            Encode::Mostly8 | Encode::Mostly16 | Encode::Mostly32 => Menu::Packed,
            Encode::RunLength => Menu::Runs,
            Encode::Bytedict | Encode::Text255 | Encode::Text32k => Menu::Dictionary,
            Encode::Az64 | Encode::Lzo | Encode::Zstd | Encode::Auto => Menu::Any,
        }
    }
}

impl fmt::Display for Encode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Encode {
    type Err = Error;

    /// Parses a name in any case.
    ///
    /// # Errors
    /// 22023 for a name that Redshift does not have.
    fn from_str(name: &str) -> Result<Encode> {
        let lower = name.to_ascii_lowercase();
        let found = Self::ALL.iter().find(|(known, _)| *known == lower);
        found.map(|(_, encode)| *encode).ok_or_else(|| {
            error!(InvalidParameterValue, "unknown encoding \"{name}\"")
                .maybe_hint(did_you_mean(&lower, Self::ALL.iter().map(|(known, _)| *known)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (name, encode) in Encode::ALL {
            assert_eq!(name.to_uppercase().parse::<Encode>().unwrap(), *encode);
            assert_eq!(encode.to_string(), *name);
        }
        let error = "az46".parse::<Encode>().unwrap_err();
        assert_eq!(error.sqlstate(), base::SqlState::InvalidParameterValue);
    }
}
