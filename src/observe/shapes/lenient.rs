//! Reads JSON in place and leniently: a value of an unexpected type is passed over, and costs
//! nothing else. Knows JSON's types and no provider.
//!
//! Everything is read into `&mut`, so that of a document that breaks off what came before stands.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Why a text could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It ends early.
    Short,
    /// It is not JSON.
    Bad,
}

/// What a JSON value may turn out to be. What is not wanted is passed over.
pub trait Lenient<'de>: Sized {
    /// Its text is wanted as it stands, and only `raw` is called.
    const RAW: bool = false;
    /// Any value's text.
    fn raw(&mut self, _: &'de str) {}
    /// `true` or `false`.
    fn flag(&mut self, _: bool) {}
    /// A number.
    fn number(&mut self, _: f64) {}
    /// A number without sign or fraction.
    fn count(&mut self, count: u64) {
        self.number(count as f64);
    }
    /// A text that lives only for this call, because it had escapes.
    fn text(&mut self, _: &str) {}
    /// A text that stands in the input.
    fn borrowed(&mut self, text: &'de str) {
        self.text(text);
    }
    /// A list.
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
    /// An object.
    fn object<A: MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Longer texts are mostly passed over, and what is passed over need not be UTF-8.
const CHECKED_WHOLE: usize = 16 << 10;

/// Reads one JSON value into `value`.
pub fn read<'de>(json: &'de [u8], value: &mut impl Lenient<'de>) -> Result<(), Unread> {
    // Checked at once, no text in it is checked again.
    let text = if json.len() > CHECKED_WHOLE { None } else { std::str::from_utf8(json).ok() };
    match text {
        Some(text) => read_from(serde_json::Deserializer::from_str(text), value),
        None => read_from(serde_json::Deserializer::from_slice(json), value),
    }
}

fn read_from<'de, R: serde_json::de::Read<'de>>(
    mut json: serde_json::Deserializer<R>,
    value: &mut impl Lenient<'de>,
) -> Result<(), Unread> {
    let result = Into(value).deserialize(&mut json).and_then(|()| json.end());
    result.map_err(|error| if error.is_eof() { Unread::Short } else { Unread::Bad })
}

/// Where a value goes.
pub struct Into<'a, T>(pub &'a mut T);

impl<'de, T: Lenient<'de>> DeserializeSeed<'de> for Into<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if T::RAW {
            let raw = <&RawValue>::deserialize(deserializer)?;
            self.0.raw(raw.get());
            return Ok(());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Lenient<'de>> Visitor<'de> for Into<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.0.flag(flag);
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.0.number(number as f64);
        Ok(())
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<(), E> {
        self.0.count(count);
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.0.number(number);
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.text(text);
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.0.borrowed(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<(), A::Error> {
        self.0.object(object)
    }
}

/// Declares the fields of an object that are read; the others are passed over. Where a key comes
/// twice, the later one is read on top of the earlier.
macro_rules! fields {
    ($(#[$doc:meta])* $vis:vis struct $name:ident<$life:lifetime> {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $key:pat,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        $vis struct $name<$life> { $($(#[$field_doc])* $vis $field: $type,)* }

        impl<$life> $crate::observe::shapes::lenient::Lenient<$life> for $name<$life> {
            $crate::observe::shapes::lenient::fields!(@object $life $($field = $key,)*);
        }
    };
    ($(#[$doc:meta])* $vis:vis struct $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $key:pat,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        $vis struct $name { $($(#[$field_doc])* $vis $field: $type,)* }

        impl<'de> $crate::observe::shapes::lenient::Lenient<'de> for $name {
            $crate::observe::shapes::lenient::fields!(@object 'de $($field = $key,)*);
        }
    };
    (@object $life:lifetime $($field:ident = $key:pat,)*) => {
        fn object<A: serde::de::MapAccess<$life>>(&mut self, mut object: A) -> Result<(), A::Error> {
            use $crate::observe::shapes::lenient::{Into, Text};
            let mut key = Text::default();
            while object.next_key_seed(Into(&mut key))?.is_some() {
                match key.as_str() {
                    $($key => object.next_value_seed(Into(&mut self.$field))?,)*
                    _ => { object.next_value::<serde::de::IgnoredAny>()?; }
                }
            }
            Ok(())
        }
    };
}
pub(crate) use fields;

/// A text; empty where there is none.
#[derive(Clone, Debug, Default)]
pub struct Text<'de>(Cow<'de, str>);

impl<'de> Lenient<'de> for Text<'de> {
    fn text(&mut self, text: &str) {
        self.0 = Cow::Owned(text.to_owned());
    }

    fn borrowed(&mut self, text: &'de str) {
        self.0 = Cow::Borrowed(text);
    }
}

impl Text<'_> {
    /// The text; empty where there is none.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// At most `longest` bytes of it, where there is any.
    pub fn bounded(&self, longest: usize) -> Option<String> {
        let text = self.as_str();
        (!text.is_empty()).then(|| text[..text.floor_char_boundary(longest)].to_owned())
    }

    /// Puts it where `old` stands, if there is any and it differs.
    pub fn replace(&self, old: &mut Option<String>, longest: usize) {
        if !self.as_str().is_empty() && old.as_deref() != Some(self.as_str()) {
            *old = self.bounded(longest);
        }
    }
}

/// A whole number that is not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(pub Option<u64>);

impl Lenient<'_> for Count {
    fn count(&mut self, count: u64) {
        self.0 = Some(count);
    }

    fn number(&mut self, number: f64) {
        // Some servers write counts as `12.0`.
        let whole = number >= 0.0 && number.fract() == 0.0 && number < 9e15;
        self.0 = whole.then_some(number as u64).or(self.0);
    }
}

