//! Fractions, rates and sizes, as test scripts write them.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A text or number that is no such quantity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct QuantityError(String);

/// A part of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Fraction(f64);

impl Fraction {
    /// The whole.
    pub const WHOLE: Self = Self(1.0);

    /// Returns the number, from 0 to 1.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Fraction {
    type Error = QuantityError;

    fn try_from(number: f64) -> Result<Self, QuantityError> {
        if (0.0..=1.0).contains(&number) {
            return Ok(Self(number));
        }
        let hint = if number > 1.0 && number <= 100.0 {
            format!(": for {number} % write {}", number / 100.0)
        } else {
            String::new()
        };
        Err(QuantityError(format!(
            "{number} is no fraction from 0 to 1{hint}"
        )))
    }
}

impl From<Fraction> for f64 {
    fn from(fraction: Fraction) -> Self {
        fraction.0
    }
}

/// In percent, with at most three digits after the point.
impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = (self.0 * 100_000.0).round() / 1000.0;
        write!(f, "{percent} %")
    }
}

/// A number of bits per second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BitRate {
    bits_per_second: u64,
    text: String,
}

impl BitRate {
    /// Returns the bits per second, which are never none.
    #[must_use]
    pub fn bits_per_second(&self) -> u64 {
        self.bits_per_second
    }
}

/// The units of `tc`, which are powers of 1000 or of 1024.
const RATE_UNITS: [(&str, u64); 9] = [
    ("bit", 1),
    ("kbit", 1000),
    ("mbit", 1_000_000),
    ("gbit", 1_000_000_000),
    ("tbit", 1_000_000_000_000),
    ("kibit", 1 << 10),
    ("mibit", 1 << 20),
    ("gibit", 1 << 30),
    ("tibit", 1 << 40),
];

impl TryFrom<String> for BitRate {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        let lower = text.to_lowercase();
        match with_unit(&lower, &RATE_UNITS) {
            Some(bits_per_second @ 1..) => Ok(Self {
                bits_per_second,
                text,
            }),
            _ if lower.ends_with("bps") || lower.ends_with("b/s") => Err(QuantityError(format!(
                "{text:?} is no rate: `bps` may mean bits or bytes; write \"1mbit\" for a million bits per second"
            ))),
            _ => Err(QuantityError(format!(
                "{text:?} is no rate: write a number with `bit`, `kbit`, `mbit` or `gbit` (per second), for example \"1mbit\""
            ))),
        }
    }
}

impl From<BitRate> for String {
    fn from(rate: BitRate) -> Self {
        rate.text
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize {
    bytes: u64,
    text: String,
}

impl ByteSize {
    /// Returns the bytes, which are never none.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The units of QEMU and systemd: powers of 1024.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl TryFrom<String> for ByteSize {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        match with_unit(&text.to_lowercase(), &SIZE_UNITS) {
            Some(bytes @ 1..) => Ok(Self { bytes, text }),
            _ => Err(QuantityError(format!(
                "{text:?} is no size: write a number of bytes with `K`, `M` or `G` (powers of 1024), for example \"512M\""
            ))),
        }
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.text
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads a decimal number, which may have a fraction, and a unit; `None` for anything else, and for what is too large.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*factor);
    }
    let value = number.parse::<f64>().ok()? * *factor as f64;
    (value < 1e18).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Result<u64, String> {
        let rate = BitRate::try_from(text.to_owned());
        rate.map(|rate| rate.bits_per_second())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn fractions_are_no_percentages() {
        assert_eq!(Fraction::try_from(0.25).unwrap().to_string(), "25 %");
        let error = |number: f64| Fraction::try_from(number).unwrap_err().to_string();
        assert_eq!(
            error(10.0),
            "10 is no fraction from 0 to 1: for 10 % write 0.1"
        );
        assert_eq!(error(-0.1), "-0.1 is no fraction from 0 to 1");
        assert_eq!(error(f64::NAN), "NaN is no fraction from 0 to 1");
    }

    #[test]
    fn rates_have_the_units_of_tc() {
        assert_eq!(rate("1mbit"), Ok(1_000_000));
        assert_eq!(rate("1.5 Mbit"), Ok(1_500_000));
        assert_eq!(rate("8kibit"), Ok(8192));
        for wrong in [
            "",
            "fast",
            "1",
            "0mbit",
            "-1mbit",
            "1.2.3mbit",
            "mbit",
            "99999999999999999tbit",
        ] {
            assert!(rate(wrong).unwrap_err().contains("is no rate"), "{wrong}");
        }
        assert!(rate("1mbps").unwrap_err().contains("bits or bytes"));
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let size = |text: &str| ByteSize::try_from(text.to_owned()).map(|size| size.bytes());
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("1.5G"), Ok(3 << 29));
        assert_eq!(size("4096"), Ok(4096));
        assert!(size("0").is_err() && size("many").is_err() && size("1MB").is_err());
    }
}
