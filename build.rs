//! Compiles our own control API (Envoy's messages come compiled from `envoy-types`), and reads the rules that are built in.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use serde_json::{Value, json};

#[path = "src/pipeline/dlp/shape.rs"]
mod shape;

fn main() -> Result<(), Box<dyn Error>> {
    let proto = "attache/control/v1/control.proto";
    println!("cargo:rerun-if-changed=proto/{proto}");
    let descriptors = protox::compile([proto], ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    write_rules()
}

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

/// Writes `rules.json`: for each rule what is written of it but its examples, and what its pattern says, so that nobody
/// has to read that at each start; and `examples.json`: for each id its examples.
fn write_rules() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={FOLDER}");
    println!("cargo:rerun-if-changed=src/pipeline/dlp/shape.rs");
    let (mut built, mut examples) = (Vec::new(), Vec::new());
    for name in FILES {
        let file = Path::new(FOLDER).join(name).with_extension("yaml");
        let rules: Vec<Value> =
            serde_yaml::from_str(&fs::read_to_string(&file)?).map_err(|error| format!("{name}.yaml: {error}"))?;
        for mut rule in rules {
            let id = rule.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            // They are more than all the rest, and whoever serves tries none.
            let tried = rule.as_object_mut().and_then(|rule| rule.remove("examples")).unwrap_or_else(|| json!({}));
            examples.push(json!([id, tried]));
            built.push(read(rule).map_err(|error| format!("{name}.yaml: `{id}`: {error}"))?);
        }
    }
    let folder = env::var("OUT_DIR")?;
    fs::write(Path::new(&folder).join("rules.json"), serde_json::to_vec(&built)?)?;
    fs::write(Path::new(&folder).join("examples.json"), serde_json::to_vec(&examples)?)?;
    Ok(())
}

fn read(rule: Value) -> Result<Value, Box<dyn Error>> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("a text is missing");
    let texts = |value: Option<&Value>| {
        value.and_then(Value::as_array).into_iter().flatten().map(text).collect::<Result<Vec<_>, _>>()
    };
    for pattern in texts(rule.get("allow"))? {
        shape::parse(&pattern)?;
    }
    let shape = shape::Shape::of(&text(rule.get("pattern").unwrap_or(&Value::Null))?, &texts(rule.get("keywords"))?)?;
    let shape = json!([
        shape.least,
        shape.most,
        shape.groups,
        shape.begins_with_keyword,
        shape.has_blanks,
        shape.solid,
        shape.whole,
        shape.has_at
    ]);
    Ok(json!([rule, shape]))
}
