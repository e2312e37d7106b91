//! Bodies that fields are taken out of. First line: the form (`j`, `l`, `e`), `+` or `-`, the length of a piece as a digit,
//! then paths, parted by blanks; the rest: a body.
#![no_main]

use std::sync::Arc;

use attache::pipeline::response_filter::{BadBody, FieldPath, Filter, Form, Projection};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (head, body) = (&input[..end], &input[end + 1..]);
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut words = head.split(' ');
    let [form, kind, length] = words.next().unwrap_or_default().as_bytes() else { return };
    let form = match form {
        b'j' => Form::Json,
        b'l' => Form::Lines,
        b'e' => Form::Events,
        _ => return,
    };
    let mut paths = Vec::new();
    for word in words {
        let Ok(path) = FieldPath::parse(word) else { return };
        assert_eq!(FieldPath::parse(&path.to_string()).as_ref(), Ok(&path), "a path is read as it is shown");
        paths.push(path);
    }
    let filter = Arc::new(if *kind == b'+' { Filter::include(paths) } else { Filter::exclude(paths) });
    let whole = filtered(&filter, form, body, body.len().max(1));
    let pieces = usize::from(length.saturating_sub(b'0').clamp(1, 9));
    assert_eq!(filtered(&filter, form, body, pieces), whole, "it comes in pieces");
    let Ok(whole) = whole else { return };
    assert_eq!(filtered(&filter, form, &whole, whole.len().max(1)).as_ref(), Ok(&whole), "what has passed passes");
    assert!(whole.len() <= 8 * body.len() + 8, "nothing is made up");
});

fn filtered(filter: &Arc<Filter>, form: Form, body: &[u8], length: usize) -> Result<Vec<u8>, BadBody> {
    let mut projection = Projection::new([filter.clone()], form);
    let mut out = Vec::new();
    for piece in body.chunks(length) {
        projection.push(piece, &mut out)?;
    }
    projection.finish(&mut out)?;
    Ok(out)
}