/// Any number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Number(pub Option<f64>);

impl Lenient<'_> for Number {
    fn number(&mut self, number: f64) {
        self.0 = Some(number);
    }
}

impl Number {
    /// The number, where it has no fraction.
    pub fn whole(self) -> Option<i64> {
        self.0.filter(|number| number.fract() == 0.0 && number.abs() < 9e15).map(|n| n as i64)
    }
}

/// `true` or `false`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flag(pub Option<bool>);

impl Lenient<'_> for Flag {
    fn flag(&mut self, flag: bool) {
        self.0 = Some(flag);
    }
}

/// Whether a text, list or object holds anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filled(pub bool);

impl<'de> Lenient<'de> for Filled {
    fn text(&mut self, text: &str) {
        self.0 |= !text.is_empty();
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {
            self.0 = true;
        }
        Ok(())
    }

    fn object<A: MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            self.0 = true;
        }
        Ok(())
    }
}

/// How many values a list holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Length(pub Option<u32>);

impl<'de> Lenient<'de> for Length {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        let mut length = 0_u32;
        while list.next_element::<IgnoredAny>()?.is_some() {
            length = length.saturating_add(1);
        }
        self.0 = Some(length);
        Ok(())
    }
}

/// An object, or nothing where it is `null`, absent or something else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Object<T>(pub Option<T>);

impl<'de, T: Lenient<'de> + Default> Lenient<'de> for Object<T> {
    fn object<A: MapAccess<'de>>(&mut self, object: A) -> Result<(), A::Error> {
        self.0.insert(T::default()).object(object)
    }
}

/// A list. Most hold one value, which is kept without an allocation.
#[derive(Debug)]
pub struct List<'de, T> {
    first: Option<T>,
    more: Vec<T>,
    life: PhantomData<&'de ()>,
}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self { first: None, more: Vec::new(), life: PhantomData }
    }
}

impl<'de, T: Lenient<'de> + Default> Lenient<'de> for List<'de, T> {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut value = T::default();
            if list.next_element_seed(Into(&mut value))?.is_none() {
                return Ok(());
            }
            match self.first {
                None => self.first = Some(value),
                Some(_) => self.more.push(value),
            }
        }
    }
}

impl<T> List<'_, T> {
    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.more)
    }
}

/// One text or a list of texts; at most 16 of at most 128 bytes are kept.
#[derive(Debug, Default)]
pub struct Texts(pub Vec<String>);

