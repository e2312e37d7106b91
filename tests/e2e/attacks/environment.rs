//! What an agent's processes find of attaché in `/proc` and on disk: by another user's id, as in a pod, and isolated.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::{Attache, Upstream, script};

const POLICY: &str = r#"
allowedDomains: [api.example.com]
credentials:
  - {name: key, envVarKey: API_KEY, injections: [{domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}]}
  - {name: other, file: SECRET_FILE, injections: [{domain: api.example.com, headerName: X-Other, headerFormat: "{value}"}]}
"#;

/// Reads whatever there is to read of these processes and of this directory, and says what could be.
const LOOK: &str = "
import json, os, socket, sys
state, pids = sys.argv[1], sys.argv[2:]
seen, text = {}, b''

def note(name, act):
    global text
    try:
        found = act()
        seen[name] = 'open'
        text += found if isinstance(found, bytes) else repr(found).encode()
    except (OSError, ValueError) as error:
        seen[name] = 'closed'

def read(path):
    with open(path, 'rb') as file:
        return file.read(1 << 20)

def memory(pid):
    with open(f'/proc/{pid}/maps') as maps:
        start = int(maps.readline().split('-')[0], 16)
    with open(f'/proc/{pid}/mem', 'rb') as mem:
        mem.seek(start)
        return mem.read(64)

def fds(pid):
    names = os.listdir(f'/proc/{pid}/fd')
    for name in names:
        with open(f'/proc/{pid}/fd/{name}', 'rb', buffering=0) as file:
            file.read(1)
    return b''

for pid in pids:
    for name in ['environ', 'auxv', 'stack', 'syscall', 'io']:
        note(f'{pid} {name}', lambda: read(f'/proc/{pid}/{name}'))
    note(f'{pid} maps', lambda: read(f'/proc/{pid}/maps') or (_ for _ in ()).throw(OSError()))
    note(f'{pid} mem', lambda: memory(pid))
    note(f'{pid} fd', lambda: fds(pid))
    for name in ['cwd', 'root', 'exe']:
        note(f'{pid} {name}', lambda: os.readlink(f'/proc/{pid}/{name}'))
    note(f'{pid} root/', lambda: os.listdir(f'/proc/{pid}/root'))
    try:
        text += read(f'/proc/{pid}/cmdline') + read(f'/proc/{pid}/status')
    except OSError:
        pass
for folder, folders, files in os.walk(state):
    for name in files + folders:
        path = os.path.join(folder, name)
        place = 'state ' + os.path.relpath(path, state)
        if os.path.isdir(path):
            note(place, lambda: os.listdir(path))
        elif name.endswith('.sock'):
            def knock():
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(5)
                    s.connect(path)
                    s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
                    if not s.recv(1):
                        raise OSError('closed')
                return b''
            note(place, knock)
        else:
            note(place, lambda: read(path))
            note(place + ' (writing)', lambda: os.close(os.open(path, os.O_WRONLY)) or b'')
for path in ['service.sock', 'control.sock', 'admin.sock', 'envoy-access.jsonl', 'journal', 'ca.key', 'envoy.yaml']:
    note('guessed ' + path, lambda: os.lstat(os.path.join(state, path)) and b'')
note('a file of its own there', lambda: os.close(os.open(os.path.join(state, 'mine'), os.O_CREAT | os.O_WRONLY)) or b'')
for signal in [0, 19]:
    for pid in pids:
        note(f'{pid} signal {signal}', lambda: os.kill(int(pid), signal) or b'')
print(json.dumps({'seen': seen, 'text': text.decode(errors='replace')}))
";

