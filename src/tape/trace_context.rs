//! W3C Trace Context, as text: a `traceparent` read. Knows no header and no exchange.
//!
//! <https://www.w3.org/TR/trace-context/#traceparent-header>

/// The trace, the parent's span and the flags that a `traceparent` names, where it is valid: version 00
/// exactly; a later version by its first four fields, as the specification asks.
pub fn parse(value: &[u8]) -> Option<([u8; 16], [u8; 8], u8)> {
    let (version, rest) = field::<1>(value)?;
    let (trace, rest) = field::<16>(rest.strip_prefix(b"-")?)?;
    let (span, rest) = field::<8>(rest.strip_prefix(b"-")?)?;
    let ([flags], rest) = field::<1>(rest.strip_prefix(b"-")?)?;
    let ends_well = if version == [0] { rest.is_empty() } else { matches!(rest, [] | [b'-', ..]) };
    let valid = version != [0xff] && ends_well && trace != [0; 16] && span != [0; 8];
    valid.then_some((trace, span, flags))
}

/// `N` bytes as lower-case hexadecimal, and what follows.
fn field<const N: usize>(text: &[u8]) -> Option<([u8; N], &[u8])> {
    let (digits, rest) = text.split_at_checked(2 * N)?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for &digit in pair {
            *byte = *byte << 4 | hexadecimal(digit)?;
        }
    }
    Some((bytes, rest))
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
