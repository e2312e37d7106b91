//! What two policies do differently about data: what passes now that did not, and the other way round.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::schema::Policy;
use super::Note;
use crate::pipeline::agent::AgentId;
use crate::pipeline::dlp::Dlp;
use crate::pipeline::dlp::detector::Match;
use crate::pipeline::dlp::finding::{Action, Category, Confidence};
use crate::pipeline::dlp::profile::{Actions, OverBuffer, Profile};

/// What one policy says about data.
#[derive(Debug)]
pub struct Data {
    dlp: Arc<Dlp>,
    /// Each agent, where the policy names its agents.
    agents: Vec<(String, AgentId)>,
    /// What is let pass, in words, without why.
    exemptions: Vec<String>,
    canaries: Vec<String>,
}

impl Data {
    /// What a policy says, and what became of it.
    pub fn of(policy: &Policy, dlp: Arc<Dlp>, agents: Vec<(String, AgentId)>) -> Self {
        let text = |text: &Option<super::super::Spanned<String>>| text.as_ref().map(|text| text.value.clone());
        let exemptions = policy.dlp.allow.iter().map(|exemption| {
            let what = match (text(&exemption.rule), exemption.value) {
                (Some(rule), None) => format!("what `{rule}` finds"),
                (Some(rule), Some(_)) => format!("a value that `{rule}` finds"),
                (None, _) => "a value, whatever finds it,".to_owned(),
            };
            let host = text(&exemption.host).map_or_else(|| "every host".to_owned(), |host| format!("`{host}`"));
            let path = text(&exemption.path).map_or_else(String::new, |path| format!(" at `{path}`"));
            let names = exemption.agents.as_ref().map(|all| all.iter().map(|name| name.as_str()).collect::<Vec<_>>());
            let from = names.map_or_else(String::new, |names| format!(" from `{}`", names.join("`, `")));
            // The value itself tells two of them apart.
            let digits = exemption.value.map_or_else(String::new, |hash| {
                format!(" ({}…)", hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>())
            });
            format!("{what} passes to {host}{path}{from}{digits}")
        });
        let canaries = policy.dlp.canaries.iter().map(|canary| canary.name.as_str().to_owned());
        Self { dlp, agents, exemptions: exemptions.collect(), canaries: canaries.collect() }
    }

    fn profile(&self, agent: Option<&str>) -> &Arc<Profile> {
        let id = agent.and_then(|name| self.agents.iter().find(|(known, _)| known == name));
        id.map_or(&self.dlp.default, |(_, id)| self.dlp.profile(*id))
    }
}

/// All that is different.
pub fn notes(old: &Data, new: &Data) -> Vec<Note> {
    let mut notes = Vec::new();
    // Agents of one of them alone are shown by what they may reach.
    let common = new.agents.iter().map(|(name, _)| name.as_str()).filter(|name| old.has(name));
    let mut callers: Vec<Option<&str>> = common.map(Some).collect();
    if callers.is_empty() {
        callers.push(None);
    }
    let everybody = callers.len();
    let mut alike: BTreeMap<Vec<(bool, String)>, Vec<Option<&str>>> = BTreeMap::new();
    for caller in callers {
        alike.entry(changes(old, new, caller)).or_default().push(caller);
    }
    for (changes, callers) in alike {
        let names: Vec<_> = callers.iter().flatten().map(|name| format!("`{name}`")).collect();
        let who = match names.is_empty() || callers.len() == everybody {
            true => String::new(),
            false => format!(", for {}", names.join(", ")),
        };
        notes.extend(changes.into_iter().map(|(widens, text)| Note { widens, text: format!("{text}{who}") }));
    }
    let fresh = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|one| !those.contains(one)).cloned().collect()
    };
    let note = |widens, text| Note { widens, text };
    let more = fresh(&new.exemptions, &old.exemptions).into_iter();
    notes.extend(more.map(|text| note(true, format!("{text} now (`dlp.allow`)"))));
    let fewer = fresh(&old.exemptions, &new.exemptions).into_iter();
    notes.extend(fewer.map(|text| note(false, format!("no longer: {text} (`dlp.allow`)"))));
    let gone = fresh(&old.canaries, &new.canaries).into_iter();
    notes.extend(gone.map(|name| note(true, format!("the canary `{name}` is no longer looked for"))));
    let added = fresh(&new.canaries, &old.canaries).into_iter();
    notes.extend(added.map(|name| note(false, format!("the canary `{name}` is looked for"))));
    notes
}

