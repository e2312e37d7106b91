//! One request for each HTTP client that a program has, in each environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use super::program::{Kind, Program, URL};
use super::server::{ServerError, Servers, Target};
use super::stand_in::{Environment, StandIn, StandInError};

/// How long a program may take for its request; Java on a busy machine takes seconds to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of a client's three requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The client: `requests`, `fetch`.
    pub stack: String,
    /// Its version.
    pub version: Option<String>,
    /// With the variables as they are.
    pub as_it_is: Reached,
    /// With those that attaché sets besides.
    pub with_variables: Reached,
    /// To the server that nobody should trust, with the variables as they are.
    pub stranger: Reached,
}

/// Whether a request arrived, and what the client said if it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// It did: the certificate was trusted.
    Yes,
    /// It did not.
    No(String),
}

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// No stand-in.
    #[error(transparent)]
    StandIn(#[from] StandInError),
    /// The program does not start.
    #[error("`{program}` cannot be started: {source}")]
    Start {
        /// Which.
        program: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Tries every client of a program. Empty where there is no way to.
///
/// # Errors
/// When it cannot be started.
pub async fn all(program: &Program, stand_in: &StandIn, servers: &Servers) -> Result<Vec<Tried>, ProbeError> {
    let Some(recipe) = Recipe::of(program, stand_in) else { return Ok(Vec::new()) };
    let (plain, told) = (stand_in.as_it_is(), stand_in.with_variables());
    let mut first = recipe.run(servers, Target::StandIn, "now", &plain).await?;
    let mut second = recipe.run(servers, Target::StandIn, "set", &told).await?;
    let mut third = recipe.run(servers, Target::Stranger, "now", &plain).await?;
    let mut names: Vec<String> =
        [&first, &second, &third].into_iter().flatten().map(|(name, _)| name.clone()).collect();
    names.sort_by_key(|name| recipe.stacks.iter().position(|known| known == name));
    names.dedup();
    let silent =
        |name: &str| Answer { stack: name.to_owned(), version: None, error: Some("it said nothing".to_owned()) };
    let tried = names.into_iter().map(|name| {
        let take = |answers: &mut BTreeMap<String, Answer>| answers.remove(&name).unwrap_or_else(|| silent(&name));
        let (first, second, third) = (take(&mut first), take(&mut second), take(&mut third));
        let reached = |target, run: &str, answer: &Answer| match servers.has_seen(target, &format!("{run}/{name}")) {
            true => Reached::Yes,
            false => Reached::No(answer.error.clone().unwrap_or_else(|| "no request came".to_owned())),
        };
        Tried {
            as_it_is: reached(Target::StandIn, "now", &first),
            with_variables: reached(Target::StandIn, "set", &second),
            stranger: reached(Target::Stranger, "now", &third),
            version: first.version.or(second.version),
            stack: name,
        }
    });
    Ok(tried.collect())
}

/// How a program is made to call a URL.
struct Recipe {
    program: OsString,
    arguments: Vec<OsString>,
    /// The clients, in the order in which they are shown.
    stacks: &'static [&'static str],
    /// Whether the program calls with several clients and says a line of JSON for each.
    speaks_json: bool,
}

/// What a driver says of one client.
#[derive(Debug, Clone, Deserialize)]
struct Answer {
    stack: String,
    version: Option<String>,
    error: Option<String>,
}

impl Recipe {
    fn of(program: &Program, stand_in: &StandIn) -> Option<Self> {
        if let Some(words) = &program.with_url {
            let (first, rest) = words.split_first()?;
            let arguments = rest.to_vec();
            return Some(Self { program: first.clone(), arguments, stacks: &["program"], speaks_json: false });
        }
        let kept = |flags: Flags| kept(&program.arguments, &flags, stand_in);
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let (stacks, arguments): (&'static [&'static str], _) = match program.kind {
            Kind::Python => {
                let flags = kept(Flags { prefixes: &["-"], stop: &["-c", "-m", "-"], pairs: &["-X", "-W"], ..NONE });
                let driver = [OsString::from("-c"), include_str!("probe.py").into(), URL.into()];
                (&["urllib", "requests", "httpx", "urllib3", "aiohttp"], [flags, driver.to_vec()].concat())
            }
            Kind::Node => {
                let prefixes = &["--use-", "--tls-", "--openssl-", "--no-use-", "--env-file"];
                let flags = kept(Flags { prefixes, stop: &["-e", "--eval", "-p", "-"], ..NONE });
                (&["https", "fetch"], [flags, vec!["-e".into(), include_str!("probe.js").into(), URL.into()]].concat())
            }
            Kind::Java => {
                let flags = Flags {
                    prefixes: &["-D", "-X"],
                    stop: &["-jar", "-m", "--module"],
                    skipped_pairs: &["-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules"],
                    ..NONE
                };
                // A runtime without compiler has it too. Reading a list of revoked certificates from a URL, it asks as any
                // program does that sets nothing itself.
                let tool = ["-Dhttp.nonProxyHosts=127.*", "sun.security.tools.keytool.Main", "-printcrl", "-file", URL];
                (&["HttpsURLConnection"], [kept(flags), words(&tool)].concat())
            }
            Kind::Curl => {
                let flags = Flags {
                    prefixes: &["-k", "--insecure", "--ca-native"],
                    pairs: &["--cacert", "--capath"],
                    to_the_end: true,
                    ..NONE
                };
                let call = words(&["-sS", "-o", "/dev/null", "--max-time", "15", "--noproxy", "*", URL]);
                (&["curl"], [kept(flags), call].concat())
            }
            Kind::Git => {
                let flags = Flags { pairs: &["-c", "-C"], ..NONE };
                (&["git"], [kept(flags), words(&["-c", "http.proxy=", "ls-remote", URL])].concat())
            }
            Kind::Wget => {
                let flags = Flags {
                    prefixes: &["--no-check-certificate", "--ca-certificate=", "--ca-directory=", "--config="],
                    to_the_end: true,
                    ..NONE
                };
                let call = words(&["-nv", "-O", "/dev/null", "--no-proxy", "--tries=1", "--timeout=15", URL]);
                (&["wget"], [kept(flags), call].concat())
            }
            Kind::Wrapper | Kind::Native(_) | Kind::Unknown => return None,
        };
        let speaks_json = matches!(program.kind, Kind::Python | Kind::Node);
        Some(Self { program: program.runs.clone().into_os_string(), arguments, stacks, speaks_json })
    }

    /// Runs it once; what each client said, by its name.
    async fn run(
        &self,
        servers: &Servers,
        target: Target,
        run: &str,
        environment: &Environment,
    ) -> Result<BTreeMap<String, Answer>, ProbeError> {
        let name = self.stacks.first().copied().unwrap_or_default();
        let url = servers.url(target, &format!("{run}/{}", if self.speaks_json { "" } else { name }));
        let mut command = Command::new(&self.program);
        command.args(self.arguments.iter().map(|argument| in_place(argument, &url)));
        command.env_clear().envs(environment).env("GIT_TERMINAL_PROMPT", "0");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(output) => output.map_err(|source| {
                let program = self.program.to_string_lossy().into_owned();
                ProbeError::Start { program, source }
            })?,
            Err(_) => {
                let error = format!("it has not ended within {} seconds", PATIENCE.as_secs());
                let answer = Answer { stack: name.to_owned(), version: None, error: Some(error) };
                return Ok(BTreeMap::from([(name.to_owned(), answer)]));
            }
        };
        let stdout = String::from_utf8_lossy(&output.stdout);
        let said = stdout.lines().filter_map(|line| serde_json::from_str::<Answer>(line).ok());
        let mut answers: BTreeMap<String, Answer> = match self.speaks_json {
            true => said.map(|answer| (answer.stack.clone(), answer)).collect(),
            false => BTreeMap::new(),
        };
        if answers.is_empty() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let error = telling(&stderr).or_else(|| telling(&stdout)).map(str::to_owned);
            answers.insert(name.to_owned(), Answer { stack: name.to_owned(), version: None, error });
        }
        Ok(answers)
    }
}

