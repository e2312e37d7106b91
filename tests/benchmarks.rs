//! The goals, their page and the commands in it belong together.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const MANIFEST: &str = include_str!("../Cargo.toml");
const GOALS: &str = include_str!("../benches/goals.toml");
const GATES: &str = include_str!("../benches/gates.toml");
const RESULTS: &str = include_str!("../benches/RESULTS.md");

/// Each goal's id, the benchmark that measures it, and what is remarked.
fn goals() -> Vec<(String, String, String)> {
    let file: toml::Table = toml::from_str(GOALS).unwrap();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let remark = |goal: &toml::Value| goal.get("remark").map(text).unwrap_or_default();
    let goals = file["goal"].as_array().unwrap().iter();
    goals.map(|goal| (text(&goal["id"]), text(&goal["bench"][0]), remark(goal))).collect()
}

#[test]
fn every_goal_is_measured_by_a_benchmark_that_is_there() {
    let manifest: toml::Table = toml::from_str(MANIFEST).unwrap();
    let benches: BTreeSet<_> =
        manifest["bench"].as_array().unwrap().iter().map(|bench| bench["name"].as_str().unwrap()).collect();
    let goals = goals();
    for (id, bench, _) in &goals {
        assert!(benches.contains(&**bench), "{id}: there is no benchmark `{bench}`");
    }
    let numbers: BTreeSet<_> = goals.iter().map(|(id, ..)| id.split(' ').next().unwrap().to_owned()).collect();
    let expected: BTreeSet<_> = (1..=12).map(|number| format!("P{number}")).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn the_page_has_a_row_with_a_figure_for_every_goal_and_one_that_is_missed_says_why() {
    for (id, bench, remark) in goals() {
        let row = RESULTS.lines().find(|line| line.starts_with(&format!("| {id} |")));
        let row = row.unwrap_or_else(|| panic!("{id} has no row: cargo bench --bench goals"));
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, _, _, _, figure, met, command, why, _] = cells[..] else { panic!("{id}: {row}") };
        assert!(figure.starts_with(|first: char| first.is_ascii_digit()), "{id} was not measured: {row}");
        assert!(command.starts_with(&format!("`cargo bench --bench {bench}")), "{id}: {command}");
        assert!(why.ends_with(&remark), "{id}: the page has another remark: cargo bench --bench goals -- --page");
        assert!(!met.contains("not met") || !remark.is_empty(), "{id} is not met, and nothing says why");
    }
}

#[test]
fn every_plot_of_the_page_lies_beside_its_figures() {
    let plots: Vec<_> = RESULTS.split("](plots/").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert_eq!(plots.len(), 3);
    for plot in plots {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/plots").join(plot);
        assert!(file.exists(), "{plot} is not there: cargo bench --bench curves");
        let figures = std::fs::read_to_string(file.with_extension("csv")).unwrap();
        assert!(figures.lines().filter(|line| line.starts_with("attaché,")).count() > 3, "{plot}: {figures}");
    }
}

#[test]
fn there_are_ceilings_for_a_request_a_decision_and_a_scan() {
    let gates: BTreeMap<String, u64> = toml::from_str(GATES).unwrap();
    for kind in ["request", "decision", "scan", "record"] {
        assert!(gates.iter().any(|(name, ceiling)| name.starts_with(kind) && *ceiling > 0), "{kind}: {gates:?}");
    }
}
