//! Checks a setting's value and gives its canonical form.

use std::str::FromStr;

use base::{Error, Result, SqlState, error};

use super::table::{Kind, Setting};

/// The value as it is stored and shown.
///
/// # Errors
/// 22023 when the value does not fit the setting's type.
pub(crate) fn checked(setting: &Setting, value: &str) -> Result<String> {
    let value = value.trim();
    if value.len() > super::VALUE_BYTES_MAX {
        return Err(error!(
            ProgramLimitExceeded,
            "value of parameter \"{}\" is too long", setting.name
        ));
    }
    match setting.kind {
        Kind::Text => Ok(value.to_owned()),
        Kind::Bool => boolean(value).map(on_off).ok_or_else(|| {
            error!(InvalidParameterValue, "parameter \"{}\" requires a Boolean value", setting.name)
        }),
        Kind::Int { min, max } => integer(setting, value, min, max),
        Kind::DurationMs => duration_ms(value).map(|ms| ms.to_string()).ok_or_else(|| {
            bad(setting, value).hint("Valid units are \"ms\", \"s\", \"min\", \"h\" and \"d\".")
        }),
        Kind::OneOf(list) => {
            let found = list.iter().find(|item| item.eq_ignore_ascii_case(value));
            let hint = format!("Available values: {}.", list.join(", "));
            found.map(|item| (*item).to_owned()).ok_or_else(|| bad(setting, value).hint(hint))
        }
        Kind::SearchPath => search_path(value),
        Kind::DateStyle => date_style(setting, value),
        Kind::TimeZone => time_zone(value).ok_or_else(|| {
            Error::new(
                SqlState::InvalidParameterValue,
                format!("invalid value for parameter \"timezone\": \"{value}\""),
            )
            .maybe_hint(base::suggest::did_you_mean(
                value,
                chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()),
            ))
        }),
        Kind::Encoding => encoding(setting, value),
        Kind::Isolation => isolation(setting, value),
    }
}

fn bad(setting: &Setting, value: &str) -> Error {
    error!(InvalidParameterValue, "invalid value for parameter \"{}\": \"{value}\"", setting.name)
}

fn on_off(value: bool) -> String {
    if value { "on".to_owned() } else { "off".to_owned() }
}

fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "t" | "yes" | "y" | "1" => Some(true),
        "off" | "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

fn integer(setting: &Setting, value: &str, min: i64, max: i64) -> Result<String> {
    let number: i64 = value.parse().map_err(|_| {
        error!(InvalidParameterValue, "parameter \"{}\" requires an integer value", setting.name)
    })?;
    if number < min || number > max {
        return Err(error!(
            InvalidParameterValue,
            "{number} is outside the valid range for parameter \"{}\" ({min} .. {max})",
            setting.name
        ));
    }
    Ok(number.to_string())
}

fn duration_ms(value: &str) -> Option<i64> {
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let ms = number.parse::<i64>().ok()?.checked_mul(factor)?;
    (ms <= i64::from(i32::MAX)).then_some(ms)
}

/// The names of a search path, folded unless quoted.
pub(crate) fn split_path(value: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut chars = value.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
        let Some(&first) = chars.peek() else { break };
        let mut name = String::new();
        if first == '"' {
            chars.next();
            while let Some(c) = chars.next() {
                if c == '"' && chars.next_if_eq(&'"').is_none() {
                    break;
                }
                name.push(c);
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                name.push(c.to_ascii_lowercase());
            }
        }
        names.push(name.trim().trim_matches('\'').to_owned());
    }
    names.retain(|name| !name.is_empty());
    names
}

fn search_path(value: &str) -> Result<String> {
    let names = split_path(value);
    if names.len() > 64 {
        return Err(error!(
            ConfigurationLimitExceeded,
            "search_path cannot name more than 64 schemas"
        ));
    }
    let quoted: Vec<String> = names
        .iter()
        .map(|name| if name == "$user" { name.clone() } else { base::ident::quote(name) })
        .collect();
    Ok(quoted.join(", "))
}

fn date_style(setting: &Setting, value: &str) -> Result<String> {
    let mut order = "MDY";
    for word in value.split(',').map(|word| word.trim().to_ascii_uppercase()) {
        match word.as_str() {
            "ISO" | "DEFAULT" => {}
            "MDY" | "US" | "NONEURO" | "NONEUROPEAN" => order = "MDY",
            "DMY" | "EURO" | "EUROPEAN" => order = "DMY",
            "YMD" => order = "YMD",
            "SQL" | "POSTGRES" | "GERMAN" => {
                return Err(error!(
                    FeatureNotSupported,
                    "output style \"{}\" of DateStyle is not supported",
                    word.to_lowercase()
                )
                .hint("Dates are always shown in the ISO style."));
            }
            _ => return Err(bad(setting, value)),
        }
    }
    Ok(format!("ISO, {order}"))
}

/// A zone of the tz database by any case, or an offset in hours.
fn time_zone(value: &str) -> Option<String> {
    let name = value.trim_matches('\'');
    if name.eq_ignore_ascii_case("default") || name.eq_ignore_ascii_case("local") {
        return Some("UTC".to_owned());
    }
    let mut zones = chrono_tz::TZ_VARIANTS.iter();
    let zone = zones.find(|zone| zone.name().eq_ignore_ascii_case(name));
    zone.map(|zone| zone.name().to_owned()).or_else(|| offset(name))
}

/// Whole hours east of UTC, as the zone of the tz database with that offset (whose sign is
/// reversed).
fn offset(text: &str) -> Option<String> {
    // `GMT+3` is POSIX's form, whose sign is that of the tz database's names.
    let upper = text.to_ascii_uppercase();
    if let Some(rest) = upper.strip_prefix("GMT").or_else(|| upper.strip_prefix("UTC")) {
        let plain = rest.strip_suffix(":00").unwrap_or(rest);
        let hours = i32::from_str(plain.strip_prefix('+').unwrap_or(plain)).ok()?;
        return offset(&(-hours).to_string());
    }
    let plain = text.strip_suffix(":00").unwrap_or(text);
    let hours = i32::from_str(plain.strip_prefix('+').unwrap_or(plain)).ok()?;
    match hours {
        0 => Some("UTC".to_owned()),
        1..=14 => Some(format!("Etc/GMT-{hours}")),
        -12..=-1 => Some(format!("Etc/GMT+{}", -hours)),
        _ => None,
    }
}

fn encoding(setting: &Setting, value: &str) -> Result<String> {
    let plain: String =
        value.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    match plain.as_str() {
        "utf8" | "unicode" | "default" => Ok("UTF8".to_owned()),
        _ => Err(bad(setting, value).hint("The only client encoding is UTF8.")),
    }
}

/// The four names of the standard are accepted, as in Redshift; all give snapshot isolation,
/// which PostgreSQL calls repeatable read.
fn isolation(setting: &Setting, value: &str) -> Result<String> {
    let words = value.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    match words.as_str() {
        "serializable" | "repeatable read" | "read committed" | "read uncommitted" | "snapshot"
        | "default" => Ok("repeatable read".to_owned()),
        _ => Err(bad(setting, value)),
    }
}
