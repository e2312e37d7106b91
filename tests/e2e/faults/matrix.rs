//! What fails, how, and what comes of it.

mod rows;

use std::fmt;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::rows::MATRIX;
use super::rig::{Rig, Seen};

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Attache,
    Envoy,
    Dns,
    Upstream,
    Redis,
    Collector,
    Disk,
    Clock,
    PolicyFile,
    SecretFile,
    Webhook,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Absent,
    Slow,
    Wrong,
    DiesMidRequest,
    ComesBack,
}

/// One cell: what happens, in one or more ways.
pub struct Cell {
    pub component: Component,
    pub fault: Fault,
    pub cases: &'static [Case],
}

/// One way in which it happens, and all that comes of it.
pub struct Case {
    /// What happens.
    pub when: &'static str,
    pub sees: Sees,
    /// How long the agent waits for that at most; [`Fault::ComesBack`]: how long it takes from then on.
    pub within: Within,
    pub recorded: Recorded,
    pub reached: Reached,
    /// A part of what stands in the log.
    pub said: &'static str,
}

/// What the agent sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// The upstream's answer.
    Answer(u16),
    /// Attaché's own answer, or Envoy's, with its reason.
    Refusal(u16, &'static str),
    /// The beginning of the upstream's answer, and then the end of the connection.
    Cut(u16),
    /// The end of the connection, without an answer.
    Closed,
    /// Nobody takes its connection.
    NoListener,
    /// The TLS handshake fails: the certificate is not valid for the agent.
    NoHandshake,
    /// Nothing, until it gives up.
    Nothing,
}

/// A bound on time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// No deadline runs: nobody is waited for.
    AtOnce,
    Seconds(u64),
    Milliseconds(u64),
    /// As long as it likes.
    OwnPatience,
}

/// What stands in the journal of it, in the words of `attache logs -o json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub decision: &'static str,
    pub reason: &'static str,
    pub standing: &'static str,
}

/// How much of the request the upstream has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    Nothing,
    /// The head, and what of the body had been looked at.
    Begun,
    Whole,
}

/// What a busy machine may take longer. Below the shortest deadline of Envoy's, for which nobody may wait by mistake.
const SLACK: Duration = Duration::from_secs(4);

impl Recorded {
    pub const NOTHING: Recorded = Recorded { decision: "", reason: "", standing: "" };
}

impl Component {
    pub const ALL: [Component; 11] = [
        Component::Attache,
        Component::Envoy,
        Component::Dns,
        Component::Upstream,
        Component::Redis,
        Component::Collector,
        Component::Disk,
        Component::Clock,
        Component::PolicyFile,
        Component::SecretFile,
        Component::Webhook,
    ];

    fn name(self) -> &'static str {
        match self {
            Component::Attache => "Attaché",
            Component::Envoy => "Envoy",
            Component::Dns => "DNS",
            Component::Upstream => "Upstream",
            Component::Redis => "Redis (`--store`)",
            Component::Collector => "Collector (`--sink otlp`, spans, metrics)",
            Component::Disk => "Disk (the journal's)",
            Component::Clock => "Clock (attaché's, on the wall)",
            Component::PolicyFile => "Policy file",
            Component::SecretFile => "Secret file",
            Component::Webhook => "Webhook",
        }
    }

    fn module(self) -> &'static str {
        match self {
            Component::Attache => "attache",
            Component::Envoy => "envoy",
            Component::Dns => "dns",
            Component::Upstream => "upstream",
            Component::Redis => "redis",
            Component::Collector => "collector",
            Component::Disk => "disk",
            Component::Clock => "clock",
            Component::PolicyFile => "policy_file",
            Component::SecretFile => "secret_file",
            Component::Webhook => "webhook",
        }
    }
}

impl Fault {
    pub const ALL: [Fault; 5] = [Fault::Absent, Fault::Slow, Fault::Wrong, Fault::DiesMidRequest, Fault::ComesBack];

