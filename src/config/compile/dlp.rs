//! `dlp`: profiles, rules and exemptions, held to what there is.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use super::super::catalogue;
use super::super::error::{Problems, Span, Spanned, did_you_mean, quote};
use super::super::schema::{self, DlpRule, Policy, Said};
use super::{host, path};
use crate::pipeline::agent::Agents;
use crate::pipeline::dlp::detector::Detector;
use crate::pipeline::dlp::finding::{Action, Category};
use crate::pipeline::dlp::profile::{Actions, Exemption, Profile, Selector};
use crate::pipeline::dlp::rule::{Rule, RuleError};
use crate::pipeline::dlp::{Dlp, built_in};
use crate::pipeline::policy::matcher::{HostPattern, HostTable};

/// Hosts that tell how an API is used: who writes to them quotes what vendors print in their documentation.
const DOCUMENTATION: &[&str] = &[
    "*.readthedocs.io",
    "api.stackexchange.com",
    "context7.com",
    "developer.mozilla.org",
    "devdocs.io",
    "docs.aws.amazon.com",
    "docs.github.com",
    "docs.gitlab.com",
    "docs.rs",
    "docs.stripe.com",
    "learn.microsoft.com",
    "stackoverflow.com",
];

/// Language models of which every customer has a host of its own.
const LANGUAGE_MODELS: &[&str] = &["*.openai.azure.com", "*.services.ai.azure.com"];

/// What a policy says about data; all that is wrong with it is reported. `None` only where a problem says why.
pub(super) fn compile(policy: &Policy, agents: &Agents, problems: &mut Problems) -> Option<Dlp> {
    let detector = detector(policy, problems)?;
    let known = Known::of(&detector);
    let mut default = Arc::new(Profile::default_profile());
    let mut named = HashMap::from([("off", Arc::new(Profile::off()))]);
    for written in &policy.dlp.profiles {
        let profile = Arc::new(known.profile(written, problems));
        if written.name.as_str() == "default" {
            default = profile.clone();
        }
        named.insert(written.name.as_str(), profile);
    }
    let mut profiles = vec![None; agents.ids().count()];
    for agent in policy.agents.iter().flatten() {
        let id = agents.find(agent.name.as_str());
        let profile = agent.dlp.as_ref().and_then(|name| named.get(name.as_str()));
        if let Some(slot) = id.and_then(|id| profiles.get_mut(id.0)) {
            *slot = profile.cloned();
        }
    }
    let exemptions = policy.dlp.allow.iter().filter_map(|written| known.exemption(written, agents, problems));
    let exemptions = exemptions.chain(placeholders(policy)).map(Arc::new).collect();
    check_canaries(policy, problems);
    Some(Dlp { detector, default, profiles, exemptions, examples_pass: examples_pass(policy), key: key() })
}

/// Agents are given placeholders on purpose, some in the form of what they stand for.
fn placeholders(policy: &Policy) -> impl Iterator<Item = Exemption> {
    let texts = policy.credentials.iter().filter_map(|credential| credential.placeholder.as_ref());
    texts.map(|text| {
        let value = Some(Sha256::digest(text.as_bytes()).into());
        Exemption { rule: None, host: None, path: None, agents: None, value }
    })
}

/// What is built in, and the policy's own rules.
fn detector(policy: &Policy, problems: &mut Problems) -> Option<Arc<Detector>> {
    let built_in = match built_in() {
        Ok(detector) => detector.clone(),
        Err(error) => {
            problems.error(None, format!("a rule that comes with attaché cannot be used: {error}"));
            return None;
        }
    };
    if policy.dlp.rules.is_empty() {
        return Some(built_in);
    }
    let mut rules = built_in.rules().to_vec();
    let mut seen: HashMap<&str, Option<Span>> = built_in.ids().map(|(id, _)| (&**id, None)).collect();
    let mut own = Vec::new();
    for written in &policy.dlp.rules {
        let id = written.source.id.as_str();
        match seen.insert(id, Some(written.id)) {
            Some(Some(earlier)) => {
                let place = problems.place(earlier);
                problems
                    .error(written.id, format!("the rule {} is given twice; first at {place}", quote(id)))
                    .fix("give each rule an id of its own");
            }
            Some(None) => {
                problems
                    .error(written.id, format!("{} is a rule that is built in", quote(id)))
                    .fix("choose another id; to use yours in its place, switch that one `off` in a profile");
            }
            None => own.extend(rule(written, problems).map(Arc::new)),
        }
    }
    rules.append(&mut own);
    match Detector::new(rules) {
        Ok(detector) => Some(Arc::new(detector)),
        Err(error) => {
            problems.error(policy.dlp.rules.first().map(|rule| rule.span), error.to_string());
            None
        }
    }
}

