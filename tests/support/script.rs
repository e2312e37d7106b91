//! Agents as they are written: Python and Node programs, from the environment `tests/setup` made.

use std::ffi::OsString;

use tokio::process::Command;

use super::{PROXY_VARIABLES, prepared, within};

/// What a program left behind.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; -1 if a signal ended it.
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The command line that runs `script` in Python, with requests and httpx at hand.
pub fn python(script: &str) -> Vec<OsString> {
    vec![prepared("bin/python").into(), "-c".into(), script.into()]
}

/// The command line that runs `script` (an ES module) in Node 24.
pub fn node(script: &str) -> Vec<OsString> {
    let arguments = ["--input-type=module", "--eval", script].map(OsString::from);
    std::iter::once(prepared("node").into()).chain(arguments).collect()
}

/// Runs a command line to its end with these variables, and none that would say proxy or trust.
pub async fn run(command_line: Vec<OsString>, environment: &[(&str, &str)]) -> Output {
    let (program, arguments) = command_line.split_first().expect("a program");
    let mut command = Command::new(program);
    command.args(arguments);
    for variable in PROXY_VARIABLES {
        command.env_remove(variable);
    }
    output(command.envs(environment.iter().copied())).await
}

/// Runs a command to its end.
pub async fn output(command: &mut Command) -> Output {
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = within(&format!("{command:?}"), command.output()).await;
    let output = output.unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    Output {
        exit: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Upstream;

    #[tokio::test]
    async fn python_has_its_clients_and_both_protocols() {
        let upstream = Upstream::http().await;
        let script = "
import httpx, os, requests, h2
url = os.environ['URL']
print(requests.get(url + '/requests').json()['path'])
print(httpx.Client(http1=False, http2=True).get(url + '/httpx').http_version)
raise SystemExit(3)";
        let url = format!("http://{}", upstream.address());
        let output = run(python(script), &[("URL", &url)]).await;
        assert_eq!(output.stdout, "/requests\nHTTP/2\n", "{output:?}");
        assert_eq!(output.exit, 3);
        assert_eq!(upstream.requests().len(), 2);
    }

    #[tokio::test]
    async fn node_is_one_whose_fetch_can_use_a_proxy() {
        let upstream = Upstream::http().await;
        let script = "
console.log(Number(process.versions.node.split('.')[0]) >= 24);
console.log((await (await fetch(process.env.URL + '/node')).json()).path);";
        let url = format!("http://{}", upstream.address());
        let output = run(node(script), &[("URL", &url)]).await;
        assert_eq!(output.stdout, "true\n/node\n", "{output:?}");
    }
}
