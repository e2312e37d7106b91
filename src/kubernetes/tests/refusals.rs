//! Every pod that no sidecar could govern, and every text that cannot be read. Each is the pod that the other tests
//! inject into, with one thing changed.

use super::*;

#[test]
fn an_unsafe_pod_is_refused_with_what_to_change() {
    injected(&options(), &pod("", ""));
    injected(&options(), &pod("volumes: [{name: v, emptyDir: {}}]", "volumeMounts: [{name: v, mountPath: /run}]"));
    for (spec, container, expected) in [
        ("hostNetwork: true", "", "`hostNetwork: true` puts the pod into the node's network"),
        ("hostPID: true", "", "`hostPID: true`"),
        ("hostIPC: true", "", "`hostIPC: true`"),
        ("shareProcessNamespace: true", "", "`shareProcessNamespace: true`"),
        ("hostNetwork: yes", "", "`hostNetwork: yes` is read in more than one way: write true or false"),
        ("hostNetwork: \"true\"", "", "`hostNetwork: \"true\"` is read in more than one way"),
        ("os: {name: windows}", "", "this pod is for Windows"),
        ("securityContext: {windowsOptions: {hostProcess: true}}", "", "this pod is for Windows"),
        ("", "securityContext: {runAsUser: 5, windowsOptions: {}}", "this pod is for Windows"),
        ("ephemeralContainers: [{name: debug, image: i}]", "", "remove `ephemeralContainers`"),
        ("ephemeralContainers: debug", "", "remove `ephemeralContainers`"),
        (
            "securityContext: {sysctls: [{name: net.ipv4.ip_forward, value: \"1\"}]}",
            "",
            "the sysctl `net.ipv4.ip_forward`",
        ),
        (
            "securityContext: {sysctls: [{name: net/ipv4/ip_forward, value: \"1\"}]}",
            "",
            "the sysctl `net/ipv4/ip_forward`",
        ),
        ("securityContext: {runAsUser: 0}", "", "`runAsUser: 0` is root"),
        ("securityContext: {runAsUser: 101}", "", "`runAsUser: 101` is a user the firewall lets pass"),
        ("securityContext: {runAsNonRoot: false}", "", "`runAsNonRoot: false`"),
        ("securityContext: {runAsGroup: 1338}", "", "`runAsGroup` has group 1338"),
        ("securityContext: {fsGroup: 1338}", "", "`fsGroup` has group 1338"),
        ("securityContext: {supplementalGroups: [5, 1338]}", "", "`supplementalGroups` has group 1338"),
        ("securityContext: {supplementalGroups: 1338}", "", "`supplementalGroups` is not a list of numbers"),
        ("securityContext: {seccompProfile: {type: Unconfined}}", "", "seccomp profile `Unconfined`"),
        ("securityContext: none", "", "`securityContext` is not a mapping"),
        (
            "volumes: [{name: v, hostPath: {path: /var/run/docker.sock}}]",
            "",
            "the hostPath volume `v` (`/var/run/docker.sock`)",
        ),
        ("volumes: [{name: attache-trust, emptyDir: {}}]", "", "the name `attache-trust` is attaché's"),
        ("volumes: [{name: attache-mine, emptyDir: {}}]", "", "the name `attache-mine` is attaché's"),
        (
            "volumes: [{name: v, secret: {secretName: attache-credentials}}]",
            "",
            "reads `attache-credentials` (the volume `v`)",
        ),
        ("volumes: [{name: v, configMap: {name: attache-policy}}]", "", "reads `attache-policy` (the volume `v`)"),
        (
            "volumes: [{name: v, projected: {sources: [{configMap: {name: attache-envoy}}]}}]",
            "",
            "reads `attache-envoy` (the volume `v`)",
        ),
        (
            "volumes: [{name: v, projected: {sources: [{secret: {name: attache-credentials}}]}}]",
            "",
            "reads `attache-credentials` (the volume `v`)",
        ),
        ("volumes: {name: v}", "", "`volumes` is not a list of mappings"),
        ("initContainers: [5]", "", "`initContainers` is not a list of mappings"),
        (
            "initContainers: [{name: first, image: i, securityContext: {runAsUser: 0}}]",
            "",
            "container first: `runAsUser: 0` is root",
        ),
        ("initContainers: [{name: first, image: i}]", "", "container first: no `runAsUser`"),
        (
            "initContainers: [{name: attache-net, image: i, securityContext: {runAsUser: 5}}]",
            "",
            "container attache-net: the name `attache-net` is attaché's",
        ),
        (
            "initContainers: [{image: i, securityContext: {runAsUser: 5}}]",
            "",
            "container without a name: `name` is not given",
        ),
        ("", "securityContext: {}", "container agent: no `runAsUser`, so its image decides"),
        ("", "securityContext: {runAsUser: null}", "container agent: no `runAsUser`"),
        ("", "securityContext: {runAsNonRoot: true}", "container agent: no `runAsUser`"),
        ("", "securityContext: {runAsUser: 0}", "container agent: `runAsUser: 0` is root"),
        ("", "securityContext: {runAsUser: 1338}", "container agent: `runAsUser: 1338`"),
        ("", "securityContext: {runAsUser: 101}", "container agent: `runAsUser: 101`"),
        // Each of them is 1338 to some reader, or to this one.
        ("", "securityContext: {runAsUser: 0x53a}", "`runAsUser: 0x53a` is read in more than one way"),
        ("", "securityContext: {runAsUser: 02472}", "`runAsUser: 02472`"),
        ("", "securityContext: {runAsUser: 1_338}", "`runAsUser: 1_338`"),
        ("", "securityContext: {runAsUser: 1338.0}", "`runAsUser: 1338.0`"),
        ("", "securityContext: {runAsUser: 1.338e3}", "`runAsUser: 1.338e3`"),
        ("", "securityContext: {runAsUser: +1338}", "`runAsUser: +1338`"),
        ("", "securityContext: {runAsUser: \"1338\"}", "`runAsUser: \"1338\"`"),
        ("", "securityContext: {runAsUser: -0}", "`runAsUser: -0`"),
        ("", "securityContext: {runAsUser: [5]}", "`runAsUser: […]`"),
        ("", "securityContext: {runAsUser: 99999999999999999999}", "`runAsUser: 99999999999999999999`"),
        ("", "securityContext: {runAsUser: 5, runAsNonRoot: false}", "`runAsNonRoot: false`"),
        ("", "securityContext: {runAsUser: 5, runAsGroup: 1338}", "`runAsGroup` has group 1338"),
        ("", "securityContext: {runAsUser: 5, privileged: true}", "`privileged: true`"),
        ("", "securityContext: {runAsUser: 5, allowPrivilegeEscalation: true}", "`allowPrivilegeEscalation: true`"),
        ("", "securityContext: {runAsUser: 5, capabilities: {add: [NET_RAW]}}", "the capability `NET_RAW`"),
        ("", "securityContext: {runAsUser: 5, capabilities: {add: [ALL]}}", "the capability `ALL`"),
        ("", "securityContext: {runAsUser: 5, capabilities: {add: NET_RAW}}", "`capabilities.add` is not a list"),
        ("", "securityContext: {runAsUser: 5, procMount: Unmasked}", "`procMount: Unmasked`"),
        ("", "securityContext: {runAsUser: 5, seccompProfile: {type: Unconfined}}", "seccomp profile `Unconfined`"),
        ("", "volumeMounts: [{name: attache-ca, mountPath: /ca}]", "mounts `attache-ca`, a volume of attaché's"),
        ("", "volumeMounts: [{name: v, mountPath: /run/attache-trust}]", "mounts a volume at `/run/attache-trust`"),
        ("", "volumeMounts: [{name: v, mountPath: /run//./x/../attache-trust/a}]", "mounts a volume at"),
        ("", "volumeDevices: [{name: attache-state, devicePath: /dev/a}]", "mounts `attache-state`"),
        ("", "volumeMounts: x", "`volumeMounts` is not a list of mappings"),
        (
            "",
            "env: [{name: A, valueFrom: {secretKeyRef: {name: attache-credentials, key: k}}}]",
            "reads `attache-credentials` (the variable `A`)",
        ),
        (
            "",
            "env: [{name: A, valueFrom: {configMapKeyRef: {name: attache-policy, key: k}}}]",
            "reads `attache-policy` (the variable `A`)",
        ),
        ("", "envFrom: [{secretRef: {name: attache-credentials}}]", "reads `attache-credentials` (envFrom)"),
        ("", "envFrom: [{configMapRef: {name: attache-envoy}}]", "reads `attache-envoy` (envFrom)"),
        ("", "env: [{name: SSL_CERT_FILE, value: /corp.pem}]", "`SSL_CERT_FILE` is set"),
        ("", "env: [{name: DENO_CERT, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]", "`DENO_CERT` is set"),
        (
            "",
            "env: [{name: JAVA_TOOL_OPTIONS, value: -Djavax.net.ssl.trustStore=/c.jks}]",
            "`JAVA_TOOL_OPTIONS` is set",
        ),
        ("", "env: [{value: a}]", "`env` is not a list of mappings with names"),
        ("", "ports: [{containerPort: 9464}]", "the port 9464 is attaché's or Envoy's"),
        ("", "ports: [{containerPort: 0}]", "`containerPort` is not a port"),
        ("", "ports: [{containerPort: 70000}]", "`containerPort` is not a port"),
        ("", "ports: [{containerPort: 8080, protocol: SCTP}]", "port 8080: SCTP does not go through the firewall"),
        ("", "livenessProbe: {httpGet: {port: nowhere}}", "`nowhere` is no port"),
    ] {
        let text = pod(spec, container);
        let problems = run(&options(), &text).map(|result| result.text).expect_err(&text);
        assert_eq!(problems.len(), 1, "{text}\n{problems:#?}");
        assert!(problems[0].starts_with("in.yaml:1: Pod p") && problems[0].contains(expected), "{text}\n{problems:#?}");
    }
}

