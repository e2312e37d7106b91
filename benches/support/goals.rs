//! The goals of `benches/goals.toml`, and whether a figure meets one.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The variable that names a file into which figures are written as JSON lines, for `goals` to gather.
pub const FIGURES: &str = "BENCHMARK_FIGURES";

/// One thing that is to hold.
#[derive(Deserialize)]
pub struct Goal {
    /// `P1`, or `P10 heads` where a goal has several figures.
    pub id: String,
    /// What is measured, in words.
    pub what: String,
    /// What the figure counts.
    pub unit: String,
    /// The target, and what would be better still.
    pub target: f64,
    pub stretch: f64,
    /// Whether a larger figure is the better one.
    #[serde(default)]
    pub at_least: bool,
    /// The benchmark and its arguments that measure it.
    pub bench: Vec<String>,
    /// Why it is not met, or what the figure is to be read with.
    #[serde(default)]
    pub remark: String,
}

/// A figure that was measured.
#[derive(Serialize, Deserialize)]
pub struct Figure {
    /// The goal's.
    pub id: String,
    pub figure: f64,
    /// What goes with it.
    pub note: String,
}

/// How far a figure is from its goal.
#[derive(Clone, Copy, PartialEq)]
pub enum Met {
    Stretch,
    Target,
    No,
}

/// All of them, in order.
pub fn goals() -> Vec<Goal> {
    #[derive(Deserialize)]
    struct File {
        goal: Vec<Goal>,
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/goals.toml");
    let text = std::fs::read_to_string(file).expect("the goals can be read");
    toml::from_str::<File>(&text).unwrap_or_else(|error| panic!("benches/goals.toml: {error}")).goal
}

/// Prints a figure beside its goal.
pub fn say(id: &str, figure: f64, note: impl Into<String>) {
    let goals = goals();
    let goal = goals.iter().find(|goal| goal.id == id).unwrap_or_else(|| panic!("there is no goal `{id}`"));
    let note = note.into();
    println!("{id:10} {:>9}  {} ({}); {}", goal.show(figure), goal.met(figure).as_str(), goal.bounds(), goal.what);
    if !note.is_empty() {
        println!("{:22}{note}", "");
    }
    if let Some(file) = std::env::var_os(FIGURES) {
        let line = serde_json::to_string(&Figure { id: id.to_owned(), figure, note }).expect("a line");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        writeln!(file.expect("figures can be written"), "{line}").expect("figures can be written");
    }
}

impl Goal {
    /// Whether it is met.
    pub fn met(&self, figure: f64) -> Met {
        let within = |bound: f64| if self.at_least { figure >= bound } else { figure <= bound };
        match figure {
            _ if within(self.stretch) => Met::Stretch,
            _ if within(self.target) => Met::Target,
            _ => Met::No,
        }
    }

    /// A figure with its unit, as many digits as can be believed.
    pub fn show(&self, figure: f64) -> String {
        let digits = match figure.abs() {
            10_000.0.. if self.unit == "instructions" => return format!("{:.1}k", figure / 1000.0),
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        let space = if matches!(&*self.unit, "×" | "%") { "" } else { " " };
        let unit = if self.unit == "instructions" { "" } else { &self.unit };
        format!("{figure:.digits$}{space}{unit}").trim_end().to_owned()
    }

    /// Target and stretch.
    pub fn bounds(&self) -> String {
        let sign = if self.at_least { '≥' } else { '≤' };
        format!("target {sign} {}, stretch {sign} {}", self.show(self.target), self.show(self.stretch))
    }
}

impl Met {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stretch => "met, stretch too",
            Self::Target => "met",
            Self::No => "not met",
        }
    }
}
