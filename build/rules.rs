//! Reads the rules that are built in and their patterns, so that nobody has to at each start.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use serde_json::{Value, json};

#[path = "../src/pipeline/dlp/shape.rs"]
mod shape;

const FOLDER: &str = "src/pipeline/dlp/rules";

/// The files, in the order in which their rules are tried.
const FILES: [&str; 15] = [
    "vcs",
    "cloud",
    "ai",
    "payment",
    "messaging",
    "monitoring",
    "ci",
    "data",
    "saas",
    "infrastructure",
    "keys",
    "generic",
    "crypto",
    "pii",
    "injection",
];

/// Writes `rules.json`: for each rule what is written of it, and what its pattern says.
pub fn write() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={FOLDER}");
    println!("cargo:rerun-if-changed=src/pipeline/dlp/shape.rs");
    let mut built = Vec::new();
    for name in FILES {
        let file = Path::new(FOLDER).join(name).with_extension("yaml");
        let rules: Vec<Value> =
            serde_yaml::from_str(&fs::read_to_string(&file)?).map_err(|error| format!("{name}.yaml: {error}"))?;
        for rule in rules {
            let id = rule["id"].as_str().unwrap_or_default().to_owned();
            built.push(read(rule).map_err(|error| format!("{name}.yaml: `{id}`: {error}"))?);
        }
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("rules.json"), serde_json::to_vec(&built)?)?;
    Ok(())
}

fn read(rule: Value) -> Result<Value, Box<dyn Error>> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("a text is missing");
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Result<Vec<_>, _>>();
    for pattern in texts(&rule["allow"])? {
        shape::parse(&pattern)?;
    }
    let shape = shape::Shape::of(&text(&rule["pattern"])?, &texts(&rule["keywords"])?)?;
    let shape = json!([shape.least, shape.most, shape.groups, shape.begins_with_keyword, shape.has_blanks]);
    Ok(json!([rule, shape]))
}