/// A rule of the policy's own, whose examples hold.
fn rule(written: &DlpRule, problems: &mut Problems) -> Option<Rule> {
    let rule = match Rule::new(written.source.clone()) {
        Ok(rule) => rule,
        Err(error) => {
            problems.error(place(written, &error), error.to_string());
            return None;
        }
    };
    if let (Category::KnownSecret | Category::Canary, Some(at)) = (&rule.category, written.category) {
        problems
            .error(at, format!("`{}` is not for rules: it is what attaché holds", rule.category))
            .fix("for a value of your own write `dlp.canaries`, for a format `credentials` or `custom.<name>`");
        return None;
    }
    if rule.pattern().is_none() {
        problems.error(written.pattern, "the pattern is too large").fix("use smaller repetitions, or split the rule");
        return None;
    }
    let finds = {
        let alone = Detector::new(vec![Arc::new(Rule::new(written.source.clone()).ok()?)]).ok()?;
        move |text: &str| !alone.find(text.as_bytes()).is_empty()
    };
    let missed = written.matches.iter().filter(|text| !finds(text)).map(|text| (text.span, "nothing"));
    let mistaken = written.no_match.iter().filter(|text| finds(text)).map(|text| (text.span, "something"));
    let broken: Vec<_> = missed.chain(mistaken).collect();
    for (at, found) in &broken {
        problems
            .error(*at, format!("the example does not hold: the rule finds {found} in it"))
            .fix("correct the pattern, its keywords, `reach` or `boundary`, or the example");
    }
    broken.is_empty().then_some(rule)
}

/// Where it stands what an error is about.
fn place(written: &DlpRule, error: &RuleError) -> Span {
    match error {
        RuleError::Id(_) => written.id,
        RuleError::Category(_) => written.category.unwrap_or(written.id),
        RuleError::Keywords => {
            let short = written.keywords.iter().find(|keyword| keyword.len() < 3);
            short.map_or(written.id, |keyword| keyword.span)
        }
        RuleError::Pattern { pattern, .. } if *pattern != written.source.pattern => {
            let at = written.source.allow.iter().position(|allowed| allowed == pattern);
            at.and_then(|at| written.allow.get(at).copied()).unwrap_or(written.pattern)
        }
        RuleError::Group(_) => written.secret_group.unwrap_or(written.pattern),
        _ => written.pattern,
    }
}

/// What profiles and exemptions can name.
struct Known<'a> {
    rules: BTreeSet<&'a str>,
    categories: BTreeSet<String>,
}

impl<'a> Known<'a> {
    fn of(detector: &'a Detector) -> Self {
        let own = detector.ids().map(|(_, category)| category.to_string());
        let whole = ["pii", "custom"].map(str::to_owned);
        Self {
            rules: detector.ids().map(|(id, _)| &**id).collect(),
            categories: Category::BUILT_IN.iter().map(ToString::to_string).chain(own).chain(whole).collect(),
        }
    }

    fn profile(&self, written: &schema::DlpProfile, problems: &mut Problems) -> Profile {
        let default = Profile::default_profile();
        Profile {
            name: written.name.as_str().into(),
            requests: self.actions(&default.requests, &written.requests, Side::Requests, problems),
            responses: self.actions(&default.responses, &written.responses, Side::Responses, problems),
            over_buffer: written.over_buffer,
            own_credentials: written.own_credentials,
            web_sockets: written.web_sockets,
            enforced: written.mode == schema::Mode::Enforce,
        }
    }

    /// The default's, with what is said in its place.
    fn actions(&self, default: &Actions, written: &[Said], side: Side, problems: &mut Problems) -> Actions {
        let own = written.iter().filter_map(|said| Some((self.selector(said, side, problems)?, said.action)));
        let own: Vec<_> = own.collect();
        let unsaid = default.iter().filter(|(selector, _)| !own.iter().any(|(said, _)| said == selector));
        Actions::new(unsaid.cloned().collect::<Vec<_>>().into_iter().chain(own))
    }

