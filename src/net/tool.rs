//! Running the tools that change rules.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use thiserror::Error;

/// Why a tool did not do what it was asked for.
#[derive(Debug, Error)]
pub enum ToolError {
    #[error("`{0}` is not there")]
    #[doc = "No such program in PATH."]
    Missing(&'static str),
    #[error("`{0}` cannot be run: {1}")]
    #[doc = "It is there and does not run."]
    Unusable(&'static str, #[source] io::Error),
    #[error("`{command}` failed: {said}")]
    #[doc = "It ran and refused."]
    Failed {
        /// The program with its arguments.
        command: String,
        /// What it wrote to stderr, or how it ended.
        said: String,
    },
}

/// Runs a program to its end; what it wrote to stdout.
pub fn run(program: &'static str, arguments: &[&str], input: &str) -> Result<String, ToolError> {
    run_with(program, arguments, input, &[])
}

/// The same with variables, beside those of this process.
pub fn run_with(
    program: &'static str,
    arguments: &[&str],
    input: &str,
    variables: &[(&str, &str)],
) -> Result<String, ToolError> {
    let mut command = Command::new(program);
    command
        .envs(variables.iter().copied())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ToolError::Missing(program),
        _ => ToolError::Unusable(program, error),
    })?;
    // These tools read all of their input before they write more than a pipe holds. One that ended without reading
    // says why by its exit code.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| ToolError::Unusable(program, error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The rest repeats the rules with marks under them.
    let said: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
    let said = if said.is_empty() { output.status.to_string() } else { said.join(" ") };
    Err(ToolError::Failed { command: [&[program], arguments].concat().join(" "), said })
}
