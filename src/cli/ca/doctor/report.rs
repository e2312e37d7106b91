//! What was found, and what to do about it.

use std::ffi::OsString;
use std::fmt;

use serde_json::{Map, Value, json};

use super::super::super::output::printable;
use super::super::{Shell, render};
use super::checks::{State, Trust, Variable};
use super::probe::{Reached, Tried};
use super::program::{Kind, Program, URL};
use crate::cli::agent_env::java_trust_options;

/// A report in the making.
pub struct Report<'a> {
    command: &'a [OsString],
    trust: Option<&'a Trust>,
    variables: Vec<Variable>,
    program: Option<Program>,
    tried: Vec<Tried>,
}

impl<'a> Report<'a> {
    /// What can be said before anything was tried.
    pub fn new(command: &'a [OsString], trust: Option<&'a Trust>) -> Self {
        let variables = trust.map(Trust::variables).unwrap_or_default();
        Self { command, trust, variables, program: None, tried: Vec::new() }
    }

    /// Adds what became of the requests.
    pub fn tried(&mut self, program: Program, tried: Vec<Tried>) {
        self.program = Some(program);
        self.tried = tried;
    }

    /// Whether the CA is trusted, and a stranger is not.
    pub fn is_good(&self) -> bool {
        let tried = match self.command {
            [] => self.variables.iter().all(|variable| variable.state == State::HoldsCa),
            _ => !self.tried.is_empty() && self.tried.iter().all(|tried| self.trusts(tried) && !trusts_anyone(tried)),
        };
        tried && self.trust.is_none_or(|trust| trust.problems.is_empty())
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let reached = |reached: &Reached| match reached {
            Reached::Yes => json!({"trusted": true, "error": null}),
            Reached::No(error) => json!({"trusted": false, "error": error}),
        };
        let clients = self.tried.iter().map(|tried| {
            json!({
                "name": tried.stack,
                "version": tried.version,
                "asItIs": reached(&tried.as_it_is),
                "withVariables": reached(&tried.with_variables),
                "trustsAnyone": trusts_anyone(tried),
            })
        });
        let variables = self.variables.iter().map(|variable| {
            let (state, error) = match &variable.state {
                State::HoldsCa => ("holds_ca", None),
                State::WithoutCa => ("without_ca", None),
                State::Unreadable(error) => ("unreadable", Some(error)),
                State::Unset => ("unset", None),
            };
            json!({"name": variable.name, "value": variable.value, "state": state, "error": error})
        });
        let program = self.program.as_ref().map(|program| {
            json!({
                "named": program.named.to_string_lossy(),
                "runs": program.runs.to_string_lossy(),
                "kind": program.kind.word(),
            })
        });
        let set: Map<_, _> = self.to_set().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        json!({
            "trusted": self.is_good(),
            "ca": self.trust.map(|trust| trust.ca.to_string_lossy()),
            "problems": self.trust.map(|trust| trust.problems.as_slice()).unwrap_or_default(),
            "program": program,
            "clients": clients.collect::<Vec<_>>(),
            "variables": variables.collect::<Vec<_>>(),
            "set": set,
            "advice": self.advice(),
        })
    }

    /// Whether a client trusts the CA where it counts: as things are, or where there is no CA yet, with the variables
    /// that come with it.
    fn trusts(&self, tried: &Tried) -> bool {
        let counts = if self.trust.is_some() { &tried.as_it_is } else { &tried.with_variables };
        *counts == Reached::Yes
    }

