//! What a text may be decoded to, and how it looks.
#![no_main]

use attache::pipeline::dlp::decode::{Budget, derive};
use attache::pipeline::dlp::normalise::normalise;
use attache::pipeline::dlp::view::View;
use libfuzzer_sys::fuzz_target;

/// As deep as a scan goes.
const DEPTH: usize = 4;

fuzz_target!(|text: &[u8]| {
    let mut budget = Budget::of(text.len());
    let mut views = vec![View::raw(text)];
    let mut decoded = 0;
    while let Some(view) = views.pop() {
        let range = view.surface(0..view.bytes.len());
        assert!(range.start <= range.end && range.end <= text.len(), "{range:?} of {}", text.len());
        for at in [0, view.bytes.len() / 2, view.bytes.len()] {
            let place = view.surface(at..at);
            assert!(place.start <= place.end && place.end <= text.len(), "{place:?} of {}", text.len());
        }
        let mut found = Vec::new();
        if view.depth() < DEPTH {
            derive(&view, &[], &mut budget, &mut found);
        }
        decoded += found.iter().map(|view| view.bytes.len()).sum::<usize>();
        if let Some(normal) = normalise(&view).filter(|_| view.depth() < DEPTH) {
            found.push(normal);
        }
        views.extend(found);
    }
    assert!(decoded <= (text.len() * 8).max(256 << 10), "{decoded} bytes of {}", text.len());
});
