//! A text to look at, and where each of its bytes came from: what is found in something decoded is a place in what was
//! sent.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

use super::finding::{Chain, Step};
use super::normalise::first_strange;

/// A text: a surface as it was sent, or what a part of it decodes to.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// Its bytes.
    pub bytes: Cow<'a, [u8]>,
    /// How it came about.
    pub chain: Chain,
    origin: Origin,
    /// Whether all of it is printable ASCII or white space, once somebody has asked.
    plain: OnceCell<bool>,
}

/// Which bytes of the surface the bytes of a view came from.
#[derive(Debug, Clone)]
enum Origin {
    /// They are the same.
    Same,
    /// All came from this run as a whole.
    Run(Range<usize>),
    /// In pieces, each byte of which came from the byte at the same distance from where the piece begins; where
    /// something was decoded or left out a new piece begins. In order: place in the view, place in the surface. The last
    /// is the end.
    Pieces(Vec<(usize, usize)>),
}

impl<'a> View<'a> {
    /// A surface as it was sent.
    pub fn raw(bytes: &'a [u8]) -> Self {
        Self { bytes: Cow::Borrowed(bytes), chain: Chain::new(), origin: Origin::Same, plain: OnceCell::new() }
    }

    /// What a run of this view decodes to as a whole: base64, a compressed body.
    pub fn run(&self, step: Step, run: Range<usize>, bytes: Vec<u8>) -> View<'static> {
        View {
            bytes: Cow::Owned(bytes),
            chain: self.and(step),
            origin: Origin::Run(self.surface(run)),
            plain: OnceCell::new(),
        }
    }

    /// This view with something in it decoded, place for place: `pieces` are pairs of a place in the new bytes and the
    /// place in these bytes it came from, rising, the first `(0, _)`; a byte between two came from as far after. Where
    /// something is left out before a piece, another stands before it at the same place in the new bytes, with the end of
    /// what came before.
    pub fn pieces(&self, step: Step, bytes: Vec<u8>, mut pieces: Vec<(usize, usize)>) -> View<'static> {
        if pieces.last().is_none_or(|(of, _)| *of < bytes.len()) {
            pieces.push((bytes.len(), self.bytes.len()));
        }
        let origin = match &self.origin {
            Origin::Run(run) => Origin::Run(run.clone()),
            Origin::Same => Origin::Pieces(pieces),
            Origin::Pieces(inner) => Origin::Pieces(composed(&pieces, inner)),
        };
        View { bytes: Cow::Owned(bytes), chain: self.and(step), origin, plain: OnceCell::new() }
    }

    /// This view without its blanks and line ends, among them those that are not ASCII. None where it has none.
    pub fn without_blanks(&self) -> Option<View<'static>> {
        let mut gone: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        while let Some(rest) = self.bytes.get(at..) {
            let Some(next) =
                rest.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, 0xc2 | 0xe2 | 0xe3))
            else {
                break;
            };
            let length = match rest.get(next..).unwrap_or_default() {
                [0xc2, 0xa0, ..] => 2,
                [0xe2, 0x80, 0x80..=0x8d | 0xa8 | 0xa9 | 0xaf, ..]
                | [0xe2, 0x81, 0x9f, ..]
                | [0xe3, 0x80, 0x80, ..] => 3,
                [0xc2 | 0xe2 | 0xe3, ..] => 0,
                _ => 1,
            };
            if length > 0 {
                gone.push(at + next..at + next + length);
            }
            at += next + length.max(1);
        }
        (!gone.is_empty()).then(|| View { chain: self.and(Step::Split), ..self.without(&gone) })
    }

    /// This view without these places, which rise and do not overlap.
    pub fn without(&self, gone: &[Range<usize>]) -> View<'static> {
        let (mut bytes, mut pieces, mut at) = (Vec::new(), Vec::new(), 0);
        for place in gone.iter().chain([&(self.bytes.len()..self.bytes.len())]) {
            pieces.push((bytes.len(), at));
            bytes.extend_from_slice(self.bytes.get(at..place.start).unwrap_or_default());
            pieces.push((bytes.len(), place.start));
            at = place.end;
        }
        let mut view = self.pieces(Step::Split, bytes, pieces);
        view.chain = self.chain.clone();
        view
    }

    /// The bytes of the surface that these came from.
    pub fn surface(&self, range: Range<usize>) -> Range<usize> {
        match &self.origin {
            Origin::Same => range,
            Origin::Run(run) => run.clone(),
            Origin::Pieces(pieces) => {
                let start = place(pieces, range.start);
                start..end(pieces, range.end).max(start)
            }
        }
    }

    /// True if these bytes, and one on either side of them, stand like this in the surface: what there is to be seen in
    /// them was seen before.
    pub fn is_copied(&self, range: Range<usize>) -> bool {
        let Origin::Pieces(pieces) = &self.origin else { return false };
        let Some(before) = range.start.checked_sub(1) else { return false };
        let next = pieces.partition_point(|(of, _)| *of <= before);
        pieces.get(next).is_some_and(|(of, _)| *of > range.end)
    }

    /// Whether all of it is printable ASCII or white space: nothing in it looks like something else, or is compressed.
    pub fn is_plain(&self) -> bool {
        *self.plain.get_or_init(|| first_strange(&self.bytes).is_none())
    }

    /// How often something was decoded to come here.
    pub fn depth(&self) -> usize {
        self.chain.len()
    }

    fn and(&self, step: Step) -> Chain {
        let mut chain = self.chain.clone();
        chain.push(step);
        chain
    }
}

