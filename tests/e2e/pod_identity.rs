//! Agents known by the pod they run in: one policy for all pods, and each pod is one agent, or nobody.

use std::path::Path;

use ::attache::control;
use serde_json::Value;

use crate::support::attache::Setup;
use crate::support::{Attache, PROTOCOLS, Upstream, records, until};

const POLICY: &str = "
allowedDomains: [shared.example]
agents:
  coder:
    identity: [{kubernetes: {namespace: prod, serviceAccount: [coder, coder-canary]}}]
    allowedDomains: [coder.example]
  writer:
    identity: [{kubernetes: {namespace: prod, serviceAccount: default, labels: {app.kubernetes.io/name: writer}}}]
    allowedDomains: [writer.example]
  ann:
    identity: [{kubernetes: {namespace: desk}}, {token: {env: ANN_TOKEN}}]
    allowedDomains: [ann.example]
  bob: {identity: [{token: {env: BOB_TOKEN}}]}
";

const ANN: &str = "ann-token-0123456789";
const BOB: &str = "bob-token-0123456789";
const HOSTS: [&str; 4] = ["shared.example", "coder.example", "writer.example", "ann.example"];

/// A proxy in the pod with these facts, or what it says as it refuses to start.
struct Pod<'a> {
    namespace: &'a str,
    account: &'a str,
    labels: &'a Path,
}

impl Pod<'_> {
    fn setup(&self, upstream: &Upstream, policy: &str) -> Setup {
        let mut setup = Attache::up(policy)
            .env("ANN_TOKEN", ANN)
            .env("BOB_TOKEN", BOB)
            .env("ATTACHE_POD_NAMESPACE", self.namespace)
            .env("ATTACHE_POD_SERVICE_ACCOUNT", self.account)
            .env("ATTACHE_POD_LABELS", self.labels.to_str().unwrap());
        for host in HOSTS {
            setup = setup.resolve(host, upstream);
        }
        setup
    }

    async fn start(&self, upstream: &Upstream) -> Attache {
        self.setup(upstream, POLICY).start().await
    }
}

/// As the kubelet does it: a new folder, and the link to it replaced.
fn write_labels(mounted: &Path, snapshot: &str, labels: &str) {
    std::fs::create_dir(mounted.join(snapshot)).unwrap();
    std::fs::write(mounted.join(snapshot).join("labels"), labels).unwrap();
    std::os::unix::fs::symlink(snapshot, mounted.join("..data_tmp")).unwrap();
    std::fs::rename(mounted.join("..data_tmp"), mounted.join("..data")).unwrap();
    let link = mounted.join("labels");
    if !link.exists() {
        std::os::unix::fs::symlink("..data/labels", link).unwrap();
    }
}

/// The status of a request, and its record's agent, identity and reason.
async fn ask(attache: &Attache, arguments: &[&str]) -> (u16, [Value; 3], Value) {
    let answer = attache.curl(arguments).await;
    let record = records(attache).pop().unwrap();
    let status = if answer.status == 0 { answer.connect_status } else { answer.status };
    let known = ["agent", "identity", "reason"].map(|key| record[key].clone());
    (status, known, record)
}

#[tokio::test]
async fn each_pod_is_one_agent_by_one_policy() {
    let upstream = Upstream::https(HOSTS).await;
    let folder = tempfile::tempdir().unwrap();
    write_labels(folder.path(), "..1", "app.kubernetes.io/name=\"writer\"\npod-template-hash=\"x\"\n");
    let labels = folder.path().join("labels");
    for (namespace, account, agent, own, others) in [
        ("prod", "coder-canary", "coder", "coder.example", "writer.example"),
        ("prod", "default", "writer", "writer.example", "ann.example"),
        ("desk", "default", "ann", "ann.example", "coder.example"),
    ] {
        let pod = Pod { namespace, account, labels: &labels };
        let attache = pod.start(&upstream).await;
        for protocol in PROTOCOLS {
            for (host, expected) in [(own, (200, Value::Null)), (others, (403, "domain_not_allowed".into()))] {
                for scheme in ["https", "http"] {
                    let (status, known, record) =
                        ask(&attache, &[protocol.flag(), &format!("{scheme}://{host}/")]).await;
                    let [who, how, reason] = known;
                    assert_eq!((status, reason), expected, "{agent} {scheme} {host}: {record}");
                    assert_eq!((who, how), (agent.into(), "kubernetes".into()), "{record}");
                }
            }
        }
        // A handshake that fails has no request, and is that pod's agent's all the same.
        assert_eq!(control::status(&attache.socket()).await.unwrap().agent, agent);
    }
}

