//! Everything that is in one text: it is looked at as it is and as everything it decodes to.

use std::cell::Cell;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::decode::{Budget, derive};
use super::detector::{self, Detector, Match};
use super::finding::{Action, Confidence, Finding, Step};
use super::known::{Kind, Known, KnownMatch};
use super::mnemonic;
use super::normalise::normalise;
use super::numbers;
use super::profile::{Actions, Exemption};
use super::surface::{Surface, is_name};
use super::view::View;

/// How often what was decoded is decoded again.
const DEPTH: usize = 4;

/// What a message is looked at with, and what is done about what is found.
#[derive(Debug, Clone)]
pub struct Lens {
    /// The rules.
    pub detector: Arc<Detector>,
    /// What is done.
    pub actions: Actions,
    /// What is let pass of it.
    pub exemptions: Vec<Arc<Exemption>>,
    /// True where values from vendors' documentation pass: to language models, which are told about them all day.
    pub examples_pass: bool,
    /// False if what is found is put on record alone. Known secrets are held back even so.
    pub enforced: bool,
    /// What attaché holds itself.
    pub known: Arc<Known>,
    /// What is done about it.
    pub on_known: Action,
    /// What is done about what is there only to be missed.
    pub on_canary: Action,
    /// Makes fingerprints those of this installation.
    pub key: Arc<[u8; 32]>,
}

/// What was found in a message, and what kept anybody from looking at all of it.
#[derive(Debug, Default)]
pub struct Report {
    /// What was found, in the order in which it was met.
    pub findings: Vec<Finding>,
    /// True if there was more to decode than the message may cost.
    pub exhausted: bool,
    /// Where something begins that is to be held back and may go on in what follows the text.
    pub undecided: Option<usize>,
    seen: HashSet<(Arc<str>, Arc<str>, usize, usize)>,
    /// How many of them block.
    blocking: usize,
}

impl Report {
    /// The strictest thing to be done.
    pub fn action(&self) -> Action {
        self.findings.iter().map(|finding| finding.action).max().unwrap_or(Action::Off)
    }

    /// True if all was looked at and there is nothing.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && !self.exhausted && self.undecided.is_none()
    }
}

impl Lens {
    /// Looks at a text, and at what its `joined` pieces make.
    pub fn scan(&self, surface: &Surface<'_>, joined: Vec<View<'static>>, report: &mut Report) {
        self.scan_from(View::raw(surface.text), surface, joined, report);
    }

    /// The same, of as much of the text as there is in `first`.
    pub fn scan_from(&self, first: View<'_>, surface: &Surface<'_>, joined: Vec<View<'static>>, report: &mut Report) {
        let mut budget = Budget::of(surface.text.len());
        let mut queue: Vec<View<'_>> = joined.into_iter().collect();
        queue.push(first);
        let mut derived: Vec<View<'static>> = Vec::new();
        while let Some(view) = queue.pop() {
            let blanks = self.look(&view, surface, report);
            if let Some(normal) = normalise(&view) {
                let blanks = self.look(&normal, surface, report);
                if normal.depth() < DEPTH {
                    derive(&normal, &blanks, &mut budget, &mut derived);
                }
            }
            if view.depth() < DEPTH {
                derive(&view, &blanks, &mut budget, &mut derived);
            }
            for view in derived.drain(..) {
                queue.push(view);
            }
        }
        report.exhausted |= budget.is_exhausted();
    }

    /// True if something would be replaced: then the message changes its length.
    pub fn may_redact(&self) -> bool {
        self.actions.may_redact() || self.on_known == Action::Redact || self.on_canary == Action::Redact
    }

    /// True of a value that is let pass whatever rule finds it: what agents hold in a credential's place.
    pub fn lets_pass(&self, value: &[u8]) -> bool {
        self.exemptions.iter().any(|e| e.rule.is_none() && e.value.is_some() && e.covers("", value))
    }

    /// Those values that are not let pass whatever they are.
    pub fn unexempt(&self, text: &[u8], mut values: Vec<Range<usize>>) -> Vec<Range<usize>> {
        values.retain(|range| !text.get(range.clone()).is_some_and(|value| self.lets_pass(value)));
        values
    }

    /// A number that is another where other things would be found.
    pub fn version(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        let rules = (self.detector.version(), self.known.version(), self.actions.version());
        (rules, self.enforced, self.exemptions.len()).hash(&mut hasher);
        // Most messages have none.
        self.exemptions.iter().for_each(|exemption| format!("{exemption:?}").hash(&mut hasher));
        hasher.finish()
    }

