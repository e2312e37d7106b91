//! What is done about what is found: an agent's profile, and the policy's exemptions from it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::detector::Match;
use super::finding::{Action, Category, Confidence};
use super::numbers;
use crate::pipeline::agent::AgentId;
use crate::pipeline::message::Host;
use crate::pipeline::policy::matcher::{HostPattern, NamePattern};
use crate::pipeline::policy::path::PathPattern;

/// What is done about what one agent sends and is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Its name, for the record.
    pub name: Arc<str>,
    /// What is done about requests.
    pub requests: Actions,
    /// What is done about responses.
    pub responses: Actions,
    /// What is done about a body that is too large to be held.
    pub over_buffer: OverBuffer,
    /// True if the agent may send credentials of its own in `Authorization` and `Cookie`.
    pub own_credentials: bool,
    /// True if it may open WebSockets: their messages are not looked at.
    pub web_sockets: bool,
    /// False if what it says is put on record and not done. Known secrets never leave, even so.
    pub enforced: bool,
}

/// What is done about a body that is too large to be held until it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverBuffer {
    /// It is judged on its way: what is clear leaves, and a finding ends it.
    #[default]
    Stream,
    /// It is refused.
    Block,
}

/// What is done, by rule or category. What nothing names is off. Every message takes a copy along, which costs nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Actions(Arc<Said>);

/// What is said, and what every text is looked at by and follows from it.
#[derive(Debug, PartialEq)]
struct Said {
    list: Vec<(Selector, Action)>,
    is_off: bool,
    wants_contact: bool,
    wants_orders: bool,
    /// What is said of known secrets, and of canaries.
    of_known: Option<Action>,
    of_canaries: Option<Action>,
    version: u64,
}

/// What an action is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// One rule.
    Rule(Arc<str>),
    /// A category and those below it: `pii` is `pii.financial` too.
    Category(Box<str>),
}

impl Profile {
    /// What holds for agents that name no profile: credentials, crypto keys and personal data do not leave, and no known
    /// secret comes back.
    pub fn default_profile() -> Self {
        let category = |name: &str| Selector::Category(name.into());
        let requests = vec![
            (category("credentials"), Action::Block),
            (category("crypto"), Action::Block),
            (category("custom"), Action::Block),
            (category("pii"), Action::Block),
            // How somebody is reached stands in half of all messages.
            (category("pii.contact"), Action::Off),
        ];
        Self {
            name: "default".into(),
            requests: Actions::new(requests),
            responses: Actions::default(),
            over_buffer: OverBuffer::Stream,
            own_credentials: false,
            web_sockets: false,
            enforced: true,
        }
    }

    /// Known secrets alone.
    pub fn off() -> Self {
        let requests = Actions::default();
        Self { name: "off".into(), requests, own_credentials: true, web_sockets: true, ..Self::default_profile() }
    }
}

impl Actions {
    /// Takes them in any order.
    pub fn new(actions: impl IntoIterator<Item = (Selector, Action)>) -> Self {
        let list: Vec<_> = actions.into_iter().collect();
        let is_on = |action: &Action| *action != Action::Off;
        let is_contact =
            |id: &str| numbers::RULES.iter().any(|rule| rule.id == id && rule.kind == numbers::Kind::Contact);
        let rules = || {
            let named = list.iter().filter(|(_, action)| is_on(action));
            named.filter_map(|(selector, _)| if let Selector::Rule(id) = selector { Some(id) } else { None })
        };
        let mut hasher = DefaultHasher::new();
        list.hash(&mut hasher);
        Self(Arc::new(Said {
            is_off: !list.iter().any(|(_, action)| is_on(action)),
            wants_contact: is_on(&of_category(&list, &Category::PiiContact)) || rules().any(|id| is_contact(id)),
            wants_orders: is_on(&of_category(&list, &Category::PromptInjection)) || rules().next().is_some(),
            of_known: said(&list, &Category::KnownSecret),
            of_canaries: said(&list, &Category::Canary),
            version: hasher.finish(),
            list,
        }))
    }

    /// What is said, in the order in which it was given.
    pub fn iter(&self) -> impl Iterator<Item = &(Selector, Action)> {
        self.0.list.iter()
    }

    /// What is done about a value that attaché holds: `unsaid` where nothing else is said. It never just passes.
    pub fn of_held(&self, category: &Category, unsaid: Action) -> Action {
        let said = match category {
            Category::KnownSecret => self.0.of_known,
            Category::Canary => self.0.of_canaries,
            other => said(&self.0.list, other),
        };
        said.map_or(unsaid, |action| action.max(Action::Redact))
    }

    /// True if no rule is looked for.
    pub fn is_off(&self) -> bool {
        self.0.is_off
    }

    /// True if something would be replaced: then the message changes its length.
    pub fn may_redact(&self) -> bool {
        self.0.list.iter().any(|(_, action)| *action == Action::Redact)
    }

    /// The same where nothing can be replaced: what would be is blocked.
    #[must_use]
    pub fn strict(&self) -> Self {
        Self::new(self.0.list.iter().map(|(selector, action)| (selector.clone(), action.unredactable())))
    }

    /// What is done about a match: what the rule is named for, or else what is said of its category if the match is
    /// sure enough, and else it is put on record.
    pub fn of(&self, found: &Match) -> Action {
        let named =
            self.0.list.iter().find(|(selector, _)| matches!(selector, Selector::Rule(id) if *id == found.rule));
        if let Some((_, action)) = named {
            return *action;
        }
        let action = of_category(&self.0.list, &found.category);
        if found.confidence >= enough(&found.category) { action } else { action.min(Action::Monitor) }
    }

