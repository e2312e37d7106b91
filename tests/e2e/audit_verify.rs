//! `attache audit` as operators and auditors use it: what holds, what does not, and what they are told.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::script::Output;
use crate::support::{Attache, Upstream, until};

const POLICY: &str = "
allowedDomains: [api.example.com]
credentials:
  - name: key
    envVarKey: KEY
    injections: [{domain: api.example.com, headerName: Authorization, headerFormat: 'Bearer {value}'}]";

#[tokio::test]
async fn a_record_is_verified_while_it_is_written_and_after_and_a_change_is_named() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let mut attache =
        Attache::up(POLICY).env("KEY", "s3cret-value").resolve("api.example.com", &upstream).start().await;
    for n in 0..5 {
        assert_eq!(attache.curl([format!("https://api.example.com/v1/{n}")]).await.status, 200);
        assert_eq!(attache.curl(["https://other.example.com/"]).await.connect_status, 403);
    }
    let report = verified(&attache, &[]).await;
    assert!(report["records"].as_u64().unwrap() >= 11 && report["chains"][0]["ended"] == false, "{report}");

    attache.stop().await;
    let report = verified(&attache, &[]).await;
    assert_eq!(
        (&report["chains"][0]["ended"], &report["chains"][0]["unsigned"]),
        (&true.into(), &0.into()),
        "{report}"
    );
    let checkpoint = audit(&attache, &["checkpoint"]).await;
    assert_eq!(checkpoint.exit, 0, "{checkpoint:?}");
    let kept: Value = serde_json::from_str(&checkpoint.stdout).unwrap();
    let key = kept["publicKey"].as_str().unwrap();
    verified(&attache, &["--checkpoint", &checkpoint.stdout, "--key", key]).await;
    let text = audit(&attache, &["verify"]).await;
    assert!(
        text.exit == 0 && text.stdout.starts_with("the journal holds: ") && text.stdout.contains(", ended"),
        "{text:?}"
    );
    assert_eq!(text.stderr, "", "progress is for terminals");

    exported(&attache).await;

    let segment = segment(&attache);
    let whole = fs::read_to_string(&segment).unwrap();
    let line = whole.lines().position(|line| line.contains("\"path\":\"/v1/3\"")).unwrap() + 1;
    fs::write(&segment, whole.replace("\"path\":\"/v1/3\"", "\"path\":\"/v1/9\"")).unwrap();
    let bad = audit(&attache, &["verify"]).await;
    assert_eq!((bad.exit, &*bad.stdout), (4, ""), "{bad:?}");
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(bad.stderr.contains(&format!("`{name}` line {line} (record {})", line - 1)), "{bad:?}");
    let bad = audit(&attache, &["verify", "-o", "json"]).await;
    let said: Value = serde_json::from_str(&bad.stdout).unwrap();
    assert_eq!((bad.exit, &said["verified"], &said["problem"]["kind"]), (4, &false.into(), &"edit".into()), "{said}");
    assert_eq!((&said["file"], &said["line"]), (&name.into(), &line.into()), "{said}");

    let cut: String = whole.split_inclusive('\n').take(line - 1).collect();
    fs::write(&segment, cut).unwrap();
    assert_eq!(audit(&attache, &["verify"]).await.exit, 0, "alone it cannot show it");
    let bad = audit(&attache, &["verify", "--checkpoint", &checkpoint.stdout]).await;
    assert!(bad.exit == 4 && bad.stderr.contains("was cut off"), "{bad:?}");
    fs::write(&segment, whole).unwrap();
}

async fn exported(attache: &Attache) {
    let ocsf = audit(attache, &["export", "-o", "ocsf"]).await;
    let events: Vec<Value> = ocsf.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // What comes back has the credential in it, which is taken out.
    let requests = |disposition: &str| {
        let is = |event: &&Value| event["class_uid"] == 4002 && event["disposition"] == disposition;
        events.iter().filter(is).count()
    };
    assert_eq!((ocsf.exit, requests("Corrected"), requests("Blocked")), (0, 5, 5));
    let of = |class: u64| events.iter().filter(|event| event["class_uid"] == class).count();
    assert_eq!((of(2006), of(4001)), (5, 0), "five findings, and no handshake failed");
    let csv = audit(attache, &["export", "-o", "csv", "--status", "blocked"]).await;
    assert_eq!((csv.exit, csv.stdout.matches(",CONNECT,").count()), (0, 5), "{csv:?}");
    for output in [ocsf, csv] {
        assert!(!output.stdout.contains("s3cret-value"));
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_said_with_what_can() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).env("KEY", "s3cret-value").resolve("api.example.com", &upstream).start().await;
    let other = Attache::up(POLICY).env("KEY", "s3cret-value").resolve("api.example.com", &upstream).start().await;
    for attache in [&attache, &other] {
        assert_eq!(attache.curl(["https://api.example.com/"]).await.status, 200);
    }
    let strange = until("a checkpoint", async || {
        let checkpoint = audit(&other, &["checkpoint"]).await;
        assert!(checkpoint.exit == 0 || checkpoint.stderr.contains("has no checkpoint yet"), "{checkpoint:?}");
        (checkpoint.exit == 0).then_some(checkpoint.stdout)
    })
    .await;
    let strange_key = serde_json::from_str::<Value>(&strange).unwrap()["publicKey"].as_str().unwrap().to_owned();
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().to_str().unwrap();
    for (arguments, exit, said) in [
        (&["verify", "--checkpoint", &*strange][..], 4, "it is another journal's, or the chain was removed"),
        (&["verify", "--key", &strange_key], 4, "no chain here has the key"),
        (&["verify", "--key", "c2hvcnQ="], 2, "neither the base64 of a public key (32 bytes) nor a file"),
        (&["verify", "--checkpoint", "/no/such/file"], 2, "`/no/such/file` cannot be read"),
        (&["verify", "--checkpoint", "{}"], 2, "give what `attache audit checkpoint` prints"),
        (&["verify", "--journal", folder], 2, "name two journals"),
    ] {
        let output = audit(&attache, arguments).await;
        assert!(output.exit == exit && output.stderr.contains(said), "{arguments:?}: {output:?}");
    }
}

/// `attache audit … verify -o json`, which has to hold.
async fn verified(attache: &Attache, arguments: &[&str]) -> Value {
    let output = audit(attache, &[&["verify", "-o", "json"], arguments].concat()).await;
    assert_eq!(output.exit, 0, "{output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

async fn audit(attache: &Attache, arguments: &[&str]) -> Output {
    attache.command("audit", arguments).await
}

fn segment(attache: &Attache) -> PathBuf {
    let journal: &Path = &attache.ready().state_dir.join("journal");
    let segments = ::attache::journal::segment::list(journal).unwrap();
    segments.into_iter().next_back().unwrap().path
}
