//! Policies of other systems. First byte: whose.
#![no_main]

use attache::config::compile::{Setting, compile};
use attache::config::import::{Format, Imported, Options, Place, PolicyMode, Source, import, import_gitleaks};
use libfuzzer_sys::fuzz_target;

const FORMATS: [Format; 4] = [Format::Abac, Format::Oktsec, Format::CredentialsV2, Format::Onecli];

fuzz_target!(|input: &[u8]| {
    let Some((which, content)) = input.split_first() else { return };
    let once = imported(*which, content);
    match &once {
        Ok(Imported { policy, warnings }) => {
            assert!(!warnings.has_errors());
            let _ = warnings.to_string();
            let read = attache::config::parse("policy.yaml", policy);
            let setting = Setting { agent: None, environment: None, pod: None };
            let read = read.compile(None, |policy, problems| compile(policy, setting, "rev", problems));
            assert!(read.is_ok(), "what was imported does not load: {policy}");
            let again = imported(*which, content);
            assert_eq!(again.ok().map(|again| again.policy).as_ref(), Some(policy), "it is imported alike each time");
        }
        Err(problems) => {
            assert!(problems.has_errors());
            let _ = problems.to_string();
        }
    }
});

fn imported(which: u8, content: &[u8]) -> Result<Imported, attache::config::error::Problems> {
    let source = Source { name: "source".to_owned(), content: content.to_vec() };
    let place_of =
        |name: &str| (name == "github").then(|| Place { hosts: vec!["api.github.com".to_owned()], path: None });
    let mode = [None, Some(PolicyMode::Allow), Some(PolicyMode::Deny)][usize::from(which >> 4) % 3];
    let options = Options { without_dlp: which & 8 != 0, agents: &[], mode, place_of: &place_of };
    match FORMATS.get(usize::from(which % 8)) {
        Some(format) => import(*format, vec![source], &options),
        None => import_gitleaks(source),
    }
}
