//! What a start takes before anything is served. Alone in its process: what is built once would have been built before.
#![cfg(test)]

/// What is kept of the rules that are built in before any is tried, and what reading them takes for a moment.
#[test]
fn the_rules_that_are_built_in_are_kept_small() {
    let mut rules = 0;
    let counted = allocation_counter::measure(|| rules = attache::pipeline::dlp::built_in().unwrap().rules().len());
    assert!(rules > 1000, "{rules}");
    let (kept, most, times) = (counted.bytes_current, counted.bytes_max, counted.count_total);
    let expected = 5 << 19..7 << 19;
    assert!(
        expected.contains(&kept) && expected.contains(&(most as i64)) && times < 70_000,
        "{kept} bytes are kept, {most} at most, {times} allocations"
    );
}
