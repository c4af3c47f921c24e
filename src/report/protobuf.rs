//! A protobuf writer as small as OTLP's spans and log records need; knows no span. It writes
//! straight into one buffer: messages of structs would cost an allocation for each key and value.

use super::names::Attribute;

/// Bytes of an attribute's value; longer ones are cut, whatever the limits say.
pub const LONGEST_VALUE: usize = 1024;

/// Field numbers of `AnyValue`.
const STRING: u32 = 1;
const BOOL: u32 = 2;
const INT: u32 = 3;
const DOUBLE: u32 = 4;
const ARRAY: u32 = 5;

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn varint_size(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

fn key(to: &mut Vec<u8>, field: u32, wire_type: u32) {
    varint(to, u64::from(field << 3 | wire_type));
}

/// A whole number or an enumeration's value.
pub(super) fn number(to: &mut Vec<u8>, field: u32, value: u64) {
    key(to, field, 0);
    varint(to, value);
}

/// `fixed64`, or a double's bits.
pub(super) fn fixed64(to: &mut Vec<u8>, field: u32, value: u64) {
    key(to, field, 1);
    to.extend_from_slice(&value.to_le_bytes());
}

/// `fixed32`.
pub(super) fn fixed32(to: &mut Vec<u8>, field: u32, value: u32) {
    key(to, field, 5);
    to.extend_from_slice(&value.to_le_bytes());
}

/// Bytes, a string, or an encoded message.
pub(super) fn bytes(to: &mut Vec<u8>, field: u32, value: &[u8]) {
    length(to, field, value.len());
    to.extend_from_slice(value);
}

/// The head of a message of which `length` bytes follow.
pub(super) fn length(to: &mut Vec<u8>, field: u32, length: usize) {
    key(to, field, 2);
    varint(to, length as u64);
}

/// Bytes that `bytes` writes for a value of `length`; true for field numbers up to 15.
pub(super) fn size(length: usize) -> usize {
    1 + varint_size(length as u64) + length
}

/// Bounds of the attributes of one span or log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeLimits {
    /// Attributes; those past it are dropped and counted in the record
    /// (`OTEL_ATTRIBUTE_COUNT_LIMIT`, 128).
    pub count: usize,
    /// Characters of a value (`OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`); never more than 1024 bytes.
    pub characters: usize,
}

impl Default for AttributeLimits {
    fn default() -> Self {
        Self { count: 128, characters: usize::MAX }
    }
}

/// Writes attributes into a message whose field `field` they are.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    to: &'a mut Vec<u8>,
    field: u32,
    limits: AttributeLimits,
    dropped: u64,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(to: &'a mut Vec<u8>, field: u32, limits: AttributeLimits) -> Self {
        Self { to, field, limits, dropped: 0 }
    }

    /// Writes how many were dropped, if any, into the field `dropped`.
    pub(super) fn finish(self, dropped: u32) {
        if self.dropped > 0 {
            number(self.to, dropped, self.dropped);
        }
    }

    /// Whether there is room for one more, which is then taken.
    fn has_room(&mut self) -> bool {
        let room = self.limits.count.checked_sub(1);
        match room {
            Some(room) => self.limits.count = room,
            None => self.dropped += 1,
        }
        room.is_some()
    }

    /// The head of a `KeyValue` (its field number at most 15) whose `AnyValue` has `size` bytes, which follow.
    fn head(&mut self, attribute: Attribute, any: usize) {
        let key = attribute.0.as_bytes();
        let all = size(key.len()) + size(any);
        if all >= 0x80 {
            length(self.to, self.field, all);
            bytes(self.to, 1, key);
            return length(self.to, 2, any);
        }
        // Most attributes: each length is one byte, and so is each field's key.
        self.to.reserve(2 + all);
        self.to.extend_from_slice(&[(self.field << 3 | 2) as u8, all as u8]);
        self.to.extend_from_slice(&[1 << 3 | 2, key.len() as u8]);
        self.to.extend_from_slice(key);
        self.to.extend_from_slice(&[2 << 3 | 2, any as u8]);
    }

    pub(super) fn text(&mut self, attribute: Attribute, value: &str) {
        if !self.has_room() {
            return;
        }
        let value = cut(value, self.limits.characters);
        self.head(attribute, size(value.len()));
        bytes(self.to, STRING, value.as_bytes());
    }

    pub(super) fn int(&mut self, attribute: Attribute, value: i64) {
        if !self.has_room() {
            return;
        }
        self.head(attribute, 1 + varint_size(value as u64));
        number(self.to, INT, value as u64);
    }

    pub(super) fn double(&mut self, attribute: Attribute, value: f64) {
        if !self.has_room() {
            return;
        }
        self.head(attribute, 9);
        fixed64(self.to, DOUBLE, value.to_bits());
    }

    pub(super) fn flag(&mut self, attribute: Attribute) {
        self.some_flag(attribute, Some(true));
    }

    /// Written also where it is `false`.
    pub(super) fn some_flag(&mut self, attribute: Attribute, value: Option<bool>) {
        let Some(value) = value else { return };
        if !self.has_room() {
            return;
        }
        self.head(attribute, 2);
        number(self.to, BOOL, u64::from(value));
    }

    pub(super) fn texts<'v>(
        &mut self,
        attribute: Attribute,
        values: impl Iterator<Item = &'v str> + Clone,
    ) {
        if !self.has_room() {
            return;
        }
        let characters = self.limits.characters;
        let values = values.map(|value| cut(value, characters));
        let array = values.clone().map(|value| size(size(value.len()))).sum();
        self.head(attribute, size(array));
        length(self.to, ARRAY, array);
        for value in values {
            length(self.to, 1, size(value.len()));
            bytes(self.to, STRING, value.as_bytes());
        }
    }

    pub(super) fn some_text(&mut self, attribute: Attribute, value: Option<&str>) {
        if let Some(value) = value {
            self.text(attribute, value);
        }
    }

    pub(super) fn some_int(&mut self, attribute: Attribute, value: Option<impl TryInto<i64>>) {
        if let Some(value) = value {
            self.int(attribute, value.try_into().unwrap_or(i64::MAX));
        }
    }

    pub(super) fn some_double(&mut self, attribute: Attribute, value: Option<f64>) {
        if let Some(value) = value {
            self.double(attribute, value);
        }
    }
}

