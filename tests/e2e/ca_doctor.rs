//! `attache ca doctor` says what is so: what it finds missing is what a program lacked, and with what it says to set,
//! the program trusts the CA.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::attache::attache;
use crate::support::script::{self, Output};
use crate::support::{Attache, Upstream, prepared};

const POLICY: &str = "allowedDomains: [api.example.com]";

#[tokio::test]
async fn each_program_trusts_the_ca_once_what_it_lacks_is_set() {
    let attache = Attache::up(POLICY).start().await;
    for (program, clients, lacks) in [
        (python(), &["urllib", "requests", "httpx", "urllib3"][..], &["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"][..]),
        (node(), &["https", "fetch"], &["NODE_EXTRA_CA_CERTS"]),
        (installed("java", "default-jre-headless"), &["HttpsURLConnection"], &["JAVA_TOOL_OPTIONS"]),
        (installed("curl", "curl"), &["curl"], &["CURL_CA_BUNDLE"]),
        (installed("git", "git"), &["git"], &["GIT_SSL_CAINFO"]),
    ] {
        let lacking = Asked::of(&attache, &[&program, "the-program-itself-is-not-started"]).await;
        assert_eq!(lacking.exit, 1, "{program}: {lacking:?}");
        assert_eq!(lacking.clients(), clients, "{program}");
        for client in clients {
            assert_eq!(lacking.finding(client), ["no", "yes", "no"], "{program}: {client}: {lacking:?}");
        }
        let set = lacking.to_set();
        assert_eq!(set.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), lacks, "{program}");

        let set: Vec<_> = set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let having = Asked::with(&attache, &set, &[&program]).await;
        assert_eq!(having.exit, 0, "{program}: {having:?}");
        for client in clients {
            assert_eq!(having.finding(client), ["yes", "yes", "no"], "{program}: {client}");
        }
        assert!(having.to_set().is_empty());
    }
}

/// The stand-in is not the CA: what the report says to set has to work with the CA and with Envoy, too.
#[tokio::test]
async fn what_is_to_be_set_is_what_envoys_certificates_need() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).resolve("api.example.com", &upstream).start().await;
    let set = Asked::of(&attache, &["curl"]).await.to_set();
    let proxy = attache.ready().proxy.clone();
    let call = ["curl", "-sS", "--proxy", &proxy, "https://api.example.com/"].map(Into::into).to_vec();
    let refused = script::run(call.clone(), &[]).await;
    assert_eq!(refused.exit, 60, "the certificate is not trusted: {refused:?}");
    let set: Vec<_> = set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answered = script::run(call, &set).await;
    assert_eq!(answered.exit, 0, "{answered:?}");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_program_that_is_told_the_address_is_tried_itself() {
    let attache = Attache::up(POLICY).start().await;
    // Written in Go, and here for the alerts' tests.
    let go = [&installed("promtool", "prometheus"), "query", "instant", "{url}", "up"];
    let lacking = Asked::of(&attache, &go).await;
    assert_eq!(lacking.report["program"]["kind"], "Go");
    assert_eq!(lacking.finding("program"), ["no", "yes", "no"], "{lacking:?}");
    let set = lacking.to_set();
    assert_eq!(set.len(), 1, "{set:?}");
    let having = Asked::with(&attache, &[("SSL_CERT_FILE", &set[0].1)], &go).await;
    assert_eq!((having.exit, having.finding("program")), (0, ["yes", "yes", "no"]), "{having:?}");

    // What its code says counts, whatever the variables say.
    let folder = tempfile::tempdir().unwrap();
    let agent = |name: &str, verify: &str| {
        let code = format!("import requests, sys\nrequests.get(sys.argv[1] + '/v1', verify={verify})\n");
        text(&write(&folder, name, &code))
    };
    let careless = Asked::of(&attache, &[&python(), &agent("careless.py", "False"), "{url}"]).await;
    assert_eq!((careless.exit, careless.finding("program")), (1, ["yes", "yes", "yes"]), "{careless:?}");
    assert!(careless.advises("program trusts anyone"), "{careless:?}");
    let own = format!("'{}'", write(&folder, "own.pem", crate::support::Ca::shared().pem()).display());
    let pinned = Asked::of(&attache, &[&python(), &agent("pinned.py", &own), "{url}"]).await;
    assert_eq!((pinned.exit, pinned.finding("program")), (1, ["no", "no", "no"]), "{pinned:?}");
    assert!(pinned.advises("its own configuration has to name the CA"), "{pinned:?}");
}

