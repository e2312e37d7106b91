//! What is injected, what is refused, and what is left alone.

mod fidelity;
mod refusals;

use serde_json::{Value, json};

use super::*;

/// Options with three variables of each sort.
fn options() -> Options {
    let variable = |name: &str, value: &str, joins| Variable { name: name.to_owned(), value: value.to_owned(), joins };
    let environment = vec![
        variable("SSL_CERT_FILE", "/run/attache-trust/bundle.pem", false),
        variable("DENO_CERT", "/run/attache-trust/ca.pem", false),
        variable("JAVA_TOOL_OPTIONS", JAVA, true),
    ];
    Options { environment, ..Options::default() }
}

const JAVA: &str = "-Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStore=/run/attache-trust/bundle.p12";

fn proxied() -> Options {
    let mut options = Options { mode: Mode::ProxyEnv, ..options() };
    for (name, value) in [("HTTPS_PROXY", PROXY), ("NO_PROXY", "localhost"), ("ALL_PROXY", "")] {
        options.environment.push(Variable { name: name.to_owned(), value: value.to_owned(), joins: false });
    }
    options
}

fn run(options: &Options, text: &str) -> Result<Injected, Vec<String>> {
    inject(options, &[Input { name: "in.yaml", text }])
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn injected(options: &Options, text: &str) -> String {
    run(options, text).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}")).text
}

/// Every document of a stream, as a cluster's own reader would have it.
fn documents(text: &str) -> Vec<Value> {
    use serde::Deserialize;
    serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// A pod with an agent, and these fields in the pod's spec and the agent's container.
fn pod(spec: &str, container: &str) -> String {
    let security = if container.contains("securityContext") { "" } else { "    securityContext: {runAsUser: 10001}\n" };
    let line = |indent: &str, text: &str| text.lines().map(|line| format!("{indent}{line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n{}  containers:\n  - name: agent\n    image: i\n{security}{}",
        line("  ", spec),
        line("    ", container),
    )
}

fn only(text: &str) -> Value {
    let mut all = documents(text);
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0)
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn the_sidecars_come_before_the_users_init_containers() {
    let text = pod("initContainers:\n- {name: warm-up, image: i, securityContext: {runAsUser: 7}}", "");
    let pod = only(&injected(&options(), &text));
    let spec = &pod["spec"];
    assert_eq!(names(&spec["initContainers"]), ["attache-net", "attache", "attache-envoy", "warm-up"]);
    assert_eq!(names(&spec["containers"]), ["agent"]);
    assert_eq!(pod["metadata"]["labels"], json!({"attache.dev/mode": "redirect"}));
    assert_eq!(spec["automountServiceAccountToken"], json!(false));
    let trust = json!([{"name": "attache-trust", "mountPath": "/run/attache-trust", "readOnly": true}]);
    for (container, user) in [(&spec["containers"][0], 10001), (&spec["initContainers"][3], 7)] {
        assert_eq!(names(&container["env"]), ["SSL_CERT_FILE", "DENO_CERT", "JAVA_TOOL_OPTIONS"]);
        assert_eq!(container["volumeMounts"], trust);
        assert_eq!(
            container["securityContext"],
            json!({
                "runAsUser": user,
                "runAsNonRoot": true,
                "allowPrivilegeEscalation": false,
                "seccompProfile": {"type": "RuntimeDefault"},
                "capabilities": {"drop": ["ALL"]},
            })
        );
    }
}

/// The file is the only source: what comes out beside names and images is what stands in it.
#[test]
fn what_is_injected_is_what_the_file_says() {
    let source = only(include_str!("../../../deploy/kubernetes/sidecars.yaml"));
    let pod = only(&injected(&options(), &pod("", "")));
    assert_eq!(pod["spec"]["initContainers"], source["spec"]["initContainers"]);
    assert_eq!(pod["spec"]["volumes"], source["spec"]["volumes"]);
}

#[test]
fn every_kind_of_workload_is_known() {
    let spec = "spec: {containers: [{name: agent, image: i, securityContext: {runAsUser: 7}}]}";
    for (api, kind, text, way) in [
        ("v1", "Pod", spec.to_owned(), ""),
        ("v1", "ReplicationController", format!("spec: {{template: {{{spec}}}}}"), "/spec/template"),
        ("apps/v1", "Deployment", format!("spec: {{template: {{{spec}}}}}"), "/spec/template"),
        ("apps/v1", "StatefulSet", format!("spec: {{template: {{{spec}}}}}"), "/spec/template"),
        ("apps/v1", "DaemonSet", format!("spec: {{template: {{{spec}}}}}"), "/spec/template"),
        ("apps/v1", "ReplicaSet", format!("spec: {{template: {{{spec}}}}}"), "/spec/template"),
        ("batch/v1", "Job", format!("spec: {{template: {{{spec}}}}}"), "/spec/template"),
        (
            "batch/v1",
            "CronJob",
            format!("spec: {{jobTemplate: {{spec: {{template: {{{spec}}}}}}}}}"),
            "/spec/jobTemplate/spec/template",
        ),
    ] {
        let text = format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: w}}\n{text}\n");
        let result = run(&options(), &text).unwrap();
        assert_eq!(result.workloads, 1, "{kind}");
        let object = only(&result.text);
        let pod = object.pointer(way).unwrap();
        assert_eq!(names(&pod["spec"]["initContainers"]), ["attache-net", "attache", "attache-envoy"], "{kind}");
        assert_eq!(pod["metadata"]["labels"]["attache.dev/mode"], "redirect", "{kind}");
    }
}

