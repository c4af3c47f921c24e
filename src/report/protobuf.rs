//! A protobuf writer as small as OTLP's spans and log records need; knows no span. It writes
//! straight into one buffer: messages of structs would cost an allocation for each key and value.

use super::names::Attribute;

/// Longer attribute values are cut.
const VALUE_BYTES: usize = 1024;

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

/// Writes attributes into a message whose field `field` they are.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    pub(super) to: &'a mut Vec<u8>,
    pub(super) field: u32,
}

impl Attributes<'_> {
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
        let value = cut(value);
        self.head(attribute, size(value.len()));
        bytes(self.to, STRING, value.as_bytes());
    }

    pub(super) fn int(&mut self, attribute: Attribute, value: i64) {
        self.head(attribute, 1 + varint_size(value as u64));
        number(self.to, INT, value as u64);
    }

    pub(super) fn double(&mut self, attribute: Attribute, value: f64) {
        self.head(attribute, 9);
        fixed64(self.to, DOUBLE, value.to_bits());
    }

    pub(super) fn flag(&mut self, attribute: Attribute) {
        self.head(attribute, 2);
        number(self.to, BOOL, 1);
    }

    pub(super) fn texts<'v>(
        &mut self,
        attribute: Attribute,
        values: impl Iterator<Item = &'v str> + Clone,
    ) {
        let values = values.map(cut);
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

/// At most `VALUE_BYTES`, at a character's border.
fn cut(value: &str) -> &str {
    value.get(..value.floor_char_boundary(VALUE_BYTES)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    use super::super::names::OPERATION as KEY;
    use super::*;

    fn values(write: impl FnOnce(&mut Attributes<'_>)) -> Vec<Value> {
        let mut to = Vec::new();
        write(&mut Attributes { to: &mut to, field: 9 });
        let span = Span::decode(&to[..]).unwrap();
        // What the generated code writes for the same message must be the same bytes.
        assert_eq!(span.encode_to_vec(), to);
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
    fn sizes_of_numbers_are_those_written() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let mut to = Vec::new();
            varint(&mut to, value);
            assert_eq!(varint_size(value), to.len(), "{value}");
        }
    }
}