#[tokio::test]
async fn what_else_a_caller_shows_has_to_name_the_pods_agent() {
    let upstream = Upstream::https(HOSTS).await;
    let folder = tempfile::tempdir().unwrap();
    write_labels(folder.path(), "..1", "");
    let labels = folder.path().join("labels");
    let attache = Pod { namespace: "desk", account: "default", labels: &labels }.start(&upstream).await;
    let url = "https://ann.example/";
    for (user, expected) in [
        (format!("ann:{ANN}"), (200, ["ann".into(), "token".into(), Value::Null])),
        (format!("bob:{BOB}"), (407, [Value::Null, Value::Null, "identity_conflict".into()])),
        ("ann:guessed-0123456789".to_owned(), (407, [Value::Null, Value::Null, "invalid_token".into()])),
    ] {
        let (status, known, record) = ask(&attache, &["--proxy-user", &user, url]).await;
        assert_eq!((status, known), expected, "{user}: {record}");
    }
    // A Bearer for the upstream is the agent's own business.
    let (status, ..) = ask(&attache, &["-H", "Authorization: Bearer sk-own", "http://ann.example/"]).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_pod_of_no_agent_is_nobody_whatever_it_shows() {
    let upstream = Upstream::https(HOSTS).await;
    let folder = tempfile::tempdir().unwrap();
    write_labels(folder.path(), "..1", "app=\"x\"\n");
    let labels = folder.path().join("labels");
    let attache = Pod { namespace: "test", account: "coder", labels: &labels }.start(&upstream).await;
    let said = "every request is refused: no agent of the policy is this pod";
    assert!(attache.stderr().contains(said), "{}", attache.stderr());
    let basic = format!("bob:{BOB}");
    for (arguments, status) in [
        (&["https://shared.example/"][..], 407),
        (&["http://shared.example/"], 401),
        (&["--proxy-user", &basic, "https://shared.example/"], 407),
    ] {
        let (refused, [agent, _, reason], record) = ask(&attache, arguments).await;
        assert_eq!(
            (refused, agent, reason),
            (status, Value::Null, "unknown_identity".into()),
            "{arguments:?}: {record}"
        );
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains("namespace `test`") && detail.contains("service account `coder`"), "{detail}");
    }
    assert_eq!(upstream.requests().len(), 0);
    // The policy comes to name it.
    let policy = POLICY.replace("namespace: desk", "namespace: [desk, test]");
    attache.reload(&policy).await;
    assert_eq!(ask(&attache, &["https://ann.example/"]).await.0, 200);
}

#[tokio::test]
async fn labels_that_change_change_who_calls_and_never_widen_by_getting_lost() {
    let upstream = Upstream::https(HOSTS).await;
    let folder = tempfile::tempdir().unwrap();
    write_labels(folder.path(), "..1", "app.kubernetes.io/name=\"writer\"\n");
    let labels = folder.path().join("labels");
    let attache = Pod { namespace: "prod", account: "default", labels: &labels }.start(&upstream).await;
    let url = "https://writer.example/";
    assert_eq!(ask(&attache, &[url]).await.0, 200);

    let wait = async |agent: &str| {
        until(&format!("`{agent}`"), async || {
            let status = control::status(&attache.socket()).await.unwrap();
            (status.agent == agent).then_some(())
        })
        .await;
    };
    write_labels(folder.path(), "..2", "app.kubernetes.io/name=\"reader\"\n");
    wait("").await;
    let (status, [_, _, reason], _) = ask(&attache, &[url]).await;
    assert_eq!((status, reason), (407, "unknown_identity".into()));

    write_labels(folder.path(), "..3", "app.kubernetes.io/name=\"writer\"\n");
    wait("writer").await;
    assert_eq!(ask(&attache, &[url]).await.0, 200);

    std::fs::write(folder.path().join("..3/labels"), "no labels at all").unwrap();
    wait("").await;
    let (status, _, record) = ask(&attache, &[url]).await;
    assert_eq!(status, 407);
    assert!(record["detail"].as_str().unwrap().contains("cannot be told"), "{record}");

    // A policy for which the pod is two is refused, and taken as soon as the pod is one.
    write_labels(folder.path(), "..4", "app.kubernetes.io/name=\"writer\"\ntier=\"x\"\n");
    wait("writer").await;
    attache.replace_policy(&format!(
        "{POLICY}  carl: {{identity: [{{kubernetes: {{namespace: prod, labels: {{tier: x}}}}}}]}}\n"
    ));
    attache.wait_stderr("is both `writer` and `carl`").await;
    let before = attache.revision().await;
    assert_eq!(ask(&attache, &[url]).await.0, 200);
    write_labels(folder.path(), "..5", "app.kubernetes.io/name=\"none\"\ntier=\"x\"\n");
    wait("carl").await;
    assert_ne!(attache.revision().await, before);

    // The pod comes to be two under a policy that is in force: it is nobody's.
    write_labels(folder.path(), "..6", "app.kubernetes.io/name=\"writer\"\ntier=\"x\"\n");
    wait("").await;
    let (status, [_, _, reason], _) = ask(&attache, &[url]).await;
    assert_eq!((status, reason), (407, "identity_conflict".into()));
}

#[tokio::test]
async fn a_pod_that_is_not_clearly_one_agents_is_not_served() {
    let upstream = Upstream::https(HOSTS).await;
    let folder = tempfile::tempdir().unwrap();
    write_labels(folder.path(), "..1", "app.kubernetes.io/name=\"writer\"\n");
    let (labels, missing) = (folder.path().join("labels"), folder.path().join("missing"));
    let two = POLICY.replace("namespace: desk", "namespace: [desk, prod]");
    let pod = |namespace, account, labels| Pod { namespace, account, labels };
    for (name, pod, policy, flags, said) in [
        ("two", pod("prod", "coder", &labels), &*two, &[][..], "is both `coder` and `ann`"),
        ("unreadable labels", pod("prod", "default", &missing), POLICY, &[], "No such file or directory"),
        ("no account", pod("prod", "", &labels), POLICY, &[], "ATTACHE_POD_SERVICE_ACCOUNT"),
        ("another by --agent", pod("prod", "coder", &labels), POLICY, &["--agent", "bob"], "`--agent` says"),
    ] {
        let output = pod.setup(&upstream, policy).flags(flags.iter().copied()).refused().await;
        assert_eq!(output.exit, 2, "{name}: {output:?}");
        assert!(output.stderr.contains(said), "{name}: {output:?}");
    }
}

#[tokio::test]
async fn where_there_is_no_pod_run_says_who_nobody_can_be() {
    let setup = Attache::up("agents: {coder: {identity: [{kubernetes: {namespace: prod}}]}}");
    let output = setup.run(vec!["true".into()]).await;
    assert_eq!(output.exit, 0, "{output:?}");
    assert!(output.stderr.contains("nobody can be coder here"), "{output:?}");
}