#[test]
fn names_images_and_ports_are_those_asked_for() {
    let options = Options {
        policy_configmap: "p".to_owned(),
        envoy_configmap: "e".to_owned(),
        credentials_secret: "c".to_owned(),
        image: Some("r/a@sha256:1".to_owned()),
        net_image: Some("r/n:1".to_owned()),
        envoy_image: Some("r/e:1".to_owned()),
        ports: vec![80, 8443],
        inbound: Inbound::Ports(vec!["8080".to_owned(), "53/udp".to_owned()]),
        ..options()
    };
    let pod = only(&injected(&options, &pod("", "")));
    let containers = pod["spec"]["initContainers"].as_array().unwrap();
    let images: Vec<_> = containers.iter().map(|container| container["image"].as_str().unwrap()).collect();
    assert_eq!(images, ["r/n:1", "r/a@sha256:1", "r/e:1"]);
    assert_eq!(
        containers[0]["args"],
        json!(["net", "apply", "--port", "80,8443", "--inbound", "8080", "--inbound", "53/udp"])
    );
    let volume = |name: &str| pod["spec"]["volumes"].as_array().unwrap().iter().find(|v| v["name"] == name).unwrap();
    assert_eq!(volume("attache-policy")["configMap"]["name"], "p");
    assert_eq!(volume("attache-envoy")["configMap"]["name"], "e");
    assert_eq!(
        volume("attache-credentials")["secret"],
        json!({"secretName": "c", "optional": true, "defaultMode": 292})
    );
}

#[test]
fn the_ports_a_pod_serves_on_stay_open() {
    let text = pod(
        "initContainers:\n- {name: side, image: i, restartPolicy: Always, securityContext: {runAsUser: 7}, ports: [{containerPort: 7000}]}",
        "ports:\n- {name: http, containerPort: 8080}\n- {name: dns, containerPort: 5353, protocol: UDP}\n\
         livenessProbe: {grpc: {port: 9000}}\nreadinessProbe: {httpGet: {port: http}}\nstartupProbe: {tcpSocket: {port: \"8081\"}}\n\
         lifecycle: {preStop: {httpGet: {port: 8082}}, postStart: {httpGet: {port: 1, host: other.example}}}",
    );
    let arguments = |options: &Options| {
        let pod = only(&injected(options, &text));
        let all = pod["spec"]["initContainers"][0]["args"].as_array().unwrap().clone();
        all.into_iter().skip(2).filter(|argument| argument != "--inbound").collect::<Vec<_>>()
    };
    assert_eq!(arguments(&options()), ["7000", "8080", "5353/udp", "9000", "8081", "8082"]);
    assert_eq!(arguments(&Options { inbound: Inbound::All, ..options() }), ["all"]);
    let none = pod_without_ports();
    assert_eq!(only(&injected(&options(), &none))["spec"]["initContainers"][0]["args"], json!(["net", "apply"]));
}