#[tokio::test]
async fn nothing_of_the_users_is_started_unless_it_is_told_the_address() {
    let attache = Attache::up(POLICY).start().await;
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let code = format!("#!{}\nopen({mark:?}, 'w')\n", python());
    let agent = write(&folder, "agent", &code);
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    let asked = Asked::of(&attache, &[&text(&agent)]).await;
    assert_eq!(asked.finding("requests"), ["no", "yes", "no"], "by its first line: {asked:?}");
    assert!(!mark.exists());
    assert!(asked.advises("was not tried"), "{asked:?}");
    Asked::of(&attache, &[&text(&agent), "{url}"]).await;
    assert!(mark.exists());

    for (command, said) in [
        (&["sh", "-c", "python agent.py"][..], "starts other programs"),
        (&["env", "A=1", "python"], "starts other programs"),
        (&["promtool", "query"], "Go reads SSL_CERT_FILE"),
        (&[env!("CARGO_BIN_EXE_attache")], "it is not known how this program calls"),
    ] {
        let asked = Asked::of(&attache, command).await;
        assert!(asked.exit == 1 && asked.clients().is_empty() && asked.advises(said), "{command:?}: {asked:?}");
    }
}

#[tokio::test]
async fn who_checks_nothing_is_found_out() {
    let attache = Attache::up(POLICY).start().await;
    for (variable, command, client) in [
        (("NODE_TLS_REJECT_UNAUTHORIZED", "0"), &[&*node()][..], "fetch"),
        (("GIT_SSL_NO_VERIFY", "1"), &["git"], "git"),
        (("A", ""), &["git", "-c", "http.sslVerify=false", "clone", "x"], "git"),
        (("A", ""), &["curl", "-k", "https://x.example"], "curl"),
        (("A", ""), &["wget", "--no-check-certificate", "https://x.example"], "wget"),
    ] {
        let asked = Asked::with(&attache, &[variable], command).await;
        assert_eq!((asked.exit, asked.finding(client)), (1, ["yes", "yes", "yes"]), "{command:?}: {asked:?}");
        assert!(asked.advises(&format!("{client} trusts anyone")), "{asked:?}");
    }
}

#[tokio::test]
async fn what_counts_more_than_the_variables_is_said() {
    let attache = Attache::up(POLICY).start().await;
    let ready = attache.ready();
    let (wget, ca) = (installed("wget", "wget"), format!("--ca-certificate={}", ready.ca.display()));
    let asked = Asked::of(&attache, &[&wget, "x"]).await;
    assert_eq!((asked.exit, asked.finding("wget")), (1, ["no", "no", "no"]), "{asked:?}");
    assert!(asked.advises("--ca-certificate=FILE") && asked.to_set().is_empty(), "{asked:?}");
    let asked = Asked::of(&attache, &[&wget, &ca, "x"]).await;
    assert_eq!((asked.exit, asked.finding("wget")), (0, ["yes", "yes", "no"]), "{asked:?}");

    let folder = tempfile::tempdir().unwrap();
    let own = text(&write(&folder, "own.pem", crate::support::Ca::shared().pem()));
    let asked = Asked::of(&attache, &["curl", "--cacert", &own, "x"]).await;
    assert_eq!((asked.exit, asked.finding("curl")), (1, ["no", "no", "no"]), "{asked:?}");
    let store = "-Djavax.net.ssl.trustStore=/nowhere.p12";
    let asked = Asked::of(&attache, &["java", store, "-jar", "agent.jar"]).await;
    assert_eq!((asked.exit, asked.finding("HttpsURLConnection")), (1, ["no", "no", "no"]), "{asked:?}");
    assert!(asked.advises("on the command line counts more"), "{asked:?}");

    // A bundle of the user's, without the CA.
    let asked = Asked::with(&attache, &[("REQUESTS_CA_BUNDLE", &own)], &[&python()]).await;
    assert_eq!(asked.finding("requests"), ["no", "yes", "no"], "{asked:?}");
    assert_eq!(asked.variable("REQUESTS_CA_BUNDLE"), "without_ca");
    let asked = Asked::with(&attache, &[("SSL_CERT_FILE", "/nowhere.pem")], &["curl"]).await;
    assert_eq!((asked.exit, asked.variable("SSL_CERT_FILE").as_str()), (1, "unreadable"), "{asked:?}");
}