    fn name(self) -> &'static str {
        match self {
            Fault::Absent => "absent",
            Fault::Slow => "slow",
            Fault::Wrong => "wrong",
            Fault::DiesMidRequest => "dies mid-request",
            Fault::ComesBack => "comes back",
        }
    }

    fn test(self) -> &'static str {
        match self {
            Fault::Absent => "absent",
            Fault::Slow => "slow",
            Fault::Wrong => "wrong",
            Fault::DiesMidRequest => "dies_mid_request",
            Fault::ComesBack => "comes_back",
        }
    }
}

impl Within {
    fn bound(self) -> Duration {
        match self {
            Within::AtOnce => Duration::ZERO,
            Within::Seconds(seconds) => Duration::from_secs(seconds),
            Within::Milliseconds(milliseconds) => Duration::from_millis(milliseconds),
            Within::OwnPatience => Duration::MAX,
        }
    }
}

/// Holds what a test sees against its cell.
pub struct Check {
    cell: &'static Cell,
    done: Vec<&'static str>,
}

impl Check {
    pub fn of(component: Component, fault: Fault) -> Check {
        let mut cells = MATRIX.iter().filter(|cell| (cell.component, cell.fault) == (component, fault));
        Check { cell: cells.next().unwrap(), done: Vec::new() }
    }

    /// One case, which has come to its end: what Envoy has to report of it may still be on its way.
    pub async fn case(&mut self, when: &str, rig: &Rig, seen: &Seen) {
        let case = self.cell.cases.iter().find(|case| case.when == when);
        let case = case.unwrap_or_else(|| panic!("the matrix does not know of `{when}`"));
        let settled = async || {
            while rig.recorded(seen) != case.recorded || !rig.said().contains(case.said) {
                tokio::time::sleep(crate::support::GLANCE).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(15), settled()).await;
        let reached = rig.reached(&seen.path);
        let expected = (case.sees, case.recorded, case.reached);
        let found = (seen.sees(), rig.recorded(seen), reached);
        assert_eq!(found, expected, "`{when}`: {seen:?}\n{}", rig.said());
        assert!(in_time.is_ok(), "`{when}`: `{}` is not in the log: {}", case.said, rig.said());
        let bound = case.within.bound().saturating_add(SLACK);
        assert!(seen.took < bound, "`{when}` took {:?}, and {bound:?} is the most", seen.took);
        self.done.push(case.when);
    }

    /// Every case was seen, and nothing leaked.
    pub fn end(self, rig: &Rig) {
        self.end_told(rig, "");
    }

    /// The same; what others were told of requests is given as text.
    pub fn end_told(self, rig: &Rig, told: &str) {
        self.part(rig, told);
        let all: Vec<_> = self.cell.cases.iter().map(|case| case.when).collect();
        assert_eq!(self.done, all, "cases of the matrix that were not seen, or not in its order");
    }

    /// Nothing leaked in a rig that is not the last of its cell.
    pub fn part(&self, rig: &Rig, told: &str) {
        rig.assert_nothing_leaked(told);
    }
}

impl fmt::Display for Sees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sees::Answer(status) => write!(f, "{status}, the upstream's"),
            Sees::Refusal(status, reason) => write!(f, "{status} `{reason}`"),
            Sees::Cut(status) => write!(f, "{status}, cut off"),
            Sees::Closed => f.write_str("the connection ends"),
            Sees::NoListener => f.write_str("no connection"),
            Sees::NoHandshake => f.write_str("a certificate that is not valid"),
            Sees::Nothing => f.write_str("nothing"),
        }
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Within::AtOnce => f.write_str("at once"),
            Within::Seconds(seconds) => write!(f, "{seconds} s"),
            Within::Milliseconds(milliseconds) => write!(f, "{milliseconds} ms"),
            Within::OwnPatience => f.write_str("when it gives up"),
        }
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recorded { decision, reason, standing } = self;
        match *self {
            Recorded::NOTHING => f.write_str("–"),
            _ if reason.is_empty() => write!(f, "{decision}; {standing}"),
            _ => write!(f, "{decision} `{reason}`; {standing}"),
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reached::Nothing => "nothing",
            Reached::Begun => "its beginning",
            Reached::Whole => "the request",
        })
    }
}