/// Flags of a program that say what it trusts, and those that come before its own arguments.
struct Flags {
    /// Kept as they are.
    prefixes: &'static [&'static str],
    /// Kept with the argument behind them.
    pairs: &'static [&'static str],
    /// Left out with the argument behind them.
    skipped_pairs: &'static [&'static str],
    /// Where the program's own arguments begin, besides at the first that is no flag.
    stop: &'static [&'static str],
    /// Whether flags may stand anywhere.
    to_the_end: bool,
}

const NONE: Flags = Flags { prefixes: &[], pairs: &[], skipped_pairs: &[], stop: &[], to_the_end: false };

fn kept(arguments: &[OsString], flags: &Flags, stand_in: &StandIn) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        let is = |names: &[&str]| names.contains(&text.as_ref());
        if is(flags.stop) || !flags.to_the_end && !text.starts_with('-') {
            break;
        } else if is(flags.pairs) {
            kept.push(argument.clone());
            kept.extend(arguments.next().map(|value| swapped(value, stand_in)));
        } else if is(flags.skipped_pairs) {
            arguments.next();
        } else if flags.prefixes.iter().any(|prefix| text.starts_with(prefix)) {
            kept.push(swapped(argument, stand_in));
        }
    }
    kept
}

/// An argument, with the stand-in where it names a file that holds the CA: alone, or behind `=`.
fn swapped(argument: &OsStr, stand_in: &StandIn) -> OsString {
    if let Some(file) = stand_in.in_place_of(Path::new(argument)) {
        return file.into();
    }
    match argument.to_str().and_then(|text| text.rsplit_once('=')) {
        Some((name, path)) => match stand_in.in_place_of(Path::new(path)) {
            Some(file) => format!("{name}={}", file.display()).into(),
            None => argument.to_owned(),
        },
        None => argument.to_owned(),
    }
}

