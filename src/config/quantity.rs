//! How sizes, durations and addresses are written in `proxy.toml` and in variables. Knows no key.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::forward::settings::{Endpoint, NoEndpoint};

/// Units of a size, the longest names first so that a suffix is read whole.
const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Bytes, at least one: `"16MiB"`, `"16 MiB"`, `"10MB"`, `"4096"` or `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let unit = UNITS.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, bytes)));
        let (number, bytes) = unit.unwrap_or((text, &1));
        let count: u64 = number.trim().replace('_', "").parse().ok()?;
        count.checked_mul(*bytes).map(Self)
    }

    /// For memory on this machine.
    pub(super) fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS.iter().take(3).rev();
        let unit = binary.copied().find(|(_, bytes)| self.0.is_multiple_of(*bytes) && self.0 > 0);
        match unit {
            Some((name, bytes)) => write!(f, "{}{name}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor { least: 1 })
    }
}

/// Bytes like a `Size`, or none: `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeOrNone(pub u64);

impl Serialize for SizeOrNone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Size(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SizeOrNone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor { least: 0 }).map(|size| Self(size.0))
    }
}

struct SizeVisitor {
    least: u64,
}

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.least == 0 { "0, or a size" } else { "a size above 0" };
        write!(f, "{what}, like \"16MiB\", \"64KiB\" or 4096 (bytes)")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Size, E> {
        let size = u64::try_from(number).ok().filter(|&size| size >= self.least);
        size.map(Size).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        let size = Size::parse(text).filter(|size| size.0 >= self.least);
        size.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

/// A duration in seconds, whole or with a fraction; never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// So many whole seconds.
    pub(super) const fn whole(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_secs_f64())
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_nanos() {
            0 => serializer.serialize_u64(self.0.as_secs()),
            _ => serializer.serialize_f64(self.0.as_secs_f64()),
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecondsVisitor)
    }
}

struct SecondsVisitor;

impl Visitor<'_> for SecondsVisitor {
    type Value = Seconds;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds as a number from 0 to 31536000 (a year), like 10 or 0.5")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Seconds, E> {
        u64::try_from(number)
            .ok()
            .filter(|&seconds| seconds <= YEAR_SECONDS)
            .map(Seconds::whole)
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Seconds, E> {
        // Also false for NaN.
        if (0.0..=YEAR_SECONDS as f64).contains(&number) {
            return Ok(Seconds(Duration::from_secs_f64(number)));
        }
        Err(E::invalid_value(serde::de::Unexpected::Float(number), &self))
    }
}

/// Above this a deadline could leave what a clock can hold.
const YEAR_SECONDS: u64 = 365 * 24 * 60 * 60;

/// Permissions of a file, as `chmod` writes them: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ModeVisitor)
    }
}

struct ModeVisitor;

impl Visitor<'_> for ModeVisitor {
    type Value = Mode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permissions in octal, from \"0000\" to \"0777\", like \"0660\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Mode, E> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| digits && mode <= 0o777);
        mode.map(Mode).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

/// Where to listen: an IP address and a port, or `unix:` and a socket's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(pub Endpoint);

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AddressVisitor)
    }
}

struct AddressVisitor;

impl Visitor<'_> for AddressVisitor {
    type Value = Address;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NoEndpoint}")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Address, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Address, E> {
        text.parse().map(Address).map_err(|_| match offer(text) {
            Some(address) => E::custom(format!(
                "a listener has an IP address, not a name: write \"{address}\", or \
                 \"0.0.0.0:{}\" for other machines too",
                address.port()
            )),
            None => E::invalid_value(serde::de::Unexpected::Str(text), &self),
        })
    }
}