#[tokio::test]
async fn a_pods_files_and_variables_are_checked() {
    let attache = Attache::up(POLICY).start().await;
    let state = &attache.ready().state_dir;
    let folder = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "bundle.pem", "bundle.p12"] {
        fs::copy(state.join(name), folder.path().join(name)).unwrap();
    }
    let dir = text(folder.path());
    let bare = Asked::doctor(folder.path(), &[], &["--trust-dir", &dir]).await;
    assert_eq!(bare.exit, 1);
    let set = bare.to_set();
    assert!(set.len() > 10 && set.iter().all(|(_, value)| value.contains(&dir)), "{set:?}");
    let mut set: Vec<_> = set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let whole = Asked::doctor(folder.path(), &set, &["--trust-dir", &dir]).await;
    assert_eq!(whole.exit, 0, "{whole:?}");
    let program = Asked::doctor(folder.path(), &set, &["--trust-dir", &dir, "--", &python()]).await;
    assert_eq!((program.exit, program.finding("requests")), (0, ["yes", "yes", "no"]), "{program:?}");

    // One variable that leads elsewhere is enough.
    set.push(("AWS_CA_BUNDLE", "/nowhere.pem"));
    let partly = Asked::doctor(folder.path(), &set, &["--trust-dir", &dir]).await;
    assert_eq!((partly.exit, partly.variable("AWS_CA_BUNDLE").as_str()), (1, "unreadable"), "{partly:?}");
    set.pop();
    fs::write(folder.path().join("bundle.p12"), "something else").unwrap();
    let broken = Asked::doctor(folder.path(), &set, &["--trust-dir", &dir]).await;
    assert_eq!((broken.exit, broken.variable("JAVA_TOOL_OPTIONS").as_str()), (1, "without_ca"), "{broken:?}");
    assert!(broken.report["problems"][0].as_str().unwrap().contains("bundle.p12` does not hold the CA"));
}

#[tokio::test]
async fn without_attache_the_variables_of_run_are_tried() {
    let home = tempfile::tempdir().unwrap();
    let asked = Asked::doctor(home.path(), &[], &["--", "curl"]).await;
    assert_eq!((asked.exit, asked.finding("curl")), (0, ["no", "yes", "no"]), "{asked:?}");
    assert!(asked.advises("no attaché runs") && asked.to_set().is_empty(), "{asked:?}");

    let refused = [
        (&["--"][..], "there is no program to try"),
        (&["--", "no-such-program-here"], "`no-such-program-here` is not there"),
        (&["--trust-dir", "/nowhere"], "`/nowhere/ca.pem` cannot be read"),
        (&["--state-dir", "/nowhere", "--", "curl"], "there is no state directory `/nowhere`"),
    ];
    for (arguments, said) in refused {
        let output = doctor(home.path(), &[], arguments).await;
        assert!(output.exit != 0 && output.stderr.contains(said), "{arguments:?}: {output:?}");
    }
}

