//! Durations and sizes as a person writes them, and back.

use std::time::Duration;

use crate::model::MaxLag;

/// Unit and how many microseconds it has; larger ones first, for printing.
const DURATIONS: [(&str, u64); 7] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Longer than any of these settings can mean.
const LONGEST: u64 = 3650 * 86_400_000_000;

/// `500ms`, `1.5s`, `10m`. An error is a further half-sentence, such as `, a number without a unit`.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    let (number, unit) = split(text);
    if number.is_empty() {
        return Err("");
    }
    if unit.is_empty() {
        return Err(", a number without a unit");
    }
    let (_, scale) = DURATIONS.iter().find(|(name, _)| *name == unit).ok_or(", with an unknown unit")?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut micros =
        whole.parse::<u64>().ok().and_then(|n| n.checked_mul(*scale)).ok_or(", which is too long")?;
    let mut place = *scale;
    for digit in fraction.bytes() {
        place /= 10;
        micros = micros.saturating_add(u64::from(digit.saturating_sub(b'0')).saturating_mul(place));
    }
    if micros > LONGEST {
        return Err(", which is too long");
    }
    Ok(Duration::from_micros(micros))
}

/// `64kB`, `1GiB`: powers of 1024, as in Postgres.
pub(crate) fn bytes(text: &str) -> Result<u64, &'static str> {
    let (number, unit) = split(text);
    let shift = match unit {
        "" => return Err(if number.is_empty() { "" } else { ", a number without a unit" }),
        "B" => 0,
        "kB" | "KB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        _ => return Err(", with an unknown unit"),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or("")
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let dots = number.matches('.').count();
    if dots > 1 || number.starts_with('.') || number.ends_with('.') {
        ("", unit)
    } else {
        (number, unit.trim())
    }
}

/// The shortest way to write a duration.
pub(crate) fn write_duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if micros == 0 {
        return "0s".into();
    }
    for (unit, scale) in DURATIONS {
        if micros % scale == 0 {
            return format!("{}{unit}", micros / scale);
        }
    }
    format!("{micros}us")
}

/// A duration, or `null`.
pub(crate) fn write_optional(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "null".into(), write_duration)
}

/// A limit of lag, or `null`.
pub(crate) fn write_lag(limit: Option<MaxLag>) -> String {
    match limit {
        None => "null".into(),
        Some(MaxLag::Time(time)) => write_duration(time),
        Some(MaxLag::Bytes(bytes)) => write_bytes(bytes),
    }
}

/// The shortest way to write a number of bytes.
pub(crate) fn write_bytes(bytes: impl Into<u64>) -> String {
    let bytes = bytes.into();
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("kB", 10)] {
        if bytes != 0 && bytes.is_multiple_of(1u64 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for text in ["500ms", "5s", "10m", "1h", "1d", "90s", "250us", "0s"] {
            assert_eq!(write_duration(duration(text).unwrap()), text);
        }
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        for text in ["", "5", "s", "5 weeks", "-1s", "1.s", ".5s", "1.2.3s", "99999999999999d", "4000d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(bytes("64kB"), Ok(65536));
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        assert!(bytes("5").is_err() && bytes("x").is_err() && bytes("99999999999999999999GB").is_err());
        assert_eq!(
            (write_bytes(1u32 << 30), write_bytes(1536u32 << 10)),
            ("1GiB".to_owned(), "1536kB".to_owned())
        );
    }
}
