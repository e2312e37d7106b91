//! Reads a text in every other way that it can be read: what a sender wrote as base64, somebody will decode.
//!
//! Each call undoes one encoding; the views it adds are looked at, and derived from, in turn. What it adds is bounded by
//! a [`Budget`] in bytes, so that a thousand blobs of nothing cost what one blob of their length does, and the views that
//! look most like secrets come first when it runs short.

mod alphabet;
mod base32;
mod base58;
mod base64;
mod base85;
mod codes;
mod escape;
mod glance;
mod grouped;
mod hex;
mod packed;
mod quoted;
mod spaced;
mod survey;
mod text;
mod wide;

use std::ops::Range;

use super::edits::Edits;
use super::finding::Step;
use super::view::View;
use glance::Glance;
use survey::Survey;

/// What may still be decoded of one message, in bytes.
#[derive(Debug)]
pub struct Budget {
    left: usize,
    exhausted: bool,
}

impl Budget {
    /// For a message of this many bytes: eight times as many, and enough for a small one.
    pub fn of(input: usize) -> Self {
        const FACTOR: usize = 8;
        const FLOOR: usize = 256 << 10;
        Self { left: input.saturating_mul(FACTOR).max(FLOOR), exhausted: false }
    }

    /// Takes this many, or none if there are not as many: something is not looked at then.
    pub fn take(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.exhausted = true;
                false
            }
        }
    }

    /// True if anything was left out.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }
}

/// Adds a view for everything in this one that can be read in another way. Leaves out what can neither be text nor a
/// compressed body. `blanks` are the parts of it, in order, where it matters what stands for a line end or a quote.
pub fn derive(view: &View<'_>, blanks: &[Range<usize>], budget: &mut Budget, found: &mut Vec<View<'static>>) {
    let text = &*view.bytes;
    let survey = Survey::of(text);
    let mut ways = Ways { view, budget, found: Vec::new() };
    ways.edits(|edits| escape::read(text, &survey.signs, blanks, edits));
    if survey.may_be_quoted() {
        ways.edits(|edits| quoted::read(text, edits));
    }
    if !view.is_plain() {
        packed::read(text, &mut ways);
        wide::read(text, &mut ways);
    }
    if survey.may_be_base85() {
        base85::read(text, &mut ways);
    }
    let mut done = 0;
    for run in &survey.runs {
        if run.start < done {
            continue;
        }
        let first = run.len();
        let run = with_lines(text, run.clone());
        done = run.end;
        // What was copied from the view before this was read there.
        if view.is_copied(run.clone()) {
            continue;
        }
        let glance = Glance::of(text, run.clone(), run.len() > first);
        if glance.varied && (glance.packed || glance.quads) {
            base64::read(text, run.clone(), &glance, &mut ways);
        }
        if glance.hex {
            hex::read_run(text, run.clone(), &mut ways);
        }
        if glance.capitals {
            base32::read::<true>(text, run.clone(), &mut ways);
        }
        if glance.small {
            base32::read::<false>(text, run.clone(), &mut ways);
        }
        if glance.base58 {
            base58::read(text, run.clone(), &mut ways);
        }
        codes::read_bits(text, run, &mut ways);
    }
    let mut dumped = 0;
    for run in survey.pairs.iter().filter(|run| !view.is_copied((*run).clone())) {
        hex::read_pairs(text, run.clone(), &mut dumped, &mut ways);
        codes::read_list(text, run.clone(), &mut ways);
    }
    ways.edits(|edits| grouped::read_blanks(text, &survey.capitals, edits));
    ways.edits(|edits| survey.runs.iter().for_each(|run| grouped::read_hyphens(text, run.clone(), edits)));
    spaced::read(text, &survey.spaced, &mut ways);
    ways.settle(found);
}

/// The views of a text that were found.
struct Ways<'a, 'v> {
    view: &'a View<'v>,
    budget: &'a mut Budget,
    found: Vec<View<'static>>,
}

impl Ways<'_, '_> {
    /// What a run reads as.
    fn run(&mut self, step: Step, run: Range<usize>, bytes: Vec<u8>) {
        /// Nothing that is found is shorter.
        const LEAST: usize = 8;
        if bytes.len() >= LEAST {
            self.found.push(self.view.run(step, run, bytes));
        }
    }

    /// What the text reads as where something in it is replaced.
    fn edits(&mut self, read: impl FnOnce(&mut Edits<'_>)) {
        let mut edits = Edits::of(self.view);
        read(&mut edits);
        self.found.extend(edits.finish());
    }

    /// Takes what was found out of the budget; if that is short, what looks most like a secret.
    fn settle(mut self, found: &mut Vec<View<'static>>) {
        let all: usize = self.found.iter().map(|view| view.bytes.len()).sum();
        if all > self.budget.left {
            self.found.sort_by_cached_key(|view| std::cmp::Reverse(text::entropy(&view.bytes)));
        }
        for view in self.found {
            if self.budget.take(view.bytes.len()) {
                found.push(view);
            }
        }
    }
}

/// A run with those on the lines after it, if it is written in lines of one length.
fn with_lines(text: &[u8], run: Range<usize>) -> Range<usize> {
    /// Nothing is wrapped at less.
    const LINE: usize = 32;
    /// The deepest indentation.
    const INDENT: usize = 40;
    let (mut end, mut line) = (run.end, run.len());
    let first = run.len();
    while line >= LINE {
        let rest = text.get(end..).unwrap_or_default();
        let broken = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n"));
        let Some(broken) = broken else { break };
        let indent = broken.iter().take(INDENT).take_while(|byte| b" \t".contains(byte)).count();
        let next = broken.get(indent..).unwrap_or_default();
        let next = next.iter().take_while(|byte| alphabet::is_base64(**byte)).count();
        if next == 0 || next > first {
            break;
        }
        end += rest.len() - broken.len() + indent + next;
        line = if next < first { 0 } else { next };
    }
    run.start..end
}

#[cfg(test)]
mod tests;