#[tokio::test]
async fn people_get_a_table_and_lines_to_copy() {
    let attache = Attache::up(POLICY).start().await;
    let mut command = crate::support::attache::attache(&attache.ready().state_dir);
    command.args(["ca", "doctor", "--state-dir"]).arg(&attache.ready().state_dir).args(["--", "curl"]);
    let output = script::output(&mut command).await;
    let line = |start: &str| output.stdout.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    assert_eq!(line("CLIENT").unwrap(), "CLIENT  TRUSTS IT NOW  WITH ATTACHÉ'S VARIABLES  TRUSTS ANYONE", "{output:?}");
    assert_eq!(line("curl  ").unwrap(), "curl    no             yes                       no");
    assert!(line("curl: ").unwrap().contains("certificate"), "curl's own words");
    let export = format!("  export CURL_CA_BUNDLE='{}'", attache.ready().bundle.display());
    assert!(output.stdout.contains(&export), "{}", output.stdout);
    assert!(output.stdout.contains("eval \"$(attache ca env)\""));
}

/// What the doctor said.
#[derive(Debug)]
struct Asked {
    exit: i32,
    report: Value,
}

impl Asked {
    async fn of(attache: &Attache, command: &[&str]) -> Asked {
        Asked::with(attache, &[], command).await
    }

    /// With variables of the shell that asks.
    async fn with(attache: &Attache, environment: &[(&str, &str)], command: &[&str]) -> Asked {
        let state = text(&attache.ready().state_dir);
        let arguments = [&["--state-dir", &state, "--"], command].concat();
        Asked::doctor(&attache.ready().state_dir, environment, &arguments).await
    }

    async fn doctor(home: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Asked {
        let output = doctor(home, environment, arguments).await;
        let report = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Asked { exit: output.exit, report }
    }

    fn clients(&self) -> Vec<&str> {
        let clients = self.report["clients"].as_array().unwrap();
        clients.iter().map(|client| client["name"].as_str().unwrap()).collect()
    }

    /// Whether a client trusts the CA as it is, with the variables, and whether it trusts anyone.
    fn finding(&self, client: &str) -> [&'static str; 3] {
        let clients = self.report["clients"].as_array().unwrap();
        let found = clients.iter().find(|found| found["name"] == client);
        let found = found.unwrap_or_else(|| panic!("no {client} in {self:?}"));
        let values = [&found["asItIs"]["trusted"], &found["withVariables"]["trusted"], &found["trustsAnyone"]];
        values.map(|value| if value.as_bool().unwrap() { "yes" } else { "no" })
    }

    fn to_set(&self) -> Vec<(String, String)> {
        let set = self.report["set"].as_object().unwrap();
        set.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
    }

    fn variable(&self, name: &str) -> String {
        let variables = self.report["variables"].as_array().unwrap();
        let found = variables.iter().find(|variable| variable["name"] == name).unwrap();
        found["state"].as_str().unwrap().to_owned()
    }

    fn advises(&self, text: &str) -> bool {
        let advice = self.report["advice"].as_array().unwrap();
        advice.iter().any(|advice| advice.as_str().unwrap().contains(text))
    }
}

async fn doctor(home: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = attache(home);
    // What this machine has set would be found, too.
    let trust = ["_BUNDLE", "_CERT", "_CERTS", "_CAINFO", "_FILE", "_FILE_PATH", "_TOOL_OPTIONS"];
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| trust.iter().any(|end| name.to_string_lossy().ends_with(end)))
    {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
    script::output(command.args(["ca", "doctor", "-o", "json"]).args(arguments)).await
}

fn python() -> String {
    text(&prepared("bin/python"))
}

fn node() -> String {
    text(&prepared("node"))
}

/// A program of the system; a test without it is no test.
fn installed(name: &str, package: &str) -> String {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).exists());
    assert!(found, "`{name}` is missing: install {package}");
    name.to_owned()
}

fn write(folder: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