/// The pieces of what was decoded twice: a new one begins where either of the two begins one.
fn composed(outer: &[(usize, usize)], inner: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut pieces = Vec::with_capacity(outer.len() + inner.len());
    for (at, (of, from)) in outer.iter().enumerate() {
        pieces.push((*of, place(inner, *from)));
        let Some((end, limit)) = outer.get(at + 1) else { break };
        let limit = (*limit).min(from + (end - of));
        let first = inner.partition_point(|(place, _)| place <= from);
        let within = inner.iter().skip(first).take_while(|(place, _)| *place < limit);
        pieces.extend(within.map(|(place, surface)| (of + (place - from), *surface)));
    }
    pieces
}

/// Where a byte came from. In a piece that is shorter at its source the last byte stands for those beyond it.
fn place(pieces: &[(usize, usize)], at: usize) -> usize {
    let next = pieces.partition_point(|(of, _)| *of <= at);
    let Some((of, from)) = next.checked_sub(1).and_then(|found| pieces.get(found)) else { return 0 };
    let place = from + (at - of);
    pieces.get(next).map_or(*from, |(_, limit)| place.min(*limit))
}

/// Where what ends here ended: what is decoded of several bytes takes them all.
fn end(pieces: &[(usize, usize)], at: usize) -> usize {
    let next = pieces.partition_point(|(of, _)| *of < at);
    match (pieces.get(next), next.checked_sub(1).and_then(|before| pieces.get(before))) {
        (Some((of, from)), _) if *of == at => *from,
        (limit, Some((of, from))) => limit.map_or(*from, |(_, limit)| (from + (at - of)).min(*limit)),
        (_, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decoded_in_place_points_at_all_the_bytes_it_was_decoded_from() {
        // `a%41b%42` reads `aAbB`.
        let raw = View::raw(b"a%41b%42");
        let view = raw.pieces(Step::Percent, b"aAbB".to_vec(), vec![(0, 0), (1, 1), (2, 4), (3, 5)]);
        assert_eq!(view.surface(0..1), 0..1);
        assert_eq!(view.surface(1..2), 1..4);
        assert_eq!(view.surface(0..4), 0..8);
        assert_eq!(view.surface(2..4), 4..8);
        assert_eq!(view.surface(3..4), 5..8);
    }

    #[test]
    fn what_is_decoded_of_something_decoded_points_at_the_surface() {
        let raw = View::raw(b"x%41%42%43y");
        let percent = raw.pieces(Step::Percent, b"xABCy".to_vec(), vec![(0, 0), (1, 1), (2, 4), (3, 7), (4, 10)]);
        let run = percent.run(Step::Hex, 1..3, vec![0xab]);
        assert_eq!(run.surface(0..1), 1..7);
        let again = percent.pieces(Step::Escapes, b"xCy".to_vec(), vec![(0, 0), (1, 3), (2, 4)]);
        assert_eq!(again.surface(1..2), 7..10);
        assert_eq!(again.surface(0..3), 0..11);
        let whole = percent.pieces(Step::Escapes, b"xABCy".to_vec(), vec![(0, 0)]);
        assert_eq!((whole.surface(2..3), whole.surface(1..4), whole.surface(4..5)), (4..7, 1..10, 10..11));
        assert_eq!(again.chain.as_slice(), [Step::Percent, Step::Escapes]);
    }
}