fn pod_without_ports() -> String {
    pod("", "")
}

#[test]
fn without_a_firewall_in_the_pod_no_container_sets_one() {
    for (options, label) in [(Options { mode: Mode::Cni, ..options() }, "cni"), (proxied(), "proxy-env")] {
        // A port that no firewall has to let in needs no number.
        let pod = only(&injected(&options, &pod("", "livenessProbe: {httpGet: {port: unknown}}")));
        assert_eq!(names(&pod["spec"]["initContainers"]), ["attache", "attache-envoy"], "{label}");
        assert_eq!(pod["metadata"]["labels"]["attache.dev/mode"], label);
    }
}

#[test]
fn what_the_user_secured_stays() {
    let text = pod(
        "securityContext: {runAsNonRoot: true, runAsUser: 5, fsGroup: 5, seccompProfile: {type: Localhost, localhostProfile: a.json}}\n\
         automountServiceAccountToken: true",
        "securityContext: {capabilities: {drop: [NET_RAW], add: [NET_BIND_SERVICE]}, readOnlyRootFilesystem: true}",
    );
    let result = run(&options(), &text).unwrap();
    let pod = only(&result.text);
    assert_eq!(
        pod["spec"]["containers"][0]["securityContext"],
        json!({
            "capabilities": {"drop": ["NET_RAW", "ALL"], "add": ["NET_BIND_SERVICE"]},
            "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false,
        })
    );
    assert_eq!(pod["spec"]["automountServiceAccountToken"], json!(true));
    assert!(result.notes.iter().any(|note| note.text.contains("a token for the API server")), "{:?}", result.notes);
}

#[test]
fn who_nobody_named_runs_as_the_user_of_the_flag() {
    let text = pod("", "securityContext: {}");
    let named = Options { run_as_user: Some(10_000), ..options() };
    assert_eq!(only(&injected(&named, &text))["spec"]["containers"][0]["securityContext"]["runAsUser"], 10_000);
    let said = pod("securityContext: {runAsUser: 5}", "securityContext: {}");
    let security = &only(&injected(&named, &said))["spec"]["containers"][0]["securityContext"];
    assert_eq!(security.get("runAsUser"), None);
}

#[test]
fn javas_options_go_behind_the_users() {
    for (theirs, expected) in [("\"-Xmx1g\"", format!("-Xmx1g {JAVA}")), ("\"\"", JAVA.to_owned())] {
        let text = pod("", &format!("env:\n- {{name: JAVA_TOOL_OPTIONS, value: {theirs}}}"));
        let once = injected(&options(), &text);
        let env = only(&once)["spec"]["containers"][0]["env"].clone();
        let java = env.as_array().unwrap().iter().find(|variable| variable["name"] == "JAVA_TOOL_OPTIONS").unwrap();
        assert_eq!(java["value"], json!(expected));
        assert_eq!(injected(&options(), &once), once);
    }
}

#[test]
fn what_the_user_trusts_can_be_kept() {
    let text = pod("", "env:\n- {name: SSL_CERT_FILE, value: /corp.pem}");
    let problems = run(&options(), &text).unwrap_err();
    assert!(problems[0].contains("container agent: `SSL_CERT_FILE` is set"), "{problems:?}");
    let result = run(&Options { keep_env: true, ..options() }, &text).unwrap();
    let env = only(&result.text)["spec"]["containers"][0]["env"].clone();
    assert_eq!(names(&env), ["SSL_CERT_FILE", "DENO_CERT", "JAVA_TOOL_OPTIONS"]);
    assert_eq!(env[0]["value"], "/corp.pem");
    assert!(result.notes[0].to_string().contains("`SSL_CERT_FILE` stays"), "{:?}", result.notes);
}