#[test]
fn the_names_of_an_injection_are_what_the_agent_must_not_read() {
    let options = Options { credentials_secret: "keys".to_owned(), policy_configmap: "rules".to_owned(), ..options() };
    let problems = run(&options, &pod("", "envFrom: [{secretRef: {name: keys}}, {configMapRef: {name: rules}}]"));
    assert_eq!(problems.unwrap_err().len(), 2);
    injected(&options, &pod("", "envFrom: [{secretRef: {name: rules}}, {configMapRef: {name: keys}}]"));
}

#[test]
fn the_users_proxy_is_refused_where_the_proxy_is_all_there_is() {
    let text = |name: &str| pod("", &format!("env: [{{name: {name}, value: \"http://other:3128\"}}]"));
    for name in ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        let problems = run(&Options { keep_env: true, ..proxied() }, &text(name)).unwrap_err();
        assert!(problems[0].contains(&format!("`{name}` is set, and decides which proxy")), "{problems:?}");
        injected(&options(), &text(name));
    }
}

#[test]
fn what_an_earlier_injection_left_does_not_hide_what_is_the_users() {
    let once = injected(&options(), &pod("", ""));
    for (from, to, expected) in [
        ("  - name: agent\n", "  - name: attache\n", "the name `attache` is attaché's"),
        ("readOnly: true\n    securityContext", "readOnly: false\n    securityContext", "mounts `attache-trust`"),
        ("  containers:\n", "  hostNetwork: true\n  containers:\n", "`hostNetwork: true`"),
    ] {
        // The agent's mount is the last one of the text.
        let at = once.rfind(from).map(|at| (at, at + from.len()));
        let changed = match at {
            Some((begin, end)) => format!("{}{to}{}", &once[..begin], &once[end..]),
            None => {
                let mount = "mountPath: /run/attache-trust\n      readOnly: true\n";
                let at = once.rfind(mount).unwrap();
                format!("{}{}{}", &once[..at], mount.replace("true", "false"), &once[at + mount.len()..])
            }
        };
        assert_ne!(changed, once);
        let problems = run(&options(), &changed).map(|result| result.text).expect_err(&changed);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{problems:#?}");
    }
    // Without the label nothing there is known to be ours.
    let unlabelled = once.replace("attache.dev/mode", "app");
    let problems = run(&options(), &unlabelled).unwrap_err();
    assert!(problems.iter().any(|problem| problem.contains("the name `attache-net` is attaché's")), "{problems:#?}");
}

#[test]
fn everything_wrong_with_every_document_is_said_at_once() {
    let text = format!(
        "{}---\n{}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n",
        pod("hostNetwork: true\nhostPID: true", "securityContext: {runAsUser: 0, privileged: true}"),
        pod("", "securityContext: {runAsUser: 101}").replace("name: p", "name: q\n  namespace: n"),
    );
    let problems = run(&options(), &text).unwrap_err();
    let begin: Vec<_> = problems.iter().map(|problem| problem.split(" `").next().unwrap()).collect();
    assert_eq!(
        begin,
        [
            "in.yaml:1: Pod p:",
            "in.yaml:1: Pod p:",
            "in.yaml:1: Pod p, container agent:",
            "in.yaml:1: Pod p, container agent:",
            "in.yaml:12: Pod n/q, container agent:",
        ],
        "{problems:#?}"
    );
}

#[test]
fn a_claim_does_not_take_the_place_of_a_volume() {
    let template = "spec: {containers: [{name: agent, image: i, securityContext: {runAsUser: 7}}]}";
    let text = |name: &str| {
        format!(
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: w}}\nspec: {{template: {{{template}}}, \
             volumeClaimTemplates: [{{metadata: {{name: {name}}}}}]}}\n"
        )
    };
    injected(&options(), &text("memory"));
    let problems = run(&options(), &text("attache-state")).unwrap_err();
    assert!(problems[0].contains("StatefulSet w: the name `attache-state`"), "{problems:?}");
}

