//! The places of a text where values may begin, whatever their names: a text full of names is read once, and not once for
//! each name.
//!
//! Of a name only matters where it ends. What stands behind it is read in the same way wherever the reading began, but for
//! its first byte: behind a name no value begins at once.

use smallvec::SmallVec;

use super::{LINES, NAME, PLAIN, REACH, TOKEN, TRIES, Value, is_in, is_value, parting, scheme, word_of_no_secret};

/// What was read of one text, from a place on.
#[derive(Debug, Default)]
pub(super) struct Places {
    start: usize,
    upto: usize,
    /// The last byte that was read, or what it stands for.
    before: u8,
    places: Rising<Place>,
    /// Line ends.
    lines: Rising<usize>,
}

/// Where a value may begin.
#[derive(Debug, Clone, Copy)]
struct Place {
    value: Value,
    /// Where it is seen: behind a `%` the value begins later.
    sign: usize,
    percent: bool,
    /// Line ends before it.
    lines: usize,
    /// How many bytes the word has that begins here, if it says what kind of value follows it and is none.
    scheme: usize,
    /// Where the word begins before it that names no secret, once somebody asked; none if there is no such word.
    no_secret: Option<Option<usize>>,
}

impl Places {
    /// More than are kept.
    const MOST: usize = 1024;
    /// Longer than this a run of characters is not counted.
    const SOLID: usize = 64;

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.all.len() + self.lines.all.len()
    }

    /// Where the word begins before this place that names no secret.
    pub(super) fn no_secret(&mut self, place: usize, text: &[u8]) -> Option<usize> {
        let place = self.places.all.get_mut(place)?;
        let at = place.value.at;
        let from = at.saturating_sub(REACH);
        let word = || word_of_no_secret(text.get(from..at).unwrap_or_default()).map(|word| from + word);
        *place.no_secret.get_or_insert_with(word)
    }

    /// Tells the places behind a name that ends at `from`, the nearest first. Gives the most bytes that one of them has of
    /// those of tokens.
    pub(super) fn of(&mut self, text: &[u8], from: usize, found: &mut SmallVec<[(Value, usize); TRIES]>) -> usize {
        let mut solid = 0;
        let end = text.len().min(from + REACH);
        let Some(assigned) = assigned(text, from) else { return solid };
        self.go_to(text, from);
        let lines = self.lines.first(|line| *line >= from);
        let mut next = self.places.first(|place| place.sign > from);
        while found.len() < TRIES {
            let Some(place) = self.places.all.get(next) else {
                if self.lines.all.len() >= lines + LINES || !self.read(text, end) {
                    break;
                }
                continue;
            };
            if place.sign >= end || place.lines >= lines + LINES {
                break;
            }
            // What the end cuts off is not seen, nor a sign that the name ends in.
            let is_value = match place.percent {
                true => place.sign > from && place.sign + 2 <= end,
                false => place.sign > assigned && (place.scheme == 0 || place.sign + place.scheme > end),
            };
            if is_value {
                solid = solid.max(place.value.solid);
                found.push((place.value, next));
            }
            next += 1;
        }
        solid
    }

    /// Sees to it that what was read reaches to this place, and nothing before it matters behind it.
    fn go_to(&mut self, text: &[u8], from: usize) {
        // A name that ends in a backslash escapes nothing.
        let escapes = from.checked_sub(1).and_then(|last| text.get(last)) == Some(&b'\\');
        let many = self.places.all.len() + self.lines.all.len() > Self::MOST;
        if !(self.start..=self.upto).contains(&from) || escapes || many {
            (self.start, self.upto, self.before) = (from, from, b'k');
            self.places.clear();
            self.lines.clear();
        }
    }

    /// Reads on, to `end` at most, until something is added. False if nothing is.
    fn read(&mut self, text: &[u8], end: usize) -> bool {
        while let Some(rest) = text.get(self.upto..end) {
            let at = self.upto;
            // Most bytes only go on with what is there.
            if is_value(self.before) && self.before != b'%' {
                let length = rest.iter().position(|byte| !is_in(&PLAIN, *byte)).unwrap_or(rest.len());
                if let Some(last) = length.checked_sub(1).and_then(|last| rest.get(last)) {
                    self.before = *last;
                    self.upto += length;
                    continue;
                }
            }
            let Some(byte) = rest.first().copied() else { break };
            self.upto += 1;
            let before = std::mem::replace(&mut self.before, byte);
            // What is escaped parts as what it stands for, however often it is.
            if before == b'\\'
                && let Some(parting) = parting(byte)
            {
                self.before = parting;
            }
            if self.add(text, at, before) {
                return true;
            }
        }
        false
    }

    /// Adds what the byte that was read says. False if it says nothing.
    fn add(&mut self, text: &[u8], at: usize, before: u8) -> bool {
        let byte = self.before;
        let percent = before == b'%' && is_percent(text, at);
        let begins = is_value(byte) && !is_value(before);
        if byte == b'\n' {
            self.lines.all.push(at);
        } else if percent {
            self.place(text, at, true, 0);
        } else if begins {
            self.place(text, at, false, text.get(at..).and_then(scheme).unwrap_or_default());
        }
        byte == b'\n' || percent || begins
    }

    fn place(&mut self, text: &[u8], sign: usize, percent: bool, scheme: usize) {
        let at = if percent { sign + 2 } else { sign };
        let rest = text.get(at..text.len().min(at + Self::SOLID)).unwrap_or_default();
        let solid = rest.iter().position(|byte| !is_in(&TOKEN, *byte)).unwrap_or(rest.len());
        let value = Value { at, solid: if solid == Self::SOLID { usize::MAX } else { solid } };
        let lines = self.lines.all.len();
        self.places.all.push(Place { value, sign, percent, lines, scheme, no_secret: None });
    }
}

