//! How many items a list in a JSON body has.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Why the items cannot be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncountable {
    /// It is not JSON, or names something on the way twice: which of the two counts is different to each reader.
    NotJson,
    /// The way leads to no list.
    NoList,
}

impl Uncountable {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "it is not JSON, or has the same name twice",
            Self::NoList => "there is no such list in it",
        }
    }
}

/// The items of the list at the end of the way; where it is empty, the body itself is the list.
pub fn items(body: &[u8], way: &[Box<str>]) -> Result<u64, Uncountable> {
    let text = std::str::from_utf8(body).map_err(|_| Uncountable::NotJson)?;
    let mut document = serde_json::Deserializer::from_str(text);
    let found = Way(way).deserialize(&mut document).map_err(|_| Uncountable::NotJson)?;
    document.end().map_err(|_| Uncountable::NotJson)?;
    found.ok_or(Uncountable::NoList)
}

/// What is left of the way.
struct Way<'a>(&'a [Box<str>]);

impl<'de> DeserializeSeed<'de> for Way<'_> {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Way<'_> {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut known, mut found) = (false, None);
        while let Some(key) = map.next_key::<String>()? {
            let next = self.0.split_first().filter(|(name, _)| is_alike(&key, name));
            let Some((name, rest)) = next else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut known, true) {
                return Err(A::Error::custom("twice"));
            }
            match *key == **name {
                true => found = map.next_value_seed(Way(rest))?,
                false => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = 0;
        while list.next_element::<IgnoredAny>()?.is_some() {
            items += 1;
        }
        Ok(self.0.is_empty().then_some(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether some reader takes one name for the other. Some fold case, and some of those as Unicode does: `ſ` is an `s`
/// to Go's `encoding/json`, and `K` (U+212A) a `k`.
fn is_alike(one: &str, other: &str) -> bool {
    fn folded(name: &str) -> impl Iterator<Item = char> {
        name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
    }
    one == other || folded(one).eq(folded(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_counted_only_where_every_reader_finds_the_same_one() {
        use Uncountable::{NoList, NotJson};
        for (way, body, expected) in [
            ("requests", r#"{"requests": [1, [2, 3], {"requests": []}]}"#, Ok(3)),
            ("requests", r#"{"a": {"requests": 1}, "requests": []}"#, Ok(0)),
            ("a.b", r#"{"a": {"c": 1, "b": [1]}}"#, Ok(1)),
            ("", "[1, 2]", Ok(2)),
            ("", r#"{"a": [1]}"#, Err(NoList)),
            ("requests", "[1]", Err(NoList)),
            ("requests", r#"{"requests": {"a": 1}}"#, Err(NoList)),
            ("requests", r#"{"Requests": [1]}"#, Err(NoList)),
            ("requests", r#"{"requests": null}"#, Err(NoList)),
            ("requests", r#"{"requests": "[1]"}"#, Err(NoList)),
            ("requests", r#"{"requests": [1], "requests": []}"#, Err(NotJson)),
            ("requests", r#"{"REQUESTS": [1, 2], "requests": []}"#, Err(NotJson)),
            ("requests", r#"{"requests": [], "r\u0065quests": [1]}"#, Err(NotJson)),
            ("requests", r#"{"requests": [], "requeſtſ": [1, 2]}"#, Err(NotJson)),
            ("keys", "{\"keys\": [], \"\u{212a}eys\": [1, 2]}", Err(NotJson)),
            ("größe", r#"{"größe": [], "GRÖSSE": [1, 2]}"#, Err(NotJson)),
            ("a.b", r#"{"a": {"b": [1]}, "a": {"b": []}}"#, Err(NotJson)),
            ("requests", r#"{"requests": [1]} {"requests": [1]}"#, Err(NotJson)),
            ("requests", "\u{feff}{\"requests\": []}", Err(NotJson)),
            ("requests", "requests=1", Err(NotJson)),
            ("requests", "", Err(NotJson)),
        ] {
            let way: Vec<Box<str>> = way.split('.').filter(|name| !name.is_empty()).map(Box::from).collect();
            assert_eq!(items(body.as_bytes(), &way), expected, "{body}");
        }
        assert_eq!(items(b"{\"requests\": [\"\xff\"]}", &["requests".into()]), Err(NotJson));
    }
}
