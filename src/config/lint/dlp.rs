//! What lets pass more of what must not leave than its author may have meant.

use super::super::code::Code;
use super::super::error::{Problems, Span, quote};
use super::super::facts::{Facts, Grant};
use super::super::schema::{CanarySource, DlpRule, Exemption, Mode, Policy, SecretSource};
use crate::pipeline::agent::AgentId;
use crate::pipeline::dlp::detector::Match;
use crate::pipeline::dlp::finding::{Action, Category, Confidence};
use crate::pipeline::dlp::known::{Held, Known};
use crate::pipeline::dlp::rule::Reach;
use crate::pipeline::policy::Ruleset;
use crate::pipeline::policy::matcher::{HostPattern, NamePattern};
use crate::secrets::{Environment, Source};

/// Reports on `dlp`; what is in `environment` is looked at for whether it can be searched for, and dropped.
pub(super) fn lint(
    policy: &Policy,
    rules: &Ruleset,
    facts: &Facts,
    environment: Option<&Environment>,
    problems: &mut Problems,
) {
    agents(policy, problems);
    upgrades(rules, facts, problems);
    profiles(policy, rules, problems);
    policy.dlp.allow.iter().filter(|exemption| is_broad(exemption)).for_each(|exemption| {
        problems
            .warning(exemption.span, "every value passes that the rule finds, on every path of these hosts")
            .code(Code::BroadExemption)
            .fix("name the host and the path that need it, or the one value (`valueSha256`)");
    });
    for rule in &policy.dlp.rules {
        if let Some((keyword, at)) = common_keyword(rule) {
            problems
                .warning(at, format!("the keyword {} stands in most messages", quote(keyword)))
                .code(Code::GenericRule)
                .fix("name a text that only what you look for has, or say what speaks for it: `reach: assigned`, `entropy`, `validators`");
        }
    }
    for (held, at, value) in held(policy, environment) {
        let none: &[&[u8]] = &[];
        for weak in Known::new([(held, value.as_slice())], none).1 {
            problems
                .warning(at, weak.to_string())
                .code(Code::UnsearchableSecret)
                .fix("use a longer value, of random characters");
        }
    }
}

fn agents(policy: &Policy, problems: &mut Problems) {
    for agent in policy.agents.iter().flatten() {
        let Some(profile) = agent.dlp.as_ref().filter(|name| name.as_str() == "off") else { continue };
        let name = quote(agent.name.as_str());
        problems
            .warning(profile.span, format!("nothing that {name} sends is looked at, but for known secrets"))
            .code(Code::DlpOff)
            .fix("use a profile with `mode: monitor` to see first what it would find");
    }
}

/// WebSockets that an entry allows and nobody may open.
fn upgrades(rules: &Ruleset, facts: &Facts, problems: &mut Problems) {
    let Some(dlp) = rules.dlp() else { return };
    let opens = |agent: AgentId| dlp.profile(agent).web_sockets || !dlp.profile(agent).enforced;
    let refused = |grant: &&Grant| grant.websocket && !grant.who.each(&rules.agents).into_iter().any(opens);
    for grant in facts.grants.iter().filter(refused) {
        problems
            .warning(
                grant.at,
                "WebSockets are refused all the same: their messages are not looked at, and no profile lets them pass",
            )
            .code(Code::BlockedUpgrade)
            .fix("write `dlp: {profiles: {default: {webSockets: allow}}}`, or give these agents such a profile");
    }
}

/// Profiles that let credentials pass.
fn profiles(policy: &Policy, rules: &Ruleset, problems: &mut Problems) {
    let Some(dlp) = rules.dlp() else { return };
    let compiled =
        |name: &str| dlp.profiles.iter().flatten().chain([&dlp.default]).find(|profile| *profile.name == *name);
    for written in &policy.dlp.profiles {
        let name = quote(written.name.as_str());
        if written.mode == Mode::Monitor {
            problems
                .hint(written.name.span, format!("what {name} says is recorded and not enforced"))
                .code(Code::MonitorMode)
                .fix("remove `mode: monitor` once the record shows what you expect");
        }
        // One that nobody has is said to be nobody's.
        let Some(profile) = compiled(written.name.as_str()) else { continue };
        let credential = Match::new("".into(), Category::Credentials, 0..1, Confidence::Confirmed);
        let action = profile.requests.of(&credential);
        if action < Action::Redact {
            let said = written.requests.iter().find(|said| said.about.as_str() == "credentials");
            problems
                .warning(
                    said.map_or(written.name.span, |said| said.about.span),
                    format!("credentials leave with {name}: they are `{}`", action.as_str()),
                )
                .code(Code::CredentialsPass)
                .fix("block or redact them, and let pass what has to by `dlp.allow`");
        }
    }
}

/// Whether it is for more than one value, and for hosts that nobody can name.
fn is_broad(exemption: &Exemption) -> bool {
    let host = exemption.host.as_ref().map(|text| HostPattern::parse(&text.value));
    let everywhere = match host {
        Some(Ok(pattern)) => !matches!(pattern.name, NamePattern::Exact(_)),
        Some(Err(_)) => false,
        None => true,
    };
    exemption.value.is_none() && exemption.path.is_none() && everywhere
}

/// A keyword that is no sign of anything, where nothing else is asked for.
fn common_keyword(rule: &DlpRule) -> Option<(&str, Span)> {
    const COMMON: [&str; 22] = [
        "http", "https", "http://", "https://", "://", "www", "www.", ".com", "the", "and", "api", "json", "data",
        "name", "user", "true", "false", "null", "content", "message", "text", "type",
    ];
    let source = &rule.source;
    let asks = source.reach == Reach::Assigned || source.entropy > 0.0 || !source.validators.is_empty();
    let is_common = |word: &str| COMMON.iter().any(|common| word.eq_ignore_ascii_case(common));
    let keyword = rule.keywords.iter().find(|keyword| !asks && is_common(keyword))?;
    Some((keyword.as_str(), keyword.span))
}

/// The values that are here, of those that are looked for.
fn held(policy: &Policy, environment: Option<&Environment>) -> Vec<(Held, Span, Vec<u8>)> {
    let read = |source: Source| Some(source.read(environment?).ok()?.trim_ascii().to_vec());
    let mut held = Vec::new();
    for canary in &policy.dlp.canaries {
        let value = match &canary.source.value {
            CanarySource::Written(value) => Some(value.bytes().to_vec()),
            CanarySource::Environment(name) => read(Source::Variable(name.clone())),
            CanarySource::File(path) => read(Source::File(path.clone())),
        };
        held.extend(value.map(|value| (Held::canary(canary.name.as_str()), canary.source.span, value)));
    }
    for credential in &policy.credentials {
        let value = match &credential.source.value {
            SecretSource::Environment(name) => read(Source::Variable(name.clone())),
            SecretSource::File(path) => read(Source::File(path.clone())),
            // Only Vault itself could say.
            SecretSource::Vault(_) => None,
        };
        held.extend(value.map(|value| (Held::credential(credential.name.as_str()), credential.source.span, value)));
    }
    held
}