    /// The variables that would change something, with what attaché sets them to.
    fn to_set(&self) -> Vec<(&'static str, String)> {
        let Some(trust) = self.trust else { return Vec::new() };
        let wanted: Vec<&'static str> = match self.command {
            [] => self.variables.iter().filter(|it| it.state != State::HoldsCa).map(|it| it.name).collect(),
            _ => {
                let helped = |tried: &&Tried| !self.trusts(tried) && tried.with_variables == Reached::Yes;
                let mut names: Vec<_> =
                    self.tried.iter().filter(helped).flat_map(|tried| self.variables_of(&tried.stack)).collect();
                names.sort_unstable();
                names.dedup();
                names
            }
        };
        let value = |name: &'static str| match name {
            "NODE_EXTRA_CA_CERTS" | "DENO_CERT" => Some(trust.ca.display().to_string()),
            "JAVA_TOOL_OPTIONS" => {
                let existing = std::env::var(name).ok();
                java_trust_options(existing.as_deref(), &trust.bundle)
            }
            _ => Some(trust.bundle.display().to_string()),
        };
        wanted.into_iter().filter_map(|name| Some((name, value(name)?))).collect()
    }

    /// Which variables a client reads.
    fn variables_of(&self, stack: &str) -> Vec<&'static str> {
        match stack {
            "requests" => vec!["REQUESTS_CA_BUNDLE"],
            "https" | "fetch" => vec!["NODE_EXTRA_CA_CERTS"],
            "HttpsURLConnection" => vec!["JAVA_TOOL_OPTIONS"],
            "curl" => vec!["CURL_CA_BUNDLE"],
            "git" => vec!["GIT_SSL_CAINFO"],
            // It may be any.
            "program" => match self.program.as_ref().map(|program| &program.kind) {
                Some(Kind::Node) => vec!["NODE_EXTRA_CA_CERTS"],
                Some(Kind::Java) => vec!["JAVA_TOOL_OPTIONS"],
                Some(Kind::Native(native)) if native.is_go => vec!["SSL_CERT_FILE"],
                _ => self.variables.iter().filter(|it| it.state != State::HoldsCa).map(|it| it.name).collect(),
            },
            _ => vec!["SSL_CERT_FILE"],
        }
    }

    /// What to do beside setting variables, and what could not be found out.
    fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        for tried in &self.tried {
            let stack = &tried.stack;
            if trusts_anyone(tried) {
                advice.push(format!(
                    "{stack} trusts anyone: it called a server with a certificate of nobody; something turns its checks off"
                ));
            } else if tried.with_variables != Reached::Yes {
                advice.push(match stack.as_str() {
                    "wget" => "wget reads no variable here (GnuTLS): `--ca-certificate=FILE`, or `ca_certificate = FILE` \
                               in ~/.wgetrc"
                        .to_owned(),
                    "HttpsURLConnection" => "-Djavax.net.ssl.trustStore on the command line counts more than \
                        JAVA_TOOL_OPTIONS: leave it out there, or import the CA into that store with `keytool -importcert`"
                        .to_owned(),
                    "curl" => "--cacert on curl's command line, or in ~/.curlrc, counts more than variables: leave it out"
                        .to_owned(),
                    _ => format!("{stack} does not go by the variables: its own configuration has to name the CA"),
                });
            }
        }
        if self.command.is_empty() {
            return advice;
        }
        if self.tried.is_empty() {
            let by_itself = format!("put {URL} where the program takes an address, and it is tried itself");
            advice.push(match self.program.as_ref().map(|program| &program.kind) {
                Some(Kind::Wrapper) => {
                    format!("it starts other programs, which cannot be seen from here: name the one that calls, or {by_itself}")
                }
                Some(Kind::Native(native)) if native.is_go => {
                    format!("Go reads SSL_CERT_FILE, unless the program has CAs of its own; not tried: {by_itself}")
                }
                Some(Kind::Native(native)) if native.is_static => {
                    format!("a static program, whose TLS library does not show; not tried: {by_itself}")
                }
                Some(Kind::Native(native)) if !native.libraries.is_empty() => {
                    format!("it uses {}; not tried: {by_itself}", native.libraries.join(", "))
                }
                _ => format!("it is not known how this program calls; not tried: {by_itself}"),
            });
        } else if self.program.as_ref().is_some_and(|program| program.with_url.is_none()) {
            advice.push(format!(
                "what the program's own code sets (a CA file, a pinned certificate, checks turned off) was not tried: {URL} \
                 in an argument does, and `attache logs` shows each handshake that failed"
            ));
        }
        let distrusts = self.tried.iter().any(|tried| !self.trusts(tried));
        match self.trust.map(|trust| &trust.system) {
            Some(Some(system)) if distrusts => advice.push(format!(
                "`{}` holds the CA: what goes by the system's CAs trusts it now, and cannot be told apart here",
                system.display()
            )),
            Some(None) if distrusts => advice.push(
                "a CA file that only a client's own configuration names (~/.curlrc, git's http.sslCAInfo) is not seen here"
                    .to_owned(),
            ),
            _ => {}
        }
        if self.trust.is_none() {
            advice.push(
                "no attaché runs: `attache run -- CMD` sets the variables; what counts here is the second column"
                    .to_owned(),
            );
        }
        advice
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(program) = &self.program {
            let named = printable(&program.named.to_string_lossy());
            let runs = printable(&program.runs.to_string_lossy());
            let by = if named == runs { String::new() } else { format!(", {runs}") };
            writeln!(f, "program  {named} ({}{by})", program.kind.word())?;
        }
        match self.trust {
            Some(trust) => writeln!(f, "CA       {}", printable(&trust.ca.display().to_string()))?,
            None => writeln!(f, "CA       none: no attaché runs")?,
        }
        for problem in self.trust.iter().flat_map(|trust| &trust.problems) {
            writeln!(f, "wrong    {}", printable(problem))?;
        }
        if !self.tried.is_empty() {
            let word = |reached: &Reached| if *reached == Reached::Yes { "yes" } else { "no" };
            let name = |tried: &Tried| {
                let version = tried.version.iter().map(|version| format!(" {version}"));
                printable(&std::iter::once(tried.stack.clone()).chain(version).collect::<String>())
            };
            let wide = self.tried.iter().map(|tried| name(tried).len()).max().unwrap_or_default().max("CLIENT".len());
            writeln!(f, "\n{:wide$}  TRUSTS IT NOW  WITH ATTACHÉ'S VARIABLES  TRUSTS ANYONE", "CLIENT")?;
            for tried in &self.tried {
                let (now, set, anyone) = (word(&tried.as_it_is), word(&tried.with_variables), word(&tried.stranger));
                writeln!(f, "{:wide$}  {now:13}  {set:24}  {anyone}", name(tried))?;
            }
            let failed = self.tried.iter().filter_map(|tried| match (&tried.with_variables, &tried.as_it_is) {
                (Reached::No(error), _) => Some((tried, error)),
                (_, Reached::No(error)) if self.trust.is_some() => Some((tried, error)),
                _ => None,
            });
            for (index, (tried, error)) in failed.enumerate() {
                let gap = if index == 0 { "\n" } else { "" };
                writeln!(f, "{gap}{}: {}", tried.stack, printable(error))?;
            }
        }
        if self.command.is_empty() {
            writeln!(f)?;
            let wide = self.variables.iter().map(|variable| variable.name.len()).max().unwrap_or_default();
            for variable in &self.variables {
                let value = printable(variable.value.as_deref().unwrap_or_default());
                match &variable.state {
                    State::HoldsCa => writeln!(f, "{:wide$}  holds the CA  {value}", variable.name)?,
                    State::WithoutCa => writeln!(f, "{:wide$}  WITHOUT it    {value}", variable.name)?,
                    State::Unreadable(error) => {
                        writeln!(f, "{:wide$}  UNREADABLE    {value}: {}", variable.name, printable(error))?;
                    }
                    State::Unset => writeln!(f, "{:wide$}  NOT SET", variable.name)?,
                }
            }
        }
        let set = self.to_set();
        if let (false, Some(trust)) = (set.is_empty(), self.trust) {
            writeln!(f, "\nset:")?;
            write!(f, "{}", indented(&render(Shell::Sh, &set, &[]).map_err(|_| fmt::Error)?))?;
            if trust.is_local {
                writeln!(f, "or all that there are, which keeps bundles of your own: eval \"$(attache ca env)\"")?;
            }
        }
        for advice in self.advice() {
            writeln!(f, "\n{}", printable(&advice))?;
        }
        Ok(())
    }
}

fn trusts_anyone(tried: &Tried) -> bool {
    tried.stranger == Reached::Yes
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}\n")).collect()
}
