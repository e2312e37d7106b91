//! `attache ca`: how programs that `attache run` did not start come to trust the proxy.

mod doctor;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use super::agent_env::{REMOVED, java_options, user_bundles, variables, write_bundle, write_trust_store};
use super::output::json_line;
use super::state::{Ready, StateDir, StateError};
use super::{Failure, Outcome};
use crate::secrets::Environment;

/// Print the CA's certificate, the variables by which programs trust it, or whether one does
///
/// The CA signs what the proxy shows to agents, exists for one machine, and lasts as long as attaché runs. Its key is
/// never on disk.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Print(Print),
    Env(Env),
    Doctor(doctor::Doctor),
}

/// Print the CA's certificate in PEM
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  curl --proxy http://127.0.0.1:10080 --cacert <(attache ca print) https://api.example.com/

Exit codes:
  0  the certificate is on stdout
  1  there is none
  2  several state directories could be meant")]
struct Print {
    #[command(flatten)]
    state_dir: StateDir,
}

/// Print what to set so that programs use the proxy and trust its CA
///
/// The variables are those that `attache run` sets. CA bundles that are set already are kept: they are put together
/// with attaché's CA in a file of its own, which the variables then name.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  eval \"$(attache ca env)\"
  attache ca env --shell fish | source
  attache ca env --shell json | jq -r .set.HTTPS_PROXY

Exit codes:
  0  the variables are on stdout
  1  a bundle cannot be read or written
  2  several state directories could be meant
  5  no attaché is ready there")]
struct Env {
    #[command(flatten)]
    state_dir: StateDir,

    /// Whom the lines are for
    #[arg(long, value_enum, default_value = "sh")]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    /// POSIX shells: sh, bash, zsh.
    Sh,
    /// fish.
    Fish,
    /// Programs: {"set": {NAME: VALUE}, "unset": [NAME]}.
    Json,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    match &args.command {
        Command::Print(print) => {
            let path = print.state_dir.find()?.join("ca.pem");
            let pem = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
            io::stdout().lock().write_all(&pem)?;
        }
        Command::Env(options) => {
            let state_dir = options.state_dir.find().map_err(|error| match error {
                StateError::None(_) => Failure::unreachable(error.to_string()),
                error => error.into(),
            })?;
            let ready = Ready::read(&state_dir)?.ok_or_else(|| {
                let shown = state_dir.display();
                Failure::unreachable(format!(
                    "no attaché is ready in `{shown}`: start one with `attache up --policy FILE`"
                ))
            })?;
            let (ca, bundle) = trust(&ready, &user_bundles(&Environment::of_process()))?;
            let mut variables = variables(&ready.proxy, &ca, &bundle);
            let java = env::var("JAVA_TOOL_OPTIONS").ok();
            variables.extend(java_options(java.as_deref(), &ready.proxy, &bundle));
            let lines = render(options.shell, &variables, REMOVED)?;
            io::stdout().lock().write_all(lines.as_bytes())?;
        }
        Command::Doctor(options) => return doctor::run(options),
    }
    Ok(ExitCode::SUCCESS)
}

/// The files that the variables name, for a shell in which these bundles are set.
fn trust(ready: &Ready, users: &[PathBuf]) -> Result<(PathBuf, PathBuf), Failure> {
    let users: Vec<&PathBuf> = users.iter().filter(|path| ![&ready.ca, &ready.bundle].contains(path)).collect();
    let out = match users.as_slice() {
        [] => return Ok((ready.ca.clone(), ready.bundle.clone())),
        // Made by an earlier `ca env` from what was set then, and perhaps for a CA that is no more.
        [earlier] if earlier.starts_with(&ready.state_dir) => (*earlier).clone(),
        users => {
            let mut digest = Sha256::new();
            for path in users {
                digest.update(path.as_os_str().as_encoded_bytes());
                digest.update([0]);
            }
            let name: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            ready.state_dir.join(format!("bundle-{name}.pem"))
        }
    };
    let users: Vec<PathBuf> = users.into_iter().cloned().collect();
    let ca = fs::read_to_string(&ready.ca).map_err(|error| unreadable(&ready.ca, &error))?;
    write_bundle(&out, &users, &ca).and_then(|()| write_trust_store(&out)).map_err(Failure::runtime)?;
    Ok((out.clone(), out))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    Failure::runtime(match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no CA certificate `{path}`: start attaché with `attache up --policy FILE`")
        }
        _ => format!("the CA certificate `{path}` cannot be read: {error}"),
    })
}