#[test]
fn an_injection_can_be_repeated_and_changed() {
    let user = "initContainers:\n- {name: warm-up, image: i, securityContext: {runAsUser: 7}}\nvolumes:\n- {name: tmp, emptyDir: {}}";
    let text = pod(
        user,
        "env:\n- {name: A, value: b}\nvolumeMounts:\n- {name: tmp, mountPath: /tmp}\nports:\n- containerPort: 80",
    );
    let once = injected(&options(), &text);
    assert_eq!(injected(&options(), &once), once);
    let newer = Options { image: Some("attache:99".to_owned()), policy_configmap: "other".to_owned(), ..options() };
    assert_eq!(injected(&newer, &once), injected(&newer, &text));
    for other in [Options { mode: Mode::Cni, ..options() }, proxied()] {
        let changed = injected(&other, &once);
        assert_eq!(changed, injected(&other, &text));
        assert_eq!(injected(&options(), &changed), once, "and back");
    }
    // An older version's leftovers go, a hand that weakened a sidecar is undone.
    let weakened = once
        .replace("runAsUser: 1338", "runAsUser: 0")
        .replace("/run/attache-trust/ca.pem", "/run/attache-trust/old.pem");
    assert_ne!(weakened, once);
    assert_eq!(injected(&options(), &weakened), once);
}

/// What a cluster gives back has its fields in the order of the alphabet, and is JSON.
#[test]
fn what_comes_back_from_a_cluster_is_recognised() {
    let once = only(&injected(&options(), &pod("", "ports:\n- containerPort: 80")));
    let back = serde_json::to_string(&once).unwrap();
    let again = injected(&options(), &back);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again, once);
}

#[test]
fn a_pod_that_says_so_stays_ungoverned() {
    for (metadata, note) in [
        ("annotations: {attache.dev/inject: \"false\"}", "as `attache.dev/inject` says"),
        ("labels: {attache.dev/inject: \"false\"}", "as `attache.dev/inject` says"),
        ("annotations: {attache.dev/exempt: the registry itself}", "says: the registry itself"),
    ] {
        // Not even looked at: it may be as unsafe as it likes.
        let text = pod("hostNetwork: true", "").replace("name: p\n", &format!("name: p\n  {metadata}\n"));
        let result = run(&options(), &text).unwrap();
        assert_eq!(result.text, text);
        assert_eq!(result.workloads, 0);
        assert!(result.notes[0].to_string().contains(note), "{:?}", result.notes);
    }
    let text = pod("", "").replace("name: p\n", "name: p\n  annotations: {attache.dev/inject: \"true\"}\n");
    assert_eq!(run(&options(), &text).unwrap().workloads, 1);
}

#[test]
fn a_list_is_its_items() {
    let indented: String = pod("", "").lines().map(|line| format!("  {line}\n")).collect();
    let text = format!(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {{name: s}}\n- {}",
        indented.trim_start()
    );
    let result = run(&options(), &text).unwrap();
    assert_eq!(result.workloads, 1);
    let list = only(&result.text);
    assert_eq!(list["items"][0], json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}));
    assert_eq!(list["items"][1], only(&injected(&options(), &pod("", ""))));
    assert_eq!(injected(&options(), &result.text), result.text);
    // kubectl looks at `items` and not at the name.
    let other = run(&options(), &text.replace("kind: List", "kind: ServiceList")).unwrap();
    assert_eq!(other.text, result.text.replace("kind: List", "kind: ServiceList"));
}

#[test]
fn other_kinds_are_left_as_they_are() {
    let text = "# of the team\napiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: r}\n\
                spec: {template: {spec: {containers: [{name: c}]}}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
    let result = run(&options(), text).unwrap();
    assert_eq!(result.text, text);
    assert_eq!(result.notes.len(), 1, "{:?}", result.notes);
    let note = result.notes[0].to_string();
    assert_eq!(
        note,
        "in.yaml:1: Rollout r: has containers, but argoproj.io/v1alpha1 Rollout is not known: left as it is, ungoverned"
    );
}
