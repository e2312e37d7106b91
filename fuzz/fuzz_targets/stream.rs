//! Bodies on their way, with the rules that come with attaché: what is found does not hang on how they are cut. First byte:
//! how; second: the size of the pieces.
#![no_main]

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use attache::pipeline::dlp::built_in;
use attache::pipeline::dlp::finding::{Action, Confidence};
use attache::pipeline::dlp::known::{Held, Known};
use attache::pipeline::dlp::profile::{Actions, Selector};
use attache::pipeline::dlp::scan::Lens;
use attache::pipeline::dlp::stream::{BodyStream, Emit, Fault, Label};
use libfuzzer_sys::fuzz_target;

/// What attaché holds itself.
const HELD: &[u8] = b"q8Zr3vTn5kLw0pXyC7dE1fGhJ2";

static LENSES: LazyLock<[Lens; 3]> = LazyLock::new(|| [Action::Monitor, Action::Redact, Action::Block].map(lens));

fn lens(action: Action) -> Lens {
    let every = ["credentials", "crypto", "pii"].map(|category| (Selector::Category(category.into()), action));
    let (known, _) = Known::new([(Held::credential("held"), HELD)], &[""; 0]);
    Lens {
        detector: built_in().expect("they are read").clone(),
        actions: Actions::new(every),
        exemptions: Vec::new(),
        examples_pass: false,
        enforced: true,
        key: Arc::new([0; 32]),
        known: Arc::new(known),
        on_known: action,
        on_canary: action,
    }
}

fuzz_target!(|input: &[u8]| {
    let [how, size, body @ ..] = input else { return };
    let [monitor, redact, block] = &*LENSES;
    let size = usize::from(*size).max(1);
    let (whole, found, out) = passed(monitor, body, body.len().max(1));
    let (cut, found_cut, out_cut) = passed(monitor, body, size);
    if whole == Ok(()) && cut == Ok(()) {
        assert!(out == body && out_cut == body, "what is only watched goes on as it came");
        // How far a place goes on may be told in more than one way. Of what is not sure, what stands around it may tell that
        // it is none: a number among numbers, a name among bytes of no text.
        let is_in = |one: &Found, other: &Found| {
            let same = |(rule, range, _): &(String, Range<usize>, Confidence),
                        (also, there, _): &(String, Range<usize>, Confidence)| {
                rule == also && range.start < there.end && there.start < range.end
            };
            let is_sure = |found: &&(String, Range<usize>, Confidence)| found.2 == Confidence::Confirmed;
            one.iter().filter(is_sure).all(|found| other.iter().any(|there| same(found, there)))
        };
        let alike = is_in(&found, &found_cut) && is_in(&found_cut, &found);
        assert!(alike, "cut into pieces of {size}: {found_cut:?}, {found:?}");
    }
    let (lens, size) = if how & 1 == 0 { (redact, size) } else { (block, size) };
    let (ended, found, out) = passed(lens, body, size);
    assert!(!holds(&out), "what attaché holds goes out");
    assert!(!holds(body) || !found.is_empty() || ended.is_err(), "what attaché holds is not found");
});

fn holds(text: &[u8]) -> bool {
    text.windows(HELD.len()).any(|window| window == HELD)
}

type Found = Vec<(String, Range<usize>, Confidence)>;

fn passed(lens: &Lens, body: &[u8], size: usize) -> (Result<(), Fault>, Found, Vec<u8>) {
    let mut stream = BodyStream::new(lens.clone(), "body".into(), &[], Emit::AsSent, Label::Named);
    let mut out = Vec::new();
    let ended = body.chunks(size).try_for_each(|piece| stream.push(piece, &mut out));
    let ended = ended.and_then(|()| stream.finish(&mut out));
    let mut found: Found =
        stream.findings().iter().map(|f| (f.rule.to_string(), f.range.clone(), f.confidence)).collect();
    found.sort_by(|a, b| (a.1.start, a.1.end, &a.0).cmp(&(b.1.start, b.1.end, &b.0)));
    (ended, found, out)
}