/// The user nobody, as a container of an agent's has another id than the sidecar's.
#[tokio::test]
async fn another_user_finds_nothing_of_attache() {
    if !rustix::process::geteuid().is_root() {
        panic!("to be another user, a test has to be root");
    }
    let upstream = Upstream::https(["api.example.com"]).await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cret-in-a-file\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let policy = POLICY.replace("SECRET_FILE", secret.to_str().unwrap());
    // The test's own folders are closed to others; here the state's own mode is what counts.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let state = folder.path().join("state");
    let setup = Attache::up(&policy).env("API_KEY", "s3cret-api-key").state_dir(&state);
    let attache = setup.resolve("api.example.com", &upstream).start().await;
    assert_eq!(attache.curl(["https://api.example.com/"]).await.status, 200);
    assert_eq!(upstream.requests()[0].header("x-other"), Some("s3cret-in-a-file"));
    let (service, envoy) = (attache.service().await, attache.envoy().await);
    let supervisor = crate::support::process::parent(service);

    let mut look = script::python(LOOK);
    look.push(state.clone().into());
    look.extend([supervisor, service, envoy].map(|pid| pid.to_string().into()));
    let mut command: Vec<std::ffi::OsString> =
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"].map(Into::into).to_vec();
    command.extend(look);
    let output = script::run(command, &[]).await;
    assert_eq!(output.exit, 0, "{output:?}");
    let found: Value = serde_json::from_str(&output.stdout).unwrap();
    // What agents are to trust is theirs to read.
    let open: Vec<_> = found["seen"].as_object().unwrap().iter().filter(|(_, how)| *how == "open").collect();
    let public = |name: &str| ["state ca.pem", "state bundle.pem", "state bundle.p12"].contains(&name);
    assert!(open.iter().all(|(name, _)| public(name)), "{open:?}");
    assert!(found["seen"].as_object().unwrap().len() > 40, "too little was tried: {found}");
    assert!(!found["text"].as_str().unwrap().contains("s3cret"), "{found}");
    assert_eq!(attache.curl(["https://api.example.com/"]).await.status, 200, "nothing has come of its signals");
}

/// The same user, without its network and its capabilities: `attache run --isolate`.
#[tokio::test]
async fn an_isolated_agent_finds_no_secret_of_attache() {
    const ISOLATED: &str = "
import os, sys
state = os.path.dirname(os.environ['CURL_CA_BUNDLE'])
import json
ready = json.load(open(os.path.join(state, 'state.json')))
sys.argv = ['look', state, str(os.getppid()), str(ready['servicePid']), str(ready['envoyPid'])]
";
    let upstream = Upstream::https(["api.example.com"]).await;
    // Files of the user's stay readable, as the README says: so none of these holds a secret.
    let policy: String =
        POLICY.lines().filter(|line| !line.contains("SECRET_FILE")).map(|line| format!("{line}\n")).collect();
    // It may signal its user's processes, which come back: that is not tried here.
    let look = LOOK.replace("for signal in [0, 19]:", "for signal in []:");
    let wrapper = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"];
    let ran = Attache::up(&policy)
        .env("API_KEY", "s3cret-api-key")
        .resolve("api.example.com", &upstream)
        .flags(["--isolate"])
        .through(if rustix::process::geteuid().is_root() { wrapper.to_vec() } else { Vec::new() })
        .run(script::python(&format!("{ISOLATED}{look}")))
        .await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    let found: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    for (name, how) in found["seen"].as_object().unwrap() {
        let what = name.split_once(' ').unwrap().1;
        let closed = ["environ", "mem", "maps", "fd", "auxv", "root/", "cwd"].contains(&what)
            || (name.starts_with("state ") && what.ends_with(".sock"))
            || name.starts_with("guessed ");
        assert!(!closed || how == "closed", "{name} is {how}: {found}");
    }
    // What it has of the state directory is a copy of what it is to trust: writing there changes nothing.
    let has: Vec<_> =
        found["seen"].as_object().unwrap().keys().filter_map(|name| name.strip_prefix("state ")).collect();
    let copies = ["bundle.p12", "bundle.pem", "ca.pem", "state.json"];
    assert!(has.iter().all(|name| copies.contains(&name.trim_end_matches(" (writing)"))), "{has:?}");
    assert!(!found["text"].as_str().unwrap().contains("s3cret"), "{found}");
}