impl Data {
    fn has(&self, name: &str) -> bool {
        self.agents.iter().any(|(known, _)| known == name)
    }
}

/// What a profile says of one direction.
type Side = fn(&Profile) -> &Actions;
/// What else it says.
type Setting = fn(&Profile) -> &'static str;

/// What is different for one caller, each with whether it lets more pass.
fn changes(old: &Data, new: &Data, caller: Option<&str>) -> Vec<(bool, String)> {
    let (before, after) = (old.profile(caller), new.profile(caller));
    let mut changes = Vec::new();
    let sides: [(&str, Action, Side); 2] = [
        ("in requests", Action::Block, |profile| &profile.requests),
        ("in responses", Action::Redact, |profile| &profile.responses),
    ];
    for (side, unsaid, actions) in sides {
        compare(old, new, (before, after), actions, side, &mut changes);
        for (category, what) in [(Category::KnownSecret, "known secrets"), (Category::Canary, "canaries")] {
            let held = |profile| actions(profile).of_held(&category, unsaid);
            note(held(before), held(after), &format!("{what} {side}"), &mut changes);
        }
    }
    let own = |profile: &Profile| if profile.own_credentials { "allow" } else { "block" };
    let large = |profile: &Profile| if profile.over_buffer == OverBuffer::Block { "block" } else { "stream" };
    let sockets = |profile: &Profile| if profile.web_sockets { "allow" } else { "block" };
    let settings: [(&str, Setting, &str); 3] =
        [("ownCredentials", own, "allow"), ("overBuffer", large, "stream"), ("webSockets", sockets, "allow")];
    for (name, said, wide) in settings {
        let (was, is) = (said(before), said(after));
        if was != is {
            changes.push((is == wide, format!("`{name}` was `{was}` and is `{is}`")));
        }
    }
    changes
}

/// Rule by rule, told by category where all of its rules changed alike.
fn compare(
    old: &Data,
    new: &Data,
    (before, after): (&Profile, &Profile),
    actions: Side,
    side: &str,
    changes: &mut Vec<(bool, String)>,
) {
    let mut rules: BTreeMap<&str, (Action, Action, String)> = BTreeMap::new();
    let done = |profile: &Profile, found: &Match| {
        let action = actions(profile).of(found);
        if profile.enforced { action } else { action.min(Action::Monitor) }
    };
    for (data, profile, is_new) in [(old, before, false), (new, after, true)] {
        for (id, of) in data.dlp.detector.ids() {
            let found = Match::new(id.clone(), of.clone(), 0..1, Confidence::Confirmed);
            let entry = rules.entry(id);
            let (was, is, category) = entry.or_insert((Action::Off, Action::Off, of.to_string()));
            *(if is_new { is } else { was }) = done(profile, &found);
            *category = of.to_string();
        }
    }
    let mut total: BTreeMap<&str, usize> = BTreeMap::new();
    let mut changed: BTreeMap<(&str, Action, Action), Vec<&str>> = BTreeMap::new();
    for (id, (was, is, category)) in &rules {
        *total.entry(category).or_default() += 1;
        if was != is {
            changed.entry((category.as_str(), *was, *is)).or_default().push(id);
        }
    }
    for ((category, was, is), ids) in changed {
        const NAMED: usize = 3;
        let what = match ids.len() {
            all if total.get(category) == Some(&all) && all > 1 => format!("`{category}`"),
            count => {
                let named: Vec<_> = ids.iter().take(NAMED).map(|id| format!("`{id}`")).collect();
                let more = count.saturating_sub(NAMED);
                let others = if more == 0 { String::new() } else { format!(" and {more} more rules") };
                format!("{}{others}", named.join(", "))
            }
        };
        note(was, is, &format!("{what} {side}"), changes);
    }
}

fn note(was: Action, is: Action, what: &str, changes: &mut Vec<(bool, String)>) {
    if was != is {
        changes.push((is < was, format!("{what}: `{}` before, `{}` now", was.as_str(), is.as_str())));
    }
}
