//! `attache explain`: what becomes of one request, and why.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::SystemTime;

use jiff::Timestamp;

use super::output::{Format, colours, json_line};
use super::rehearse::{PolicyArgs, Stage};
use super::trace::Trace;
use super::{Failure, Outcome};
use crate::rehearsal::Request;

/// Say what becomes of a request, and why: its way through every stage, with the entries that decide
///
/// Nothing is sent, looked up or counted, and no secret is needed: the request is decided as live traffic is, in a
/// world where every name resolves and every secret is there. `https://` is asked as through a tunnel, `http://` as to
/// the proxy itself.
///
/// Who calls is what --agent says, or the identity that the request shows: a proxy token as
/// `-H 'Proxy-Authorization: Bearer TOKEN'`, a trusted header, --source.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache explain --policy policy.yaml --agent researcher GET https://api.arxiv.org/abs/2401.1
  attache explain --policy policy.yaml --agent coder -d '{\"n\": 1}' POST https://api.example.com/v1/items
  attache explain --policy policy.yaml --exit-code -o json GET https://pastebin.com/ | jq .reason

Exit codes:
  0  it could be explained; with --exit-code: the request would go out
  2  wrong usage, or the policy has an error
  3  with --exit-code: the request would not go out, or not before a person approves")]
pub struct Args {
    #[command(flatten)]
    policy: PolicyArgs,

    /// Who sends it, whatever identity it shows
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,

    /// The method
    #[arg(value_name = "METHOD")]
    method: String,

    /// The absolute URL
    #[arg(value_name = "URL")]
    url: String,

    /// A header of the request; may be given more than once
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// The body: text, `@FILE` for a file's content, or `@-` for stdin
    #[arg(short, long, value_name = "TEXT|@FILE")]
    data: Option<String>,

    /// When it is sent, as 2026-11-20T14:30:00Z; now if not given
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,

    /// The address it comes from
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,

    /// Exit with 3 where the request would not go out
    #[arg(long)]
    exit_code: bool,

    /// Form of the output; json is one object, described in docs/testing.md
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let request = args.request()?;
    let stage = Stage::set(&args.policy, args.agent.as_deref())?;
    let ended = stage.rehearsal.run(&request);
    let trace = Trace::of(&stage, &request, &ended);
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Text => write!(out, "{}", trace.text(colours()))?,
        Format::Json => writeln!(out, "{}", json_line(&trace.json())?)?,
    }
    let refused = args.exit_code && !ended.is_admitted();
    Ok(if refused { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

impl Args {
    fn request(&self) -> Result<Request, Failure> {
        let at = self.at.map_or_else(SystemTime::now, SystemTime::from);
        let mut request = Request::new(&self.method, &self.url, at).map_err(Failure::usage)?;
        for header in &self.headers {
            let (name, value) =
                header.split_once(':').ok_or_else(|| Failure::usage("`-H` takes a header as `Name: value`"))?;
            request.add_header(name, value).map_err(Failure::usage)?;
        }
        request.body = self.data.as_deref().map(body).transpose()?.unwrap_or_default();
        Ok(Request { agent: self.agent.clone(), source: self.source, ..request })
    }
}

fn body(data: &str) -> Result<Vec<u8>, Failure> {
    let Some(file) = data.strip_prefix('@') else { return Ok(data.as_bytes().to_vec()) };
    let mut body = Vec::new();
    let read = match file {
        "-" => std::io::stdin().lock().read_to_end(&mut body).map(|_| body),
        file => std::fs::read(file),
    };
    read.map_err(|error| Failure::usage(format!("the body in `{file}` cannot be read: {error}")))
}
