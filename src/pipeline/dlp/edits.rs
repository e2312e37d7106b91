//! Views of what changes in a text, with some of what stands round it: most of a text has nothing to decode, and is not
//! looked at twice.

use super::finding::Step;
use super::view::View;

/// What is replaced in a text. Each step gets a view of its own.
pub(super) struct Edits<'v> {
    view: &'v View<'v>,
    drafts: Vec<(Step, Draft)>,
    region: Option<Region>,
    /// Room for the next region.
    spare: Draft,
    /// Where the last region ended.
    closed: usize,
    /// What is only replaced where something else is, as far as it may be near the next: the last [`ASIDE`], of which the
    /// first is where the next goes.
    aside: Vec<(usize, usize, u8)>,
    next: usize,
}

#[derive(Default)]
struct Draft {
    bytes: Vec<u8>,
    /// Place here and place in the text, as [`View::pieces`] takes them.
    pieces: Vec<(usize, usize)>,
}

struct Region {
    draft: Draft,
    /// The text before this was taken.
    upto: usize,
    /// Where the last change ended that counts by itself.
    last: usize,
    steps: [(Option<Step>, u32); 4],
}

/// How much of what stands beside is taken: a name that tells what a value is stands within it.
const MARGIN: usize = 160;

/// What stands between two regions: nothing that has line ends in it has braces in it, too.
const APART: &[u8] = b"\n}{\n";

/// How many changes are kept that do not count by themselves.
const ASIDE: usize = 64;

/// How far a margin reaches on so that it does not cut a token.
const TOKEN: usize = 16 << 10;

impl<'v> Edits<'v> {
    pub(super) fn of(view: &'v View<'v>) -> Self {
        Self { view, drafts: Vec::new(), region: None, spare: Draft::default(), closed: 0, aside: Vec::new(), next: 0 }
    }

    /// Replaces these bytes; they stand behind those that were replaced before.
    pub(super) fn replace(&mut self, step: Step, start: usize, end: usize, with: &[u8]) {
        if self.region.as_ref().is_some_and(|region| start > region.last + 2 * MARGIN) {
            self.close_before(start);
        }
        let text = &self.view.bytes;
        let floor = self.closed;
        let spare = &mut self.spare;
        let region = self.region.get_or_insert_with(|| {
            let upto = before(text, floor, start);
            Region { draft: std::mem::take(spare), upto, last: upto, steps: [(None, 0); 4] }
        });
        let from = region.upto;
        if !self.aside.is_empty() {
            let (last, first) = self.aside.split_at_checked(self.next).unwrap_or_default();
            for (start, end, with) in first.iter().chain(last).filter(|(start, ..)| *start >= from) {
                region.replace(text, *start, *end, &[*with]);
            }
            self.aside.clear();
            self.next = 0;
        }
        region.replace(text, start, end, with);
        region.last = end;
        let count = region.steps.iter_mut().find(|(counted, _)| counted.is_none_or(|counted| counted == step));
        if let Some((counted, count)) = count {
            *counted = Some(step);
            *count += 1;
        }
    }

    /// The same of what changes nothing about a text by itself: only where something else is replaced near it.
    pub(super) fn replace_aside(&mut self, start: usize, end: usize, with: u8) {
        let text = &self.view.bytes;
        match &mut self.region {
            Some(region) if start <= region.last + MARGIN => region.replace(text, start, end, &[with]),
            _ => {
                if self.aside.len() < ASIDE {
                    self.aside.push((start, end, with));
                } else if let Some(oldest) = self.aside.get_mut(self.next) {
                    *oldest = (start, end, with);
                    self.next = (self.next + 1) % ASIDE;
                }
            }
        }
    }

