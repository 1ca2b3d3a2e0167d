//! Fields that may hold anything: what is wrong in one field must not cost the
//! whole object.
//!
//! Serde gives up at the first wrong type; then a `port: "80"` in one Service
//! would lose it altogether, or, in a watch, the whole list. A [`Loose`] takes
//! whatever is there and remembers what it was, for a note.
//!
//! PURE, and knows no Kubernetes. `null` is the same as absent, for scalars,
//! lists and mappings alike: the API server does write `"endpoints": null`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::quoted;

/// What a field holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Loose<T> {
    /// Nothing, or `null`.
    #[default]
    Absent,
    /// What it should.
    Is(T),
    /// Something else; in words for a person.
    Wrong(String),
}

impl<T> Loose<T> {
    /// The value, if it is as it should be.
    #[must_use]
    pub fn as_option(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Wrong(_) => None,
        }
    }
}

/// A type that a [`Loose`] field may want: which shapes of input make it.
///
/// `Ok(None)` from [`Lenient::list`] and [`Lenient::mapping`] means a wrong
/// shape, read to its end all the same.
pub trait Lenient<'de>: Sized {
    /// What it is called in a note: "a whole number".
    const WANTED: &'static str;

    /// From text.
    #[must_use]
    fn text(_text: &str) -> Option<Self> {
        None
    }

    /// From true or false.
    #[must_use]
    fn flag(_flag: bool) -> Option<Self> {
        None
    }

    /// From a whole number.
    #[must_use]
    fn number(_number: i64) -> Option<Self> {
        None
    }

    /// From a list.
    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Option<Self>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// From a mapping.
    fn mapping<A: MapAccess<'de>>(mut entries: A) -> Result<Option<Self>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl Lenient<'_> for String {
    const WANTED: &'static str = "text";

    fn text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Lenient<'_> for bool {
    const WANTED: &'static str = "true or false";

    fn flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

impl Lenient<'_> for i64 {
    const WANTED: &'static str = "whole number";

    fn number(number: i64) -> Option<Self> {
        Some(number)
    }
}

impl<'de, T: Deserialize<'de>> Lenient<'de> for Vec<T> {
    const WANTED: &'static str = "list";

    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Option<Self>, A::Error> {
        let mut list = Self::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Some(list))
    }
}

impl<'de, T: Deserialize<'de>> Lenient<'de> for BTreeMap<String, T> {
    const WANTED: &'static str = "mapping";

    fn mapping<A: MapAccess<'de>>(mut entries: A) -> Result<Option<Self>, A::Error> {
        let mut map = Self::new();
        while let Some((key, value)) = entries.next_entry()? {
            map.insert(key, value);
        }
        Ok(Some(map))
    }
}

impl<'de, T: Lenient<'de>> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor(PhantomData))
    }
}

struct LooseVisitor<T>(PhantomData<T>);

impl<'de, T: Lenient<'de>> Visitor<'de> for LooseVisitor<T> {
    type Value = Loose<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WANTED)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Loose::Absent)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Loose::Absent)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Loose::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(is_or(T::flag(flag), || flag.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(is_or(T::number(number), || number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(is_or(i64::try_from(number).ok().and_then(T::number), || number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Loose::Wrong(number.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(is_or(T::text(text), || quoted(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        Ok(is_or(T::list(items)?, || "a list".to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        Ok(is_or(T::mapping(entries)?, || "a mapping".to_owned()))
    }
}

fn is_or<T>(value: Option<T>, found: impl FnOnce() -> String) -> Loose<T> {
    value.map_or_else(|| Loose::Wrong(found()), Loose::Is)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: for<'de> Lenient<'de>>(json: &str) -> Loose<T> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn takes_what_it_wants_and_names_the_rest() {
        let cases = [
            ("80", "Is(80)"),
            ("-1", "Is(-1)"),
            ("2147483648", "Is(2147483648)"),
            ("18446744073709551615", r#"Wrong("18446744073709551615")"#),
            ("80.5", r#"Wrong("80.5")"#),
            (r#""80""#, r#"Wrong("\"80\"")"#),
            ("true", r#"Wrong("true")"#),
            ("null", "Absent"),
            ("[1, [2]]", r#"Wrong("a list")"#),
            (r#"{"a": {}}"#, r#"Wrong("a mapping")"#),
        ];
        for (json, expected) in cases {
            assert_eq!(format!("{:?}", read::<i64>(json)), expected, "{json}");
        }
        assert_eq!(read::<Vec<Loose<i64>>>("null"), Loose::Absent);
        assert_eq!(
            read::<Vec<Loose<bool>>>("[true, 1]"),
            Loose::Is(vec![Loose::Is(true), Loose::Wrong("1".to_owned())])
        );
    }
}