impl<'de> Lenient<'de> for Texts {
    fn text(&mut self, text: &str) {
        if self.0.len() < 16 {
            self.0.push(text[..text.floor_char_boundary(128)].to_owned());
        }
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Into(self))?.is_some() {}
        Ok(())
    }
}

/// How many inputs: a text is one, a list of numbers (one text's tokens) too, another list as many
/// as it holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs(pub Option<u32>);

impl<'de> Lenient<'de> for Inputs {
    fn text(&mut self, _: &str) {
        self.0 = Some(1);
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        let (mut length, mut tokens) = (0_u32, Number::default());
        while list.next_element_seed(Into(&mut tokens))?.is_some() {
            length = length.saturating_add(1);
        }
        self.0 = Some(if tokens.0.is_some() { 1 } else { length });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fields! {
        struct Sample<'de> {
            text: Text<'de> = "text",
            count: Count = "count",
            number: Number = "number",
            flag: Flag = "flag",
            inner: Object<Inner> = "inner",
            list: List<'de, Inner> = "list",
            inputs: Inputs = "inputs",
            stop: Texts = "stop",
        }
    }

    fields! {
        struct Inner {
            count: Count = "count",
        }
    }

    fn sample(json: &str) -> (String, Result<(), Unread>) {
        let mut sample = Sample::default();
        let result = read(json.as_bytes(), &mut sample);
        let list: Vec<_> = sample.list.iter().map(|inner| inner.count.0).collect();
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            sample.text.as_str(),
            sample.count.0,
            sample.number.whole(),
            sample.flag.0,
            sample.inner.0.map(|inner| inner.count.0),
            list,
            sample.inputs.0,
            sample.stop.0,
        );
        (shown, result)
    }

    #[test]
    fn values_of_the_expected_types_are_read() {
        let (shown, result) = sample(
            r#"{"text":"a\n\u00e9","count":7,"number":-3,"flag":true,"inner":{"count":1},"x":[{}],
            "list":[{"count":1},{"count":2.0}],"inputs":["a","b"],"stop":["x","y"]}"#,
        );
        let expected = r#""a\né" Some(7) Some(-3) Some(true) Some(Some(1)) [Some(1), Some(2)] Some(2) ["x", "y"]"#;
        assert_eq!((shown.as_str(), result), (expected, Ok(())));
    }

    #[test]
    fn a_value_of_another_type_loses_nothing_else() {
        let others = [
            "null",
            "true",
            "-1.5",
            "\"x\"",
            "[]",
            "[[1,\"a\",{}]]",
            "{}",
            "{\"count\":{\"a\":[]}}",
        ];
        let keys = ["text", "count", "number", "flag", "inner", "list", "inputs", "stop"];
        for (key, value) in keys.iter().flat_map(|key| others.map(|value| (key, value))) {
            let (shown, result) = sample(&format!(r#"{{"{key}":{value},"count":5,"flag":false}}"#));
            assert_eq!(result, Ok(()), "{key} {value}");
            assert!(shown.contains("Some(5)") && shown.contains("Some(false)"), "{key} {value}");
        }
    }

    #[test]
    fn what_came_before_the_break_stands() {
        let (shown, result) = sample(r#"{"text":"a","inner":{"count":3},"list":[{"cou"#);
        assert_eq!(
            (result, shown.starts_with("\"a\" None None None Some(Some(3))")),
            (Err(Unread::Short), true)
        );
        assert_eq!(sample("<html>").1, Err(Unread::Bad));
        assert_eq!(sample("{} x").1, Err(Unread::Bad));
        assert_eq!(sample("").1, Err(Unread::Short));
    }

    #[test]
    fn a_list_of_tokens_is_one_input() {
        assert!(sample(r#"{"inputs":[1,2,3]}"#).0.contains("Some(1)"));
        assert!(sample(r#"{"inputs":[[1,2],[3]]}"#).0.contains("Some(2)"));
        assert!(sample(r#"{"inputs":"a"}"#).0.contains("Some(1)"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = Text(Cow::Borrowed("aéé"));
        assert_eq!(text.bounded(2), Some("a".to_owned()));
        assert_eq!(text.bounded(3), Some("aé".to_owned()));
        assert_eq!(Text::default().bounded(3), None);
    }
}