fn in_place(argument: &OsStr, url: &str) -> OsString {
    match argument.to_str() {
        Some(text) => text.replace(URL, url).into(),
        None => argument.to_owned(),
    }
}

/// The line of what a program said that tells most: the last one that names certificates, else the last.
fn telling(text: &str) -> Option<&str> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let certificate = |line: &&str| ["certif", "SSL", "PKIX", "x509"].iter().any(|word| line.contains(word));
    lines().find(certificate).or_else(|| lines().find(|line| !line.starts_with("Picked up")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flags_that_say_what_is_trusted_are_kept() {
        let stand_in = StandIn::make(None).unwrap();
        let command = |words: &str| {
            let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            let program = Program {
                named: "x".into(),
                runs: "x".into(),
                kind: match words[0].to_str().unwrap() {
                    "python" => Kind::Python,
                    "node" => Kind::Node,
                    "java" => Kind::Java,
                    "curl" => Kind::Curl,
                    "git" => Kind::Git,
                    _ => Kind::Wget,
                },
                arguments: words[1..].to_vec(),
                with_url: None,
            };
            let recipe = Recipe::of(&program, &stand_in).unwrap();
            let words = recipe.arguments.iter().map(|word| word.to_string_lossy().into_owned());
            let own = ["-c", "-e", "-Dhttp.nonProxyHosts=127.*", "-sS", "-nv"];
            let git = recipe.stacks == ["git"];
            words
                .take_while(|word| git && word != "ls-remote" || !git && !own.contains(&word.as_str()))
                .collect::<Vec<_>>()
        };
        assert_eq!(command("python -I -X dev agent.py -E"), ["-I", "-X", "dev"]);
        assert_eq!(command("python -m agent -I"), Vec::<String>::new());
        assert_eq!(command("node --use-system-ca --require ./x.js agent.js --use-y"), ["--use-system-ca"]);
        assert_eq!(command("java -cp a:b -Xmx1g -Dx=y -jar a.jar -Dz=1"), ["-Xmx1g", "-Dx=y"]);
        assert_eq!(command("curl https://x.example -k --cacert /a -d secret"), ["-k", "--cacert", "/a"]);
        assert_eq!(command("git -c http.sslVerify=false clone x"), ["-c", "http.sslVerify=false", "-c", "http.proxy="]);
        assert_eq!(command("wget -q x --ca-certificate=/a"), ["--ca-certificate=/a"]);
    }

    #[test]
    fn the_line_that_names_the_certificate_is_told() {
        for (text, expected) in [
            ("", None),
            ("Picked up JAVA_TOOL_OPTIONS: x\n", None),
            ("one\n\ntwo\n", Some("two")),
            ("curl: (60) SSL certificate problem\nMore details here\n", Some("curl: (60) SSL certificate problem")),
        ] {
            assert_eq!(telling(text), expected, "{text}");
        }
    }
}