    /// The views, each with how many bytes it has.
    pub(super) fn finish(mut self) -> impl Iterator<Item = View<'static>> {
        self.close(usize::MAX);
        let view = self.view;
        self.drafts.into_iter().map(|(step, draft)| view.pieces(step, draft.bytes, draft.pieces))
    }

    /// Closes the region, unless what it ends with reaches to the next change.
    fn close_before(&mut self, next: usize) {
        let upto = self.region.as_ref().map_or(0, |region| region.last.max(region.upto));
        let text = self.view.bytes.get(..next).unwrap_or_default();
        if after(text, upto) + MARGIN < next {
            self.close(next);
        }
    }

    fn close(&mut self, next: usize) {
        let Some(mut region) = self.region.take() else { return };
        let text = &self.view.bytes;
        let end = after(text, region.last).max(region.upto).min(next);
        region.take(text, end);
        let most = region.steps.iter().max_by_key(|(_, count)| *count).and_then(|(step, _)| *step);
        let Some(step) = most else { return };
        let at = self.drafts.iter().position(|(drafted, _)| *drafted == step).unwrap_or_else(|| {
            self.drafts.push((step, Draft::default()));
            self.drafts.len() - 1
        });
        if let Some((_, draft)) = self.drafts.get_mut(at) {
            let offset = draft.bytes.len();
            draft.bytes.append(&mut region.draft.bytes);
            draft.pieces.extend(region.draft.pieces.iter().map(|(of, from)| (of + offset, *from)));
            // What ends one region does not go on in the next, and ends where it ends.
            draft.pieces.push((draft.bytes.len(), end));
            draft.bytes.extend_from_slice(APART);
        }
        region.draft.pieces.clear();
        self.spare = region.draft;
        self.closed = end;
    }
}

impl Region {
    fn replace(&mut self, text: &[u8], start: usize, end: usize, with: &[u8]) {
        self.take(text, start);
        if !with.is_empty() {
            self.draft.pieces.push((self.draft.bytes.len(), start));
            self.draft.bytes.extend_from_slice(with);
        }
        self.upto = end;
    }

    fn take(&mut self, text: &[u8], end: usize) {
        if let Some(kept) = text.get(self.upto..end).filter(|kept| !kept.is_empty()) {
            self.draft.pieces.push((self.draft.bytes.len(), self.upto));
            self.draft.bytes.extend_from_slice(kept);
        }
        self.upto = end;
    }
}

/// Where a region begins: in front of this place, not in front of the floor, nor in a token.
fn before(text: &[u8], floor: usize, at: usize) -> usize {
    let start = at.saturating_sub(MARGIN).max(floor);
    let token = text.get(floor..start).unwrap_or_default().iter().rev();
    start - token.take(TOKEN).take_while(|byte| is_token(**byte)).count()
}

fn after(text: &[u8], at: usize) -> usize {
    let end = (at + MARGIN).min(text.len());
    let token = text.get(end..).unwrap_or_default().iter();
    end + token.take(TOKEN).take_while(|byte| is_token(**byte)).count()
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"-_.~+/=:@!$*".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_stands_near_a_change_is_taken() {
        let text = format!("{0}a%41b{0}c%42d{0}", " x".repeat(500));
        let view = View::raw(text.as_bytes());
        let mut edits = Edits::of(&view);
        for at in [text.find("%41").unwrap(), text.find("%42").unwrap()] {
            edits.replace(Step::Percent, at, at + 3, &[text.as_bytes()[at + 2] - b'1' + b'A']);
        }
        let views: Vec<_> = edits.finish().collect();
        let [changed] = views.as_slice() else { panic!("{views:?}") };
        assert!(changed.bytes.len() < 5 * MARGIN);
        for (now, was) in [("aAb", "a%41b"), ("cBd", "c%42d")] {
            let at = memchr::memmem::find(&changed.bytes, now.as_bytes()).unwrap();
            assert_eq!(&text[changed.surface(at..at + now.len())], was);
        }
        assert!(changed.surface(0..changed.bytes.len() - 1).end < text.len());
    }

    proptest! {
        #[test]
        fn what_is_not_changed_is_where_it_was(gaps in prop::collection::vec((0_usize..900, 1_usize..5, 0_usize..4), 1..20)) {
            let text: Vec<u8> = (0..20_000).map(|at| b"abcdefg hijkl mnop\n qrs"[at * 7 % 23]).collect();
            let view = View::raw(&text);
            let mut edits = Edits::of(&view);
            let mut at = 0;
            for (gap, length, with) in gaps {
                edits.replace(Step::Escapes, at + gap, at + gap + length, &b"####"[..with]);
                at += gap + length;
            }
            for view in edits.finish() {
                let mut last = 0;
                for (at, byte) in view.bytes.iter().enumerate().filter(|(_, byte)| !b"#\n}{".contains(byte)) {
                    let range = view.surface(at..at + 1);
                    prop_assert!(range.start >= last);
                    prop_assert_eq!(text[range.start], *byte);
                    last = range.start;
                }
            }
        }
    }
}