    /// True if something is done about how somebody is reached: what nobody asks for is not looked for.
    pub fn wants_contact(&self) -> bool {
        self.0.wants_contact
    }

    /// True if something is done about orders to agents.
    pub fn wants_orders(&self) -> bool {
        self.0.wants_orders
    }

    /// A number that is another where something else is said.
    pub fn version(&self) -> u64 {
        self.0.version
    }
}

impl Default for Actions {
    fn default() -> Self {
        Self::new([])
    }
}

/// What is said of a category itself, without those around it.
fn said(list: &[(Selector, Action)], category: &Category) -> Option<Action> {
    let name = category.name();
    let is_it = |selector: &Selector| matches!(selector, Selector::Category(own) if **own == *name);
    list.iter().find(|(selector, _)| is_it(selector)).map(|(_, action)| *action)
}

fn of_category(list: &[(Selector, Action)], category: &Category) -> Action {
    let name = category.name();
    let covers = |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let about = list.iter().filter_map(|(selector, action)| match selector {
        Selector::Category(prefix) if covers(prefix) => Some((prefix.len(), *action)),
        _ => None,
    });
    about.max_by_key(|(length, _)| *length).map_or(Action::Off, |(_, action)| action)
}

/// How sure a finding has to be for more than the record. Numbers of people are shorter than keys, and many other
/// numbers look like them.
fn enough(category: &Category) -> Confidence {
    match category {
        Category::PiiFinancial | Category::PiiGovId | Category::PiiContact | Category::PiiHealth => Confidence::High,
        _ => Confidence::Medium,
    }
}

/// What is let pass although a rule finds it.
#[derive(Debug)]
pub struct Exemption {
    /// The rule; none means all.
    pub rule: Option<Arc<str>>,
    /// The hosts; none means all.
    pub host: Option<HostPattern>,
    /// The paths; none means all.
    pub path: Option<PathPattern>,
    /// The agents; none means all.
    pub agents: Option<Vec<AgentId>>,
    /// The SHA-256 of the one value; none means every value.
    pub value: Option<[u8; 32]>,
}

impl Exemption {
    /// Whether it is about a request at all. What permits matches exactly.
    pub fn is_about(&self, agent: AgentId, host: &Host, port: u16, path: &str) -> bool {
        self.agents.as_ref().is_none_or(|agents| agents.contains(&agent))
            && self.host.as_ref().is_none_or(|pattern| {
                pattern.port.is_none_or(|own| own == port) && pattern.name.covers(&NamePattern::Exact(host.clone()))
            })
            && self.path.as_ref().is_none_or(|pattern| pattern.permits(path))
    }

    /// Whether it is about what was found.
    pub fn covers(&self, rule: &str, value: &[u8]) -> bool {
        self.rule.as_ref().is_none_or(|id| **id == *rule)
            && self.value.is_none_or(|hash| <[u8; 32]>::from(Sha256::digest(value)) == hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: &str, category: Category, confidence: Confidence) -> Match {
        Match::new(rule.into(), category, 0..1, confidence)
    }

    #[test]
    fn contact_data_is_looked_for_where_it_is_named() {
        let of = |selector, action| Actions::new([(selector, action)]).wants_contact();
        assert!(!Profile::default_profile().requests.wants_contact());
        assert!(of(Selector::Category("pii.contact".into()), Action::Redact));
        assert!(of(Selector::Rule("pii-email".into()), Action::Monitor));
        assert!(
            !of(Selector::Rule("pii-email".into()), Action::Off)
                && !of(Selector::Rule("pii-card".into()), Action::Block)
        );
    }

    #[test]
    fn the_default_blocks_what_is_sure_enough_and_records_the_rest() {
        let default = Profile::default_profile();
        for (category, confidence, action) in [
            (Category::Credentials, Confidence::Confirmed, Action::Block),
            (Category::Credentials, Confidence::Medium, Action::Block),
            (Category::Credentials, Confidence::Low, Action::Monitor),
            (Category::PiiGovId, Confidence::High, Action::Block),
            (Category::PiiGovId, Confidence::Medium, Action::Monitor),
            (Category::PiiContact, Confidence::Confirmed, Action::Off),
            (Category::Crypto, Confidence::Medium, Action::Block),
            (Category::Custom("ours".into()), Confidence::Medium, Action::Block),
            (Category::PromptInjection, Confidence::High, Action::Off),
        ] {
            assert_eq!(default.requests.of(&found("a", category.clone(), confidence)), action, "{category}");
        }
        assert!(default.responses.is_off() && Profile::off().requests.is_off() && !default.requests.is_off());
    }

    #[test]
    fn a_rule_by_name_counts_before_its_category_and_a_narrow_category_before_a_wide_one() {
        let actions = Actions::new([
            (Selector::Category("pii".into()), Action::Redact),
            (Selector::Category("pii.financial".into()), Action::Block),
            (Selector::Rule("pii-card".into()), Action::Monitor),
        ]);
        for (rule, category, action) in [
            ("pii-card", Category::PiiFinancial, Action::Monitor),
            ("pii-iban", Category::PiiFinancial, Action::Block),
            ("pii-ssn", Category::PiiGovId, Action::Redact),
            ("github-pat", Category::Credentials, Action::Off),
        ] {
            assert_eq!(actions.of(&found(rule, category, Confidence::High)), action, "{rule}");
        }
        assert!(actions.may_redact());
    }
}
