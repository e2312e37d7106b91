//! How bodies are divided: JSON, forms, multipart. First byte: which; for multipart the first line is a content type.
#![no_main]

use attache::pipeline::dlp::surface::json::{Kind, walk};
use attache::pipeline::dlp::surface::multipart::{boundary, name, parts};
use attache::pipeline::dlp::surface::{Layout, Surface, joined};
use libfuzzer_sys::fuzz_target;

/// As deep as JSON is followed; serde_json goes no deeper than 128.
const DEPTH: usize = 128;

fuzz_target!(|input: &[u8]| {
    let Some((which, body)) = input.split_first() else { return };
    match which % 3 {
        0 => json(body),
        1 => look(body, Layout::Form("body".into())),
        _ => multipart(body),
    }
});

fn json(text: &[u8]) {
    let (mut scalars, mut keys, mut end, mut depth) = (0, 0, 0, 0);
    walk(text, |leaf| {
        assert!(end <= leaf.range.start && leaf.range.start <= leaf.range.end && leaf.range.end <= text.len());
        end = leaf.range.end;
        match leaf.kind {
            Kind::Key => keys += 1,
            Kind::String | Kind::Bare => scalars += 1,
        }
        true
    });
    for byte in text {
        depth += usize::from(matches!(byte, b'[' | b'{'));
    }
    if depth <= DEPTH
        && let Ok(counted) = serde_json::from_slice::<Counted>(text)
    {
        assert_eq!((scalars, keys), (counted.scalars, counted.keys), "nothing of a document is passed over");
    }
    look(text, Layout::Json("body".into()));
}

fn multipart(input: &[u8]) {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (kind, body) = (&input[..end], &input[end + 1..]);
    let Some(Ok(boundary)) = boundary(kind) else { return };
    let Ok(divided) = parts(body, &boundary) else { return };
    let delimiter = [b"\n--", &boundary[..]].concat();
    let mut before = 0;
    for part in &divided {
        assert!(before <= part.head.start && part.head.end <= part.content.start);
        assert!(part.content.start <= part.content.end && part.content.end <= body.len());
        before = part.content.end;
        if let Some(name) = name(&body[part.head.clone()]) {
            assert!(!name.contains(&b'"'));
        }
        // A line that every reader takes for the end of the part is not in its content.
        let content = &body[part.content.clone()];
        let divides = |at: usize| matches!(content.get(at + delimiter.len()..), Some([b'\r', b'\n', ..] | [b'\n', ..]));
        let inner =
            content.windows(delimiter.len()).enumerate().find(|(at, window)| *window == delimiter && divides(*at));
        assert!(inner.is_none(), "a part goes over its boundary");
    }
    look(body, Layout::Multipart("body".into(), &divided));
}

/// Each byte has a place, and values stand in the text in order.
fn look(text: &[u8], layout: Layout<'_>) {
    let surface = Surface::new(text, layout);
    for at in [0, text.len() / 3, text.len() / 2, text.len().saturating_sub(1), text.len()] {
        if let (_, Some(place)) = surface.place(at) {
            assert!(!place.contains(char::is_control), "{place:?} goes on record");
        }
    }
    let values = surface.values();
    assert!(values.is_sorted_by_key(|value| value.start) && values.iter().all(|value| value.end <= text.len()));
    for view in joined(text, &values) {
        let whole = view.surface(0..view.bytes.len());
        assert!(whole.start <= whole.end && whole.end <= text.len());
    }
}

/// How many keys and scalars there are, by another reader.
#[derive(Default)]
struct Counted {
    scalars: usize,
    keys: usize,
}

impl<'de> serde::Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self::default())
    }
}

impl<'de> serde::de::Visitor<'de> for Counted {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(Self { scalars: 1, keys: 0 })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(Self { scalars: 1, keys: 0 })
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(Self { scalars: 1, keys: 0 })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(Self { scalars: 1, keys: 0 })
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(Self { scalars: 1, keys: 0 })
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self { scalars: 1, keys: 0 })
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(mut self, mut items: A) -> Result<Self, A::Error> {
        while let Some(item) = items.next_element::<Self>()? {
            self.scalars += item.scalars;
            self.keys += item.keys;
        }
        Ok(self)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(mut self, mut members: A) -> Result<Self, A::Error> {
        while let Some((_, value)) = members.next_entry::<serde::de::IgnoredAny, Self>()? {
            self.scalars += value.scalars;
            self.keys += value.keys + 1;
        }
        Ok(self)
    }
}