/// Where the first sign stands behind a name that ends at `from` that parts it from its value, if it is near enough.
fn assigned(text: &[u8], from: usize) -> Option<usize> {
    let near = text.get(from..text.len().min(from + NAME + 1))?;
    let (mut before, mut lines, mut distance) = (b'k', 0, 0);
    while let Some(mut byte) = near.get(distance).copied() {
        if is_in(&PLAIN, byte) && before != b'%' && before != b'\\' {
            before = byte;
            distance += 1;
            continue;
        }
        if before == b'\\' {
            byte = parting(byte).unwrap_or(byte);
        }
        match byte {
            b'=' | b':' | b'>' | b',' | b'(' | b'|' | b'[' => return Some(from + distance),
            b' ' | b'\t' | b'"' | b'\'' | b'`' => return (distance < NAME).then_some(from + distance),
            b'\n' => lines += 1,
            _ if before == b'%' && is_percent(text, from + distance) => return Some(from + distance),
            _ => {}
        }
        if lines == LINES {
            return None;
        }
        before = byte;
        distance += 1;
    }
    None
}

/// Percent-encoded `=`, `:`, space and quotes, behind their `%`.
fn is_percent(text: &[u8], at: usize) -> bool {
    matches!(text.get(at..at + 2), Some(b"3D" | b"3d" | b"3A" | b"3a" | b"20" | b"22"))
}

/// What rises, and is mostly asked for in this order.
#[derive(Debug)]
struct Rising<T> {
    all: Vec<T>,
    last: usize,
}

impl<T> Default for Rising<T> {
    fn default() -> Self {
        Self { all: Vec::new(), last: 0 }
    }
}

impl<T> Rising<T> {
    fn clear(&mut self) {
        self.all.clear();
        self.last = 0;
    }

    /// The first that is so, as all behind it are.
    fn first(&mut self, is: impl Fn(&T) -> bool) -> usize {
        while self.last.checked_sub(1).and_then(|before| self.all.get(before)).is_some_and(&is) {
            self.last -= 1;
        }
        while self.all.get(self.last).is_some_and(|next| !is(next)) {
            self.last += 1;
        }
        self.last
    }
}