fn render(shell: Shell, variables: &[(&'static str, String)], removed: &[&str]) -> Result<String, Failure> {
    let lines = |set: &dyn Fn(&str, &str) -> String, unset: &dyn Fn(&str) -> String| -> String {
        let set = variables.iter().map(|(name, value)| set(name, value));
        set.chain(removed.iter().map(|name| unset(name))).map(|line| line + "\n").collect()
    };
    Ok(match shell {
        Shell::Sh => lines(&|name, value| format!("export {name}='{}'", value.replace('\'', r"'\''")), &|name| {
            format!("unset {name}")
        }),
        Shell::Fish => lines(
            &|name, value| format!("set -gx {name} '{}'", value.replace('\\', r"\\").replace('\'', r"\'")),
            &|name| format!("set -e {name}"),
        ),
        Shell::Json => {
            let set: Map<_, _> = variables.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            json_line(&json!({"set": set, "unset": removed}))? + "\n"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(state_dir: &Path) -> Ready {
        Ready {
            proxy: "http://127.0.0.1:10080".into(),
            ca: state_dir.join("ca.pem"),
            bundle: state_dir.join("bundle.pem"),
            state_dir: state_dir.to_owned(),
        }
    }

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        let value = "/it's \"a\" $HOME `x` \\ path/ca.pem";
        let script = render(Shell::Sh, &[("SSL_CERT_FILE", value.to_owned())], REMOVED).unwrap();
        let shell = format!("ALL_PROXY=x; {script} printf %s \"$SSL_CERT_FILE$ALL_PROXY\"");
        let output = std::process::Command::new("sh").args(["-c", &shell]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);

        let fish = render(Shell::Fish, &[("A", r"it's \ x".to_owned())], REMOVED).unwrap();
        assert_eq!(fish, "set -gx A 'it\\'s \\\\ x'\nset -e ALL_PROXY\nset -e all_proxy\n");

        let json: serde_json::Value =
            serde_json::from_str(&render(Shell::Json, &[("A", value.into())], REMOVED).unwrap()).unwrap();
        assert_eq!(json, json!({"set": {"A": value}, "unset": REMOVED}));
    }

    #[test]
    fn a_users_bundle_is_replaced_by_one_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("10080");
        fs::create_dir(&state).unwrap();
        let ready = ready(&state);
        assert_eq!(trust(&ready, &[]).unwrap(), (ready.ca.clone(), ready.bundle.clone()));
        let ours = [ready.bundle.clone(), ready.ca.clone()];
        assert_eq!(trust(&ready, &ours).unwrap(), (ready.ca.clone(), ready.bundle.clone()));

        let pem = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem()
        };
        let users = folder.path().join("corp.pem");
        let (user, ca) = (pem("corp"), pem("ca"));
        fs::write(&users, &user).unwrap();
        fs::write(&ready.ca, &ca).unwrap();
        let (additive, bundle) = trust(&ready, std::slice::from_ref(&users)).unwrap();
        assert_eq!(additive, bundle);
        // Said again in a shell that has taken it over; by then the CA is another.
        fs::write(&ready.ca, pem("next ca")).unwrap();
        assert_eq!(trust(&ready, std::slice::from_ref(&bundle)).unwrap(), (bundle.clone(), bundle.clone()));
        let written = fs::read_to_string(bundle).unwrap();
        let ca = fs::read_to_string(&ready.ca).unwrap();
        let plain = |pem: &str| pem.replace(['\r', '\n'], "");
        assert!(plain(&written).contains(&plain(&user)) && plain(&written).contains(&plain(&ca)));
    }
}
