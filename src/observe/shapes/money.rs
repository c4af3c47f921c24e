//! Amounts of money as providers write them, read exactly from their decimal text. Knows no price
//! and no provider.

use super::lenient::{Lenient, fields, read};
use crate::observe::observation::NanoUsd;

/// Decimals of a dollar that a nano-dollar can hold.
const DECIMALS: i64 = 9;
/// No amount has more digits.
const LONGEST: i64 = 18;

/// Reads `0.00034225` and `1.4e-07`; what is finer than a nano-dollar is rounded half up. None
/// where it is no amount, or one above 10⁹ USD.
pub fn nano_usd(text: &str) -> Option<NanoUsd> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let places = i64::from(exponent.parse::<i16>().ok()?) + DECIMALS;
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    let leading = i64::try_from([whole, fraction].concat().len() - digits.len()).ok()?;
    // So many of the digits stand before the nano-dollar's point.
    let kept = i64::try_from(whole.len()).ok()? - leading + places;
    if digits.is_empty() || kept < 0 {
        return Some(NanoUsd(0));
    }
    if kept > LONGEST {
        return None;
    }
    let digit = |at: i64| {
        let digit = usize::try_from(at).ok().and_then(|at| digits.as_bytes().get(at));
        u64::from(digit.map_or(0, |digit| digit - b'0'))
    };
    let nanos = (0..kept).fold(0, |nanos, at| nanos * 10 + digit(at));
    Some(NanoUsd(nanos + u64::from(digit(kept) >= 5)))
}

/// An amount in USD: a number, its text, or an object that holds the sum (Perplexity).
#[derive(Clone, Copy, Debug, Default)]
pub struct Usd(pub Option<NanoUsd>);

/// An amount in USD that is one number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amount(pub Option<NanoUsd>);

fields! {
    struct Sum {
        total: Amount = "total_cost",
    }
}

impl<'de> Lenient<'de> for Usd {
    const RAW: bool = true;

    fn raw(&mut self, json: &'de str) {
        let mut sum = Sum::default();
        if json.starts_with('{') && read(json.as_bytes(), &mut sum).is_ok() {
            self.0 = sum.total.0.or(self.0);
        } else {
            self.0 = nano_usd(json.trim_matches('"')).or(self.0);
        }
    }
}

impl<'de> Lenient<'de> for Amount {
    const RAW: bool = true;

    fn raw(&mut self, json: &'de str) {
        self.0 = nano_usd(json.trim_matches('"')).or(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_rounded_half_up() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("0e30", Some(0)),
            ("1.x", None),
            ("1.-5", None),
            ("12", Some(12_000_000_000)),
            ("0.00034225", Some(342_250)),
            ("1.4e-07", Some(140)),
            ("1.455E-7", Some(146)),
            ("1.4549999999999999e-7", Some(145)),
            ("0.0000000005", Some(1)),
            ("4e-10", Some(0)),
            ("5e-11", Some(0)),
            ("12.5e+1", Some(125_000_000_000)),
            ("0.000342250000000000012345678901234567890", Some(342_250)),
            ("00100.5", Some(100_500_000_000)),
            ("999999999", Some(999_999_999_000_000_000)),
            ("1e10", None),
            ("1e999999", None),
            ("-1", None),
            ("", None),
            (".5", None),
            ("1e", None),
            ("null", None),
            ("0x1", None),
        ] {
            assert_eq!(nano_usd(text).map(|nanos| nanos.0), nanos, "{text}");
        }
    }

    #[test]
    fn an_amount_is_a_number_a_text_or_the_sum_within() {
        fields! {
            struct Sample {
                cost: Usd = "cost",
            }
        }
        for (json, nanos) in [
            (r#"{"cost":0.1}"#, Some(100_000_000)),
            (r#"{"cost":"0.1"}"#, Some(100_000_000)),
            (r#"{"cost": {"request_cost":0.006,"total_cost": 0.00614}}"#, Some(6_140_000)),
            (r#"{"cost":{"total_cost":{"total_cost":1}}}"#, None),
            (r#"{"cost":null}"#, None),
            (r#"{"cost":[1]}"#, None),
            (r#"{"cost":true}"#, None),
            (r#"{"cost":1,"cost":null}"#, Some(1_000_000_000)),
            (r#"{"cost":1,"cost":{"total_cost":null}}"#, Some(1_000_000_000)),
            (r#"{"cost":{"total_cost":1,"total_cost":null}}"#, Some(1_000_000_000)),
        ] {
            let mut sample = Sample::default();
            assert_eq!(read(json.as_bytes(), &mut sample), Ok(()), "{json}");
            assert_eq!(sample.cost.0.map(|nanos| nanos.0), nanos, "{json}");
        }
        let mut sample = Sample::default();
        assert!(read(br#"{"cost":0.1"#, &mut sample).is_err());
    }
}
