//! The system calls that a service can make under the profile that comes with the manifests: those it needs.

use std::path::Path;

use tokio::process::Command;

use crate::fail_closed::Place;
use crate::support::attache::{attache, through};
use crate::support::process::Running;
use crate::support::{Upstream, curl, script, until};

const POLICY: &str = "
allowedDomains: [api.example.com]
credentials:
  - name: key
    envVarKey: KEY
    injections: [{domain: api.example.com, headerName: Authorization, headerFormat: 'Bearer {value}'}]
";

#[tokio::test]
async fn the_service_serves_under_its_profile_and_nothing_else_is_to_be_had() {
    // What the profile refuses is there without it.
    const SIGNAL: &str = "import os; os.kill(os.getppid(), 0)";
    for (arguments, works) in [
        (&["true"][..], true),
        (&["python3", "-c", "import os"], true),
        (&["python3", "-c", SIGNAL], false),
        (&["unshare", "--user", "true"], false),
        (&["unshare", "--mount", "true"], false),
    ] {
        let command = || {
            let mut command = Command::new(arguments[0]);
            command.args(&arguments[1..]);
            command
        };
        assert_eq!(script::output(&mut command()).await.exit, 0, "{arguments:?}");
        let output = script::output(&mut under_profile(command())).await;
        assert_eq!(output.exit == 0, works, "{arguments:?}: {output:?}");
    }

    let (place, upstream) = (Place::new(), Upstream::https(["api.example.com"]).await);
    let folder = place.service().parent().unwrap().to_owned();
    let policy = folder.join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let mut serve = attache(&folder);
    serve.arg("serve").arg("--policy").arg(&policy).arg("--state-dir").arg(folder.join("state"));
    serve.arg("--socket").arg(place.service()).args(["--metrics", "127.0.0.1:0", "--dns-stub", "127.0.0.1:0"]);
    serve.arg("--ca-dir").arg(folder.join("ca")).arg("--trust-dir").arg(folder.join("trust"));
    serve.args(["--sink", "stdout", "--resolve", &format!("api.example.com:443:{}", upstream.address())]);
    serve.env("KEY", "s3cret");
    let mut service = Running::start("attache serve", under_profile(serve));
    service.line().await;
    let _envoy = place.envoy().await;
    let (proxy, ca) = (format!("http://{}", place.listener), folder.join("trust/ca.pem"));
    let ask = async |host: &str| {
        curl(["--proxy", &proxy, "--cacert", ca.to_str().unwrap(), &format!("https://{host}/")]).await.status
    };
    until("Envoy to have found it", async || (ask("api.example.com").await == 200).then_some(())).await;
    assert_eq!(upstream.requests()[0].header("authorization"), Some("Bearer s3cret"));

    // The policy is loaded again, and what is asked from within its container is answered.
    std::fs::write(&policy, "allowedDomains: [other.example]\n").unwrap();
    until("the other policy", async || (ask("api.example.com").await != 200).then_some(())).await;
    for subcommand in [&["health"][..], &["logs", "--control"], &["approvals", "list"]] {
        let mut command = attache(&folder);
        command.args(subcommand).arg("--state-dir").arg(folder.join("state"));
        let output = script::output(&mut under_profile(command)).await;
        assert_eq!(output.exit, 0, "{subcommand:?} {output:?}");
    }
    assert!(service.stop().await.success(), "{}", service.stderr());
}

fn under_profile(command: Command) -> Command {
    let at = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(path).into_os_string();
    let wrapper =
        ["python3".into(), at("tests/support/under_seccomp.py"), at("deploy/kubernetes/seccomp/attache.json")];
    through(&wrapper, command)
}