    fn selector(&self, said: &Said, side: Side, problems: &mut Problems) -> Option<Selector> {
        let name = &said.about;
        if self.rules.contains(name.as_str()) {
            return Some(Selector::Rule(name.as_str().into()));
        }
        if !self.categories.contains(name.as_str()) {
            let all = self.rules.iter().copied().chain(self.categories.iter().map(String::as_str));
            // Beyond the limit nobody reads the suggestion, and there are very many rules.
            let near = did_you_mean(name, all.filter(|_| problems.has_room()));
            problems
                .error(name.span, format!("there is no category or rule {}", quote(name)))
                .fix(near.unwrap_or_else(|| "`attache dlp rules` lists them".to_owned()));
            return None;
        }
        let held = matches!(name.as_str(), "knownSecret" | "canary");
        if held && !matches!(said.action, Action::Block | Action::Redact) {
            problems
                .error(name.span, format!("`{}` cannot be switched off: what attaché holds never passes", **name))
                .fix("write `block` or `redact`, or remove it");
            return None;
        }
        if name.as_str() == "promptInjection" && side == Side::Requests {
            problems
                .error(name.span, "`promptInjection` is looked for in what comes back")
                .fix("move it to `responses`");
            return None;
        }
        Some(Selector::Category(name.as_str().into()))
    }

    fn exemption(&self, written: &schema::Exemption, agents: &Agents, problems: &mut Problems) -> Option<Exemption> {
        let host = written.host.as_ref().map(|text| host(text, problems));
        let path = written.path.as_ref().map(|text| path(text, problems));
        let listed = written.agents.as_ref();
        let agents = listed.map(|names| names.iter().filter_map(|name| agents.find(name.as_str())).collect());
        let rule = match &written.rule {
            Some(rule) => Some(self.rule(rule, problems)?),
            None => None,
        };
        let (None | Some(Some(_)), None | Some(Some(_))) = (&host, &path) else { return None };
        Some(Exemption { rule, host: host.flatten(), path: path.flatten(), agents, value: written.value })
    }

    fn rule(&self, name: &Spanned<String>, problems: &mut Problems) -> Option<Arc<str>> {
        if self.rules.contains(name.as_str()) {
            return Some(name.as_str().into());
        }
        let category = self.categories.contains(name.as_str());
        let near = did_you_mean(name, self.rules.iter().copied().filter(|_| !category && problems.has_room()));
        let fix = match category {
            true => "an exemption is for one rule, not for a category: name the rule that the denial names".to_owned(),
            false => near.unwrap_or_else(|| "`attache dlp rules` lists them".to_owned()),
        };
        problems.error(name.span, format!("there is no rule {}", quote(name))).fix(fix);
        None
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Requests,
    Responses,
}

fn check_canaries(policy: &Policy, problems: &mut Problems) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for canary in &policy.dlp.canaries {
        if let Some(earlier) = seen.insert(canary.name.as_str(), canary.name.span) {
            let place = problems.place(earlier);
            problems
                .error(
                    canary.name.span,
                    format!("the canary {} is given twice; first at {place}", quote(canary.name.as_str())),
                )
                .fix("give each canary a name of its own");
        }
    }
}

/// Where values from documentation pass: language models, and pages that tell how an API is used.
fn examples_pass(policy: &Policy) -> HostTable<()> {
    let mut hosts = HostTable::default();
    let documentation = DOCUMENTATION.iter().chain(LANGUAGE_MODELS).filter_map(|text| HostPattern::parse(text).ok());
    let built_in = catalogue::built_in().iter().filter(|(_, service)| service.is_language_model);
    let built_in = built_in.flat_map(|(_, service)| service.hosts.iter().cloned());
    let own = policy.services.iter().filter_map(|service| service.api.as_ref());
    let own = own.filter(|api| api.is_language_model).flat_map(|api| &api.hosts);
    let own = own.filter_map(|text| HostPattern::parse(&text.value).ok());
    documentation.chain(built_in).chain(own).for_each(|pattern| hosts.insert(&pattern.name, ()));
    hosts
}

/// What fingerprints are made with: the same for every policy of this process, and of no use in another.
fn key() -> Arc<[u8; 32]> {
    static KEY: OnceLock<Arc<[u8; 32]>> = OnceLock::new();
    KEY.get_or_init(|| {
        let mut key = [0; 32];
        // Without randomness TLS would not come up either: a key of zeros makes fingerprints guessable, no more.
        let _ = SystemRandom::new().fill(&mut key);
        Arc::new(key)
    })
    .clone()
}