/// The page, between what people wrote at its head and the end.
fn page(head: &str) -> String {
    let mut page = head.to_owned();
    for component in Component::ALL {
        write!(page, "\n## {}\n\n", component.name()).unwrap();
        page.push_str(
            "| fault | what happens | the agent sees | after at most | on record | upstream gets | leaked | the log says |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        let cells = MATRIX.iter().filter(|cell| cell.component == component);
        for (cell, case) in cells.flat_map(|cell| cell.cases.iter().map(move |case| (cell, case))) {
            let fault = match std::ptr::eq(case, &cell.cases[0]) {
                true => format!("[{}](../{})", cell.fault.name(), file(component)),
                false => String::new(),
            };
            let Case { when, sees, within, recorded, reached, said } = case;
            let said = if said.is_empty() { String::new() } else { format!("`{said}`") };
            // Every test asserts it of all its cases.
            let leaked = "nothing";
            writeln!(page, "| {fault} | {when} | {sees} | {within} | {recorded} | {reached} | {leaked} | {said} |")
                .unwrap();
        }
    }
    page
}

/// Where the tests of a component are.
fn file(component: Component) -> String {
    format!("tests/e2e/faults/{}.rs", component.module())
}

fn in_the_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn there_is_a_cell_for_everything_that_can_fail_in_every_way() {
    let found: Vec<_> = MATRIX.iter().map(|cell| (cell.component, cell.fault)).collect();
    let all = Component::ALL.iter().flat_map(|component| Fault::ALL.map(|fault| (*component, fault)));
    assert_eq!(found, all.collect::<Vec<_>>(), "each once, in this order");
    for cell in MATRIX {
        assert!(!cell.cases.is_empty(), "{:?} {:?}", cell.component, cell.fault);
    }
}

#[test]
fn every_cell_has_its_test() {
    for cell in MATRIX {
        let text = std::fs::read_to_string(in_the_repository(&file(cell.component))).unwrap();
        let test = format!("async fn {}()", cell.fault.test());
        let named = format!("Check::of({:?}, {:?})", cell.component, cell.fault);
        let (before, body) =
            text.split_once(&test).unwrap_or_else(|| panic!("no `{test}` in {}", file(cell.component)));
        assert!(before.trim_end().lines().next_back().unwrap().starts_with("#[tokio::test"), "`{test}` is no test");
        let body = body.split("\n}").next().unwrap();
        assert!(
            body.contains(&named) && body.contains(".end"),
            "`{test}` in {} does not hold its cell",
            file(cell.component)
        );
    }
}

/// Whatever is refused for a fault has not been forwarded; whatever has been forwarded was decided.
#[test]
fn no_cell_fails_open() {
    for (cell, case) in MATRIX.iter().flat_map(|cell| cell.cases.iter().map(move |case| (cell, case))) {
        let place = format!("{:?} {:?}: {}", cell.component, cell.fault, case.when);
        assert!(case.reached == Reached::Nothing || case.recorded.decision == "allow", "{place}");
        let answered = matches!(case.sees, Sees::Answer(_) | Sees::Cut(_));
        assert!(!answered || case.recorded.decision == "allow", "{place}");
    }
}

/// `ATTACHE_TEST_WRITE_FAULTS=1` writes the page anew.
#[test]
fn the_page_says_what_the_tests_hold() {
    let path = in_the_repository("docs/faults.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let head = text.split_once("\n## ").map_or(&*text, |(head, _)| head);
    let page = page(head);
    if std::env::var_os("ATTACHE_TEST_WRITE_FAULTS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        page == std::fs::read_to_string(&path).unwrap(),
        "docs/faults.md is another: run this test with ATTACHE_TEST_WRITE_FAULTS=1"
    );
}
