//! Bodies in any coding, cut in any way. First byte: the codings; second: the size of the pieces.
#![no_main]

use attache::pipeline::dlp::inflate::{Coding, Inflater, Undecodable};
use libfuzzer_sys::fuzz_target;

const CODINGS: [&[Coding]; 6] = [
    &[Coding::Gzip],
    &[Coding::Deflate],
    &[Coding::Brotli],
    &[Coding::Zstd],
    &[Coding::Gzip, Coding::Brotli],
    &[Coding::Zstd, Coding::Gzip],
];

fuzz_target!(|bytes: &[u8]| {
    let [which, size, body @ ..] = bytes else { return };
    let codings = CODINGS[usize::from(*which) % CODINGS.len()];
    let whole = undone(codings, body, body.len().max(1));
    let pieces = undone(codings, body, usize::from(*size).max(1));
    // Where a bomb ends depends on how much came before it is looked at.
    if whole != Err(Undecodable::TooLarge) && pieces != Err(Undecodable::TooLarge) {
        assert_eq!(whole.is_ok(), pieces.is_ok());
        if whole.is_ok() {
            assert_eq!(whole, pieces);
        }
    }
});

fn undone(codings: &[Coding], body: &[u8], size: usize) -> Result<Vec<u8>, Undecodable> {
    let mut inflater = Inflater::new(codings);
    let mut out = Vec::new();
    let result = body.chunks(size).try_for_each(|piece| inflater.push(piece, &mut out));
    assert!(out.len() <= (1 << 20) + 100 * body.len(), "{} of {}", out.len(), body.len());
    result.and_then(|()| inflater.finish(&mut out)).map(|()| out)
}