    /// Notes what is in a view, and tells where in it it matters what stands for a blank.
    fn look(&self, view: &View<'_>, surface: &Surface<'_>, report: &mut Report) -> Vec<Range<usize>> {
        let mut blanks = Vec::new();
        self.known.find(&view.bytes, &mut |found| self.note_known(&found, view, surface, report));
        if !self.known.is_empty()
            && let Some(blankless) = view.without_blanks()
        {
            self.known.find(&blankless.bytes, &mut |found| self.note_known(&found, &blankless, surface, report));
        }
        // What is blocked a thousand times is blocked: nobody needs to be told more, and looking on takes its time.
        if self.actions.is_off() || report.blocking > detector::MOST {
            return blanks;
        }
        let split = view.chain.contains(&Step::Split) || surface.chain.contains(&Step::Split);
        // What stands side by side only because it was put there has no name before it and no words around it; and
        // what is in one piece of it was looked at there.
        let joined = view.chain.contains(&Step::Split);
        let in_one_piece = |range: &Range<usize>| joined && view.surface(range.clone()).len() == range.len();
        let blocking = Cell::new(0);
        let blocks = |found: &Match| {
            let blocks = !split && self.action(found, view) == Action::Block;
            blocking.set(blocking.get() + usize::from(blocks));
            blocks
        };
        let mut note_all = |blocks: &dyn Fn(&Match) -> bool, report: &mut Report| {
            for found in self.detector.find_with(&view.bytes, self.actions.wants_orders(), blocks, &mut blanks) {
                let whole =
                    found.is_structured() && found.confidence >= Confidence::High && !in_one_piece(&found.range);
                if !split || whole {
                    self.note(found, view, surface, report);
                }
            }
        };
        note_all(&blocks, report);
        // Of two that find the same one is named, and that one may be let pass: then nothing has ended the search.
        if blocking.get() > detector::MOST && report.blocking == 0 {
            note_all(&|_| false, report);
        }
        let mut note = |found: numbers::Match| {
            // One of ten numbers has the sum of a card: only what is beyond doubt counts where any may stand side by side.
            if split && (found.confidence < Confidence::Confirmed || in_one_piece(&found.range)) {
                return;
            }
            if let Some(found) = self.detector.number(&found) {
                self.note(found, view, surface, report);
            }
        };
        numbers::find(&view.bytes, &mut note);
        if !split {
            mnemonic::find(&view.bytes, &mut note);
            if self.actions.wants_contact() {
                numbers::contact::find(&view.bytes, &mut note);
            }
        }
        blanks
    }

    fn note_known(&self, found: &KnownMatch<'_>, view: &View<'_>, surface: &Surface<'_>, report: &mut Report) {
        let (name, action) = match found.held.kind {
            Kind::Credential => (format!("known-secret:{}", found.held.name), self.on_known),
            Kind::Canary => (format!("canary:{}", found.held.name), self.on_canary),
        };
        let range = view.surface(found.range.clone());
        let range = range.start + surface.offset..range.end + surface.offset;
        let rule: Arc<str> = name.into();
        if !report.seen.insert((rule.clone(), surface.name(), range.start, range.end)) {
            return;
        }
        let (surface_name, place) = self.place(surface, range.start - surface.offset);
        let chain = surface.chain.iter().chain(&view.chain).chain(&found.step).copied().collect();
        report.findings.push(Finding {
            rule,
            category: found.held.category(),
            confidence: found.confidence(),
            action,
            surface: surface_name,
            place,
            chain,
            range,
            example: false,
            fingerprint: self.fingerprint(found.held.name.as_bytes()),
        });
    }

    /// What is done about a finding.
    fn action(&self, found: &Match, view: &View<'_>) -> Action {
        let action = self.actions.of(found);
        let value = view.bytes.get(found.range.clone()).unwrap_or_default();
        if action == Action::Off || self.exemptions.iter().any(|exemption| exemption.covers(&found.rule, value)) {
            return Action::Off;
        }
        let lenient = !self.enforced || (found.example && self.examples_pass);
        if lenient { action.min(Action::Monitor) } else { action }
    }

    fn note(&self, found: Match, view: &View<'_>, surface: &Surface<'_>, report: &mut Report) {
        let action = self.action(&found, view);
        if action == Action::Off {
            return;
        }
        let range = view.surface(found.range.clone());
        let goes_on = !surface.ends && range.end == surface.text.len();
        let range = range.start + surface.offset..range.end + surface.offset;
        if goes_on {
            if action > Action::Monitor {
                report.undecided = Some(report.undecided.map_or(range.start, |at| at.min(range.start)));
            }
            return;
        }
        if !report.seen.insert((found.rule.clone(), surface.name(), range.start, range.end)) {
            return;
        }
        let value = view.bytes.get(found.range.clone()).unwrap_or_default();
        report.blocking += usize::from(action == Action::Block);
        let (name, place) = self.place(surface, range.start - surface.offset);
        report.findings.push(Finding {
            rule: found.rule,
            category: found.category,
            confidence: found.confidence,
            action,
            surface: name,
            place,
            chain: surface.chain.iter().chain(&view.chain).copied().collect(),
            range,
            example: found.example,
            fingerprint: self.fingerprint(value),
        });
    }