/// At most so many characters, and at most `LONGEST_VALUE`, at a character's border.
fn cut(value: &str, characters: usize) -> &str {
    let value = value.get(..value.floor_char_boundary(LONGEST_VALUE)).unwrap_or_default();
    if value.len() <= characters {
        return value;
    }
    let end = value.char_indices().nth(characters).map_or(value.len(), |(at, _)| at);
    value.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    use super::super::names::OPERATION as KEY;
    use super::*;

    fn span(limits: AttributeLimits, write: impl FnOnce(&mut Attributes<'_>)) -> Span {
        let mut to = Vec::new();
        let mut attributes = Attributes::new(&mut to, 9, limits);
        write(&mut attributes);
        attributes.finish(10);
        let span = Span::decode(&to[..]).unwrap();
        // What the generated code writes for the same message must be the same bytes.
        assert_eq!(span.encode_to_vec(), to);
        span
    }

    fn values(write: impl FnOnce(&mut Attributes<'_>)) -> Vec<Value> {
        let span = span(AttributeLimits::default(), write);
        let value = |kv: KeyValue| kv.value.and_then(|any| any.value).unwrap();
        span.attributes.into_iter().map(value).collect()
    }

    #[test]
    fn every_kind_of_value_is_read_back_by_the_generated_code() {
        let string = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
        let long = "x".repeat(300);
        let written = values(|to| {
            to.text(KEY, "");
            to.text(KEY, &long);
            to.int(KEY, 0);
            to.int(KEY, -1);
            to.int(KEY, 128);
            to.double(KEY, 0.25);
            to.flag(KEY);
            to.some_flag(KEY, Some(false));
            to.some_flag(KEY, None);
            to.texts(KEY, ["a", "", &long].into_iter());
            to.texts(KEY, std::iter::empty());
        });
        let expected = [
            Value::StringValue(String::new()),
            Value::StringValue(long.clone()),
            Value::IntValue(0),
            Value::IntValue(-1),
            Value::IntValue(128),
            Value::DoubleValue(0.25),
            Value::BoolValue(true),
            Value::BoolValue(false),
            Value::ArrayValue(ArrayValue { values: vec![string("a"), string(""), string(&long)] }),
            Value::ArrayValue(ArrayValue { values: vec![] }),
        ];
        assert_eq!(written, expected);
    }

    #[test]
    fn a_long_value_is_cut_at_a_characters_border() {
        let long = format!("a{}", "é".repeat(600));
        let kept = format!("a{}", "é".repeat(511));
        assert_eq!(values(|to| to.text(KEY, &long)), [Value::StringValue(kept)]);
    }

    #[test]
    fn limits_cut_values_and_count_what_they_drop() {
        let limits = AttributeLimits { count: 3, characters: 2 };
        let span = span(limits, |to| {
            to.text(KEY, "größe");
            to.texts(KEY, ["abc", "d"].into_iter());
            to.int(KEY, 12_345);
            to.int(KEY, 1);
            to.double(KEY, 1.0);
            to.flag(KEY);
            to.text(KEY, "x");
            to.texts(KEY, std::iter::empty());
        });
        let told = super::super::literals::told(&span.attributes);
        let key = KEY.0;
        assert_eq!(
            told,
            [format!("{key}=\"gr\""), format!("{key}=[\"ab\",\"d\"]"), format!("{key}=12345"),]
        );
        assert_eq!(span.dropped_attributes_count, 5);
        assert_eq!([cut("äöü", 2), cut("äöü", 3), cut("abc", 0)], ["äö", "äöü", ""]);
    }

    #[test]
    fn sizes_of_numbers_are_those_written() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let mut to = Vec::new();
            varint(&mut to, value);
            assert_eq!(varint_size(value), to.len(), "{value}");
        }
    }
}
