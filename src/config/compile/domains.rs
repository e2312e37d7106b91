//! Lists of domains.

use super::super::code::Code;
use super::super::error::Spanned;
use super::super::schema;
use super::{Work, host, path};
use crate::pipeline::policy::matcher::{Methods, NamePattern};
use crate::pipeline::policy::path::PathPattern;
use crate::pipeline::policy::routes::Routes;
use crate::pipeline::policy::{Action, Entry, RuleId, Scope};

impl Work<'_> {
    /// Files lists of domains.
    pub(super) fn add_lists(
        &mut self,
        scope: Scope,
        prefix: &str,
        allowed: &[schema::AllowEntry],
        blocked: &[Spanned<String>],
    ) {
        for entry in allowed {
            let Some(pattern) = host(&entry.pattern, self.problems) else { continue };
            if pattern.name == NamePattern::Any && entry.action == schema::Action::Allow {
                self.problems
                    .warning(entry.pattern.span, "`*` allows every host there is")
                    .code(Code::AnyHost)
                    .fix("name the hosts the agents need");
            }
            let rule: RuleId = format!("{prefix}allowedDomains[{}]", entry.pattern.value).into();
            self.places.entry(rule.clone()).or_insert(entry.span);
            let pairs = entry.restrictions.as_ref().map(|pairs| self.pairs(pairs));
            self.rules.domains_mut(scope).list(Entry {
                rule,
                pattern,
                action: match entry.action {
                    schema::Action::Allow => Action::Allow,
                    schema::Action::Deny => Action::Deny,
                },
                pairs,
                websocket: entry.upgrades.iter().any(|u| u.value == schema::Upgrade::WebSocket),
                allow_private: entry.allow_private.iter().map(|net| net.value).collect(),
                allow_override_headers: entry.allow_override_headers,
            });
        }
        for text in blocked {
            let Some(pattern) = host(text, self.problems) else { continue };
            let rule: RuleId = format!("{prefix}blockedDomains[{}]", text.value).into();
            self.places.entry(rule.clone()).or_insert(text.span);
            self.rules.domains_mut(scope).block(&pattern, &rule);
        }
    }

    fn pairs(&mut self, pairs: &[schema::HttpRestriction]) -> Routes {
        let read = pairs.iter().filter_map(|pair| {
            let path = match &pair.path {
                Some(text) => path(text, self.problems)?,
                None => PathPattern::parse("/**").ok()?,
            };
            Some((methods(&pair.methods), path))
        });
        read.collect()
    }
}

pub(in super::super) fn methods(methods: &schema::Methods) -> Methods {
    match methods {
        schema::Methods::Any => Methods::Any,
        schema::Methods::Listed(names) => {
            Methods::Only(names.iter().map(|n| n.value.clone().into_boxed_str()).collect())
        }
    }
}