    /// Where in a surface something is. Names in it are the agent's, and may themselves be what must not be told.
    fn place(&self, surface: &Surface<'_>, at: usize) -> (Arc<str>, Option<Box<str>>) {
        let (name, place) = surface.place(at);
        let is_fit = |place: &str| {
            let mut found = false;
            self.known.find(place.as_bytes(), &mut |_| found = true);
            numbers::find(place.as_bytes(), &mut |_| found = true);
            !found && self.detector.find(place.as_bytes()).is_empty()
        };
        let name = match name.rsplit_once("header ") {
            Some((whose, field)) if !is_name(field.as_bytes()) || !is_fit(field) => format!("{whose}header [?]").into(),
            _ => name,
        };
        (name, place.filter(|place| is_fit(place)))
    }

    fn fingerprint(&self, value: &[u8]) -> u64 {
        let digest = Sha256::new().chain_update(*self.key).chain_update(value).finalize();
        digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

/// What looks for these rules and does this.
#[cfg(test)]
pub(super) fn lens_of(rules: &str, actions: Actions) -> Lens {
    use super::rule::Rule;

    let sources: Vec<_> = serde_yaml::from_str(rules).unwrap();
    let rules = sources.into_iter().map(|source| Arc::new(Rule::new(source).unwrap())).collect();
    Lens {
        detector: Arc::new(Detector::new(rules).unwrap()),
        actions,
        exemptions: Vec::new(),
        examples_pass: false,
        enforced: true,
        key: Arc::new([0; 32]),
        known: Arc::default(),
        on_known: Action::Block,
        on_canary: Action::Block,
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::{Profile, Selector};
    use super::super::surface::Layout;
    use super::*;

    const RULES: &str = "[{id: vendor-token, keywords: [vnd_], pattern: 'vnd_[A-Za-z0-9]{16}'}]";

    fn report(lens: &Lens, text: &str) -> Report {
        let mut report = Report::default();
        lens.scan(&Surface::new(text.as_bytes(), Layout::Plain("body".into())), Vec::new(), &mut report);
        report
    }

    #[test]
    fn what_is_blocked_a_thousand_times_is_looked_at_no_further_and_what_is_replaced_is() {
        let text: String = (0..5 * detector::MOST).map(|at| format!("vnd_q8Zr3vTn5kLw{at:04} ")).collect();
        let blocked = report(&lens_of(RULES, Profile::default_profile().requests), &text);
        assert!((detector::MOST..2 * detector::MOST + 2).contains(&blocked.findings.len()));
        assert_eq!((blocked.action(), blocked.exhausted), (Action::Block, false));
        for action in [Action::Redact, Action::Monitor] {
            let lens = lens_of(RULES, Actions::new([(Selector::Category("credentials".into()), action)]));
            // And once more as groups of one length.
            assert!(report(&lens, &text).findings.len() >= 5 * detector::MOST);
        }
    }

    #[test]
    fn what_another_rule_names_does_not_keep_anybody_from_looking_on() {
        let rules = "[{id: vendor-token, keywords: [vnd_], pattern: 'vnd_[A-Za-z0-9]{16}'}, \
            {id: named-token, keywords: [token], reach: assigned, pattern: 'vnd_[A-Za-z0-9]{16}'}, \
            {id: other-token, keywords: [oth_], pattern: 'oth_[A-Za-z0-9]{16}'}]";
        let text = "token: vnd_q8Zr3vTn5kLw0000 ".repeat(2 * detector::MOST) + "oth_q8Zr3vTn5kLw0001";
        let actions = Actions::new([
            (Selector::Rule("vendor-token".into()), Action::Off),
            (Selector::Category("credentials".into()), Action::Block),
        ]);
        let report = report(&lens_of(rules, actions), &text);
        assert_eq!(report.findings.iter().map(|found| &*found.rule).collect::<Vec<_>>(), ["other-token"]);
    }

    #[test]
    fn what_is_let_pass_does_not_keep_anybody_from_looking_on() {
        let text = "vnd_q8Zr3vTn5kLw0000 ".repeat(2 * detector::MOST) + "vnd_q8Zr3vTn5kLw0001";
        let mut lens = lens_of(RULES, Profile::default_profile().requests);
        let value = Some(Sha256::digest(b"vnd_q8Zr3vTn5kLw0000").into());
        lens.exemptions.push(Arc::new(Exemption { rule: None, host: None, path: None, agents: None, value }));
        assert_eq!(report(&lens, &text).findings.len(), 1);
    }
}