#[test]
fn a_text_that_cannot_be_read_is_refused_with_its_line() {
    let deep = format!("a: {}{}", "[".repeat(80), "]".repeat(80));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n\
                f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    let long = format!("{}: 1", "k".repeat(600));
    for (text, expected) in [
        ("", ":1: there is no object in it"),
        ("# nothing\n---\n---\n", ":1: there is no object in it"),
        ("just words", ":1: an object has a text under `kind`"),
        ("- a\n- b", ":1: an object has a text under `kind`"),
        ("kind: Pod", ":1: an object has a text under `apiVersion`"),
        ("apiVersion: v1\nkind: [Pod]", ":1: an object has a text under `kind`"),
        ("a: b\n---\nc: [", ":4: this is not YAML"),
        ("a: b\n---\n\nx: y: z", ":4: this is not YAML"),
        ("a: 1\nb: 2\na: 3", ":3: `a` is given twice"),
        ("é: x\nb: {?pp: c}", ":2: `?pp` between brackets"),
        ("a: {b: &x [c,\n :d]}", ":2: `:d` between brackets"),
        ("a: [{b: c}, ?d]", ":1: `?d` between brackets"),
        ("{\"a\": 1,\n \"a\": 2}", ":1: `a` is given twice"),
        ("kind: !!binary UG9k", ":1: the tag `!!binary` is not read"),
        ("kind: !x Pod", ":1: the tag `!x` is not read"),
        ("%YAML 1.1\n---\na: b", ":1: directives"),
        ("a: b # \u{2028}kind: Pod", ":1: the character U+2028 ends a line for some"),
        ("a: b # \u{85}kind: Pod", ":1: the character U+0085 ends a line for some"),
        ("a: b # \rkind: Pod", ":1: the character U+000D ends a line for some"),
        ("a: \u{0}", ":1: the character U+0000 cannot stand"),
        ("a: &a [*a]", ":1: an alias"),
        (bomb, ": the document is too large with its aliases written out"),
        (&deep, ":1: nested deeper than 64 levels"),
        ("? [a]\n: b", ":1: a name before a `:`"),
        ("~: b", ":1: a name before a `:`"),
        (&long, ":1: a name before a `:`"),
        ("a: &a {kind: Pod}\n<<: *a", "a merge key (`<<`) cannot stand at the root"),
        ("a: {<<: 5}", ":1: a merge key (`<<`) takes mappings only"),
        (
            "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: w}",
            "Deployment w: `apps/v1beta1` is no version",
        ),
        ("apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nmetadata: {name: w}", "write `batch/v1`"),
        ("apiVersion: v1\nkind: PodList\nitems: []", "write `kind: List`"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: w}\nspec: {}\nitems: [{kind: Pod}]",
            "Pod w: its items need not say",
        ),
        ("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: []}", "a List in a List"),
        (
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: AList, items: [{apiVersion: v1, kind: Pod}]}",
            "a List in a List",
        ),
        ("apiVersion: v1\nkind: List\nitems: 5", "`items` is not a list"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: w}", "Pod w: the pod's `spec` is missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: w}\nspec: {}", "Pod w: the pod has no containers"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: w}\nspec: {}", "the pod's `template` is missing"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: w, annotations: {attache.dev/inject: no}}\nspec: {}",
            "`attache.dev/inject` is \"true\" or \"false\", in quotes, not `no`",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: w, annotations: {attache.dev/inject: false}}\nspec: {}",
            "in quotes, not `false`",
        ),
    ] {
        let problems = run(&options(), text).map(|result| result.text).expect_err(text);
        assert_eq!(problems.len(), 1, "{text}\n{problems:#?}");
        assert!(problems[0].contains(expected), "{text}\n{problems:#?}");
    }
    let large = "#".repeat(SIZE + 1);
    assert!(run(&options(), &large).unwrap_err()[0].contains("larger than 32 MiB"));
}
