//! What is there was damaged: the service starts all the same, says what it found, and leaves it as it is.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use super::{POLICY, Station, paths, segments, state};
use crate::support::process::Running;
use crate::support::{attache, script};

/// The files of a journal of four runs.
type Files = Vec<PathBuf>;

struct Damage {
    name: &'static str,
    act: fn(&Files),
    /// What the service says at its start.
    said: &'static str,
    /// The kind of problem that verify names, and the file in which it does; none where nothing is lost.
    kind: Option<(&'static str, usize)>,
}

/// What names the file that the next run begins.
const NEW: usize = 4;

const DAMAGES: [Damage; 9] = [
    Damage {
        name: "half a line",
        act: |files| append(&files[3], b"{\"type\":\"decision\",\"req"),
        said: "the journal's last line was not written to its end",
        kind: None,
    },
    Damage {
        name: "half a line and the disk's zeros",
        act: |files| append(&files[3], &[0; 5000]),
        said: "the journal's last line was not written to its end",
        kind: None,
    },
    Damage {
        name: "lines that are none",
        act: |files| append(&files[3], b"garbage\n\n\xff\n"),
        said: "what stands in the journal is damaged",
        kind: Some(("edit", 3)),
    },
    Damage {
        name: "an empty file",
        // As a crash leaves it that comes while a file is begun.
        act: |files| fs::write(&files[3], "").unwrap(),
        said: "",
        kind: None,
    },
    Damage {
        name: "half a first line",
        act: |files| fs::write(&files[3], &fs::read(&files[3]).unwrap()[..40]).unwrap(),
        said: "the journal's last line was not written to its end",
        kind: None,
    },
    Damage {
        name: "a file of something else",
        act: |files| fs::write(&files[3], [&[0x9c; 9000][..], b"\n"].concat()).unwrap(),
        said: "what stands in the journal is damaged",
        kind: Some(("edit", 3)),
    },
    Damage {
        name: "a first line that was cut",
        act: |files| {
            let text = fs::read_to_string(&files[3]).unwrap();
            fs::write(&files[3], &text[20..]).unwrap();
        },
        said: "what stands in the journal is damaged",
        kind: Some(("edit", 3)),
    },
    Damage {
        name: "a file that was removed",
        act: |files| fs::remove_file(&files[1]).unwrap(),
        said: "what stands in the journal is damaged",
        kind: Some(("removed", 2)),
    },
    Damage {
        name: "the last file that was removed",
        act: |files| fs::remove_file(&files[3]).unwrap(),
        said: "",
        kind: None,
    },
];

#[tokio::test]
async fn it_starts_over_every_damage_and_says_what_it_found() {
    let (home, state) = state();
    let mut station = Station::new(POLICY, &state, &[], |setup| setup).await;
    let told = station.ask(paths("first", 5)).await;
    assert!(told.iter().all(|told| told.status == 200), "{told:?}");
    assert!(station.place.attache.stop().await.success());
    for _ in 0..3 {
        assert!(served(&state).await.lines().all(|line| !line.contains("journal")), "nothing is damaged");
    }
    assert_eq!(segments(&state).len(), 4);

    for Damage { name, act, said, kind } in DAMAGES {
        let copy = home.path().join(name);
        fs::create_dir_all(copy.join("journal")).unwrap();
        for file in segments(&state) {
            fs::copy(&file, copy.join("journal").join(file.file_name().unwrap())).unwrap();
        }
        let files = segments(&copy);
        act(&files);
        let damaged: Vec<_> = files.iter().map(|file| fs::read(file).ok()).collect();
        let stderr = served(&copy).await;
        assert!(stderr.contains(said), "{name}: {stderr}");
        assert_eq!(said.is_empty(), !stderr.contains("journal"), "{name}: {stderr}");
        assert!(files.iter().map(|file| fs::read(file).ok()).eq(damaged), "{name}: it was not left as it was");

        let (exit, report) = verify(&copy).await;
        match kind {
            None => assert_eq!(exit, 0, "{name}: {report}"),
            Some((kind, at)) => {
                let file = segments(&copy).into_iter().chain(files).find(|file| number(file) == at).unwrap();
                let file = file.file_name().unwrap().to_str().unwrap().to_owned();
                assert_eq!((exit, &report["problem"]["kind"]), (4, &kind.into()), "{name}: {report}");
                assert_eq!(report["file"], file, "{name}: {report}");
            }
        }
        assert!(segments(&copy).iter().any(|file| number(file) >= NEW - 1), "{name}");
    }
}

/// `attache serve` from its start to its end, and what it said.
async fn served(state: &Path) -> String {
    let home = tempfile::tempdir().unwrap();
    let policy = home.path().join("policy.yaml");
    fs::write(&policy, POLICY).unwrap();
    let mut command = attache::attache(home.path());
    command.args(["serve", "--metrics", "off", "--policy"]).arg(&policy).arg("--state-dir").arg(state);
    let mut running = Running::start("attache serve", command);
    running.line().await;
    running.signal(Signal::TERM);
    assert!(running.exit().await.success());
    running.stderr()
}

async fn verify(state: &Path) -> (i32, Value) {
    let mut command = attache::attache(state);
    let output = script::output(command.args(["audit", "verify", "-o", "json", "--state-dir"]).arg(state)).await;
    let report = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.exit, report)
}

fn append(file: &Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().append(true).open(file).unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
}

fn number(file: &Path) -> usize {
    ::attache::journal::segment::number_of(file).unwrap().try_into().unwrap()
}