/// This machine's own address, where it was most likely meant: `localhost:4319`, `:4319`, `4319`.
fn offer(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let is_this = host.is_empty() || host.eq_ignore_ascii_case("localhost");
    let port = port.parse().ok().filter(|_| is_this)?;
    Some((Ipv4Addr::LOCALHOST, port).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct One<T> {
        key: T,
    }

    fn read<T: serde::de::DeserializeOwned>(value: &str) -> Result<T, String> {
        let one: Result<One<T>, _> = toml::from_str(&format!("key = {value}"));
        one.map(|one| one.key).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_size_has_a_unit_or_is_bytes() {
        for (text, bytes) in [
            ("4096", 4096),
            ("1_000", 1000),
            ("\"4096\"", 4096),
            ("\"7B\"", 7),
            ("\"16MiB\"", 16 << 20),
            ("\"16 MiB\"", 16 << 20),
            ("\"64KiB\"", 64 << 10),
            ("\"2GiB\"", 2 << 30),
            ("\"10MB\"", 10_000_000),
            ("\"3kB\"", 3000),
            ("\"3KB\"", 3000),
            ("\"1GB\"", 1_000_000_000),
        ] {
            assert_eq!(read::<Size>(text), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn a_size_that_is_none_is_refused_with_examples() {
        for (text, begin) in [
            ("0", "invalid value: integer `0`"),
            ("-1", "invalid value: integer `-1`"),
            ("\"0MiB\"", "invalid value: string \"0MiB\""),
            ("\"16 apples\"", "invalid value: string \"16 apples\""),
            ("\"MiB\"", "invalid value: string \"MiB\""),
            ("\"99999999999GiB\"", "invalid value: string \"99999999999GiB\""),
            ("1.5", "invalid type: floating point `1.5`"),
            ("true", "invalid type: boolean `true`"),
        ] {
            let expected = format!(
                "{begin}, expected a size above 0, like \"16MiB\", \"64KiB\" or 4096 (bytes)"
            );
            assert_eq!(read::<Size>(text), Err(expected));
        }
    }

    #[test]
    fn what_may_be_none_is_a_size_or_0() {
        assert_eq!(read::<SizeOrNone>("0"), Ok(SizeOrNone(0)));
        assert_eq!(read::<SizeOrNone>("\"0\""), Ok(SizeOrNone(0)));
        assert_eq!(read::<SizeOrNone>("\"8KiB\""), Ok(SizeOrNone(8192)));
        let expected = "invalid value: integer `-1`, expected 0, or a size, like \"16MiB\", \
                        \"64KiB\" or 4096 (bytes)";
        assert_eq!(read::<SizeOrNone>("-1"), Err(expected.to_owned()));
    }

    #[test]
    fn a_size_prints_as_it_can_be_written() {
        for text in ["256MiB", "1GiB", "1KiB", "1025", "16640KiB"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn seconds_are_whole_or_broken() {
        assert_eq!(read::<Seconds>("10"), Ok(Seconds::whole(10)));
        assert_eq!(read::<Seconds>("0"), Ok(Seconds::whole(0)));
        assert_eq!(read::<Seconds>("0.25"), Ok(Seconds(Duration::from_millis(250))));
    }

    #[test]
    fn seconds_that_no_clock_can_wait_are_refused() {
        for (text, begin) in [
            ("-1", "invalid value: integer `-1`"),
            ("31536001", "invalid value: integer `31536001`"),
            ("-0.5", "invalid value: floating point `-0.5`"),
            ("nan", "invalid value: floating point `NaN`"),
            ("inf", "invalid value: floating point `inf`"),
            ("\"10s\"", "invalid type: string \"10s\""),
        ] {
            let expected = format!(
                "{begin}, expected seconds as a number from 0 to 31536000 (a year), like 10 or 0.5"
            );
            assert_eq!(read::<Seconds>(text), Err(expected));
        }
    }

    #[test]
    fn permissions_are_octal() {
        for (text, mode) in [("\"0660\"", 0o660), ("\"777\"", 0o777), ("\"0000\"", 0)] {
            assert_eq!(read::<Mode>(text), Ok(Mode(mode)), "{text}");
        }
        assert_eq!(toml::Value::try_from(Mode(0o60)).unwrap().as_str(), Some("0060"));
        for text in ["\"0888\"", "\"1777\"", "\"+60\"", "\"\"", "\"rw\"", "432"] {
            let told = read::<Mode>(text).unwrap_err();
            assert!(told.ends_with("from \"0000\" to \"0777\", like \"0660\""), "{told}");
        }
    }

    #[test]
    fn an_address_is_an_ip_and_a_port_or_a_path() {
        for text in ["[::1]:80", "unix:/a"] {
            let expected = Ok(Address(text.parse().unwrap()));
            assert_eq!(read::<Address>(&format!("\"{text}\"")), expected);
        }
        assert_eq!(
            read::<Address>("\"gpu:80\"").unwrap_err(),
            "invalid value: string \"gpu:80\", expected an IP address and a port, \
             like \"127.0.0.1:4319\" or \"[::1]:4319\", or a socket's path, like \"unix:/run/clearspan.sock\""
        );
    }
}
