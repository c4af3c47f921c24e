//! Prices as a price list writes them, read exactly from their decimal text, or what is wrong with them.
//! Knows no model and no unit.

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::observe::observation::NanoUsd;

/// One dollar in nano-dollars.
const DOLLAR: u64 = 1_000_000_000;
/// A price above this, in dollars for a million tokens or for an hour, is a slip of the hand.
const MOST_DOLLARS: u64 = 1_000_000;
/// Decimals of a dollar that a nano-dollar can hold.
const DECIMALS: usize = 9;

/// A price in USD as a file gives it: text (`"0.15"`) or a number, of which the shortest text counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usd(pub(super) NanoUsd);

/// Reads `12.5` as 12 500 000 000 nano-dollars, or says what is wrong with it.
fn nano_usd(text: &str) -> Result<NanoUsd, String> {
    if text.starts_with('-') {
        return Err(format!("a price is not negative: {text}"));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(format!("not a price in USD: `{text}` (write it as 12.5)"));
    }
    if fraction.len() > DECIMALS {
        return Err(format!("a price has at most {DECIMALS} decimals: {text}"));
    }
    // An overflow is far above the bound, too.
    let dollars = whole.parse().unwrap_or(u64::MAX);
    if dollars > MOST_DOLLARS {
        return Err(format!("no price is above {MOST_DOLLARS} USD: {text}"));
    }
    let nanos: u64 = format!("{fraction:0<DECIMALS$}").parse().unwrap_or(0);
    Ok(NanoUsd(dollars * DOLLAR + nanos))
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Money).map(Self)
    }
}

struct Money;

impl Visitor<'_> for Money {
    type Value = NanoUsd;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a price in USD")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<NanoUsd, E> {
        nano_usd(text).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<NanoUsd, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<NanoUsd, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<NanoUsd, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, nanos) in [
            ("0", 0),
            ("15", 15_000_000_000),
            ("0.15", 150_000_000),
            ("0.003625", 3_625_000),
            ("0.000000001", 1),
            ("1000000", 1_000_000_000_000_000),
        ] {
            assert_eq!(nano_usd(text), Ok(NanoUsd(nanos)), "{text}");
        }
    }

    #[test]
    fn a_float_counts_as_its_shortest_text() {
        let read = |json| serde_json::from_str::<Usd>(json).map(|usd| usd.0.0).ok();
        // 0.1 + 0.2 in binary is not 0.3; its text has too many decimals and is refused.
        assert_eq!(read("0.07"), Some(70_000_000));
        assert_eq!(read("1e-7"), Some(100));
        assert_eq!(read("3"), Some(3_000_000_000));
        assert_eq!(read("0.30000000000000004"), None);
    }

    #[test]
    fn what_is_no_price_is_refused_in_words() {
        for (text, why) in [
            ("-1", "not negative"),
            ("1e3", "not a price"),
            ("", "not a price"),
            (".5", "not a price"),
            ("5.", "not a price"),
            ("NaN", "not a price"),
            ("inf", "not a price"),
            ("0.0000000001", "at most 9 decimals"),
            ("1000001", "above 1000000"),
            ("99999999999999999999", "above 1000000"),
        ] {
            let message = nano_usd(text).expect_err(text);
            assert!(message.contains(why), "{text}: {message}");
        }
    }
}
