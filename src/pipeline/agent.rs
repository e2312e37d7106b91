//! Who is calling: the identities a request shows, and the agent they name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::pipeline::message::{Door, Fields, RequestHead};
use crate::pipeline::policy::decision::{Denial, Reason};
pub use crate::pipeline::session::TokenHash;
use crate::pipeline::session::{Session, ShownHeader};

/// Which agent of the policy, by its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(pub usize);

/// How a caller was identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By a proxy token.
    Token,
    /// By a header that policy trusts.
    Header,
    /// By configuration: this sidecar serves one agent.
    Fixed,
    /// By none: policy says who such callers are.
    Default,
}

impl How {
    /// As the record writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Header => "header",
            Self::Fixed => "fixed",
            Self::Default => "default",
        }
    }
}

/// An identified caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The agent.
    pub agent: AgentId,
    /// What said so.
    pub how: How,
    /// True if `Authorization` held a proxy token, which must not go on.
    pub token_in_authorization: bool,
}

/// Every agent of a policy and what identifies it.
#[derive(Debug, Clone, Default)]
pub struct Agents {
    names: Vec<Arc<str>>,
    fixed: Option<AgentId>,
    default: Option<AgentId>,
    tokens: HashMap<TokenHash, AgentId>,
    headers: HashMap<Box<str>, HashMap<Box<[u8]>, AgentId>>,
    untrusted: HashSet<Box<str>>,
    challenge: bool,
}

impl Agents {
    /// The one agent of a policy that names none.
    pub fn implicit(name: &str) -> Self {
        Self { names: vec![name.into()], fixed: Some(AgentId(0)), ..Self::default() }
    }

    /// Adds an agent.
    pub fn add(&mut self, name: &str) -> AgentId {
        self.names.push(name.into());
        AgentId(self.names.len() - 1)
    }

    /// Lets a token name an agent; the one it named already, if any.
    pub fn add_token(&mut self, token: TokenHash, agent: AgentId) -> Option<AgentId> {
        self.tokens.insert(token, agent)
    }

    /// Lets a header's value name an agent; the one it named already, if any.
    pub fn add_header(&mut self, name: &str, value: &str, agent: AgentId) -> Option<AgentId> {
        self.headers.entry(name.to_ascii_lowercase().into()).or_default().insert(value.as_bytes().into(), agent)
    }

    /// Keeps a header from leaving that identifies nobody here: policy names it, but does not trust it.
    pub fn strip_header(&mut self, name: &str) {
        self.untrusted.insert(name.to_ascii_lowercase().into());
    }

    /// Makes every caller this agent.
    pub fn fix(&mut self, agent: AgentId) {
        self.fixed = Some(agent);
    }

    /// Makes callers without any identity this agent.
    pub fn set_default(&mut self, agent: AgentId) {
        self.default = Some(agent);
    }

    /// Makes the proxy ask CONNECT requests without identity for one.
    pub fn set_challenge(&mut self, challenge: bool) {
        self.challenge = challenge;
    }

    /// An agent's name.
    pub fn name(&self, agent: AgentId) -> &Arc<str> {
        static NOBODY: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "".into());
        self.names.get(agent.0).unwrap_or(&NOBODY)
    }

    /// The agent of a name.
    pub fn find(&self, name: &str) -> Option<AgentId> {
        self.names.iter().position(|n| **n == *name).map(AgentId)
    }

    /// Every agent.
    pub fn ids(&self) -> impl Iterator<Item = AgentId> + use<> {
        (0..self.names.len()).map(AgentId)
    }

    /// The agent that every caller is, where there is only one.
    pub fn fixed(&self) -> Option<AgentId> {
        self.fixed
    }

    /// True for a header that identifies somebody, here or to whoever is misled by it: it never leaves.
    pub fn is_identity_header(&self, name: &str) -> bool {
        self.headers.contains_key(name) || self.untrusted.contains(name)
    }

    /// The agent a request comes from. `None` if it shows no identity and policy names nobody for that; every
    /// identity that is shown must be known, and all must name the same agent.
    pub fn identify(&self, head: &RequestHead, session: Option<&Session>) -> Result<Option<Caller>, Denial> {
        self.identify_fields(&head.fields, head.door == Door::Proxy && !head.is_connect(), session)
    }

    /// The same for a request that may not be readable otherwise. `in_front`: it came to the proxy itself, without
    /// a tunnel.
    pub fn identify_fields(
        &self,
        fields: &Fields,
        in_front: bool,
        session: Option<&Session>,
    ) -> Result<Option<Caller>, Denial> {
        let mut claims = Claims::default();
        let mut proxy_tokens = fields.all("proxy-authorization");
        if let Some(credentials) = proxy_tokens.next() {
            if proxy_tokens.next().is_some() {
                return Err(
                    Denial::new(Reason::IdentityConflict).because("`Proxy-Authorization` stands more than once")
                );
            }
            claims.add(self.by_proxy_authorization(credentials)?, How::Token)?;
        }
        if let Some(token) = session.and_then(|s| s.token) {
            claims.add(self.by_token(token)?, How::Token)?;
        }
        if let Some((name, value)) = session.and_then(|s| s.header.as_ref()) {
            claims.add(self.by_header(name, value)?, How::Header)?;
        }
        for name in self.headers.keys() {
            for value in fields.all(name) {
                claims.add(self.by_header(name, value)?, How::Header)?;
            }
        }
        let mut token_in_authorization = false;
        if !self.tokens.is_empty() {
            for token in fields.all("authorization").filter_map(|v| after_scheme(v, "bearer")) {
                match self.tokens.get(&TokenHash::of(token)) {
                    Some(agent) => {
                        token_in_authorization = true;
                        claims.add(*agent, How::Token)?;
                    }
                    // In front of the proxy, a Bearer token is how a caller names itself.
                    None if in_front && self.fixed.is_none() && claims.is_empty() => {
                        return Err(Denial::new(Reason::InvalidToken));
                    }
                    None => {}
                }
            }
        }
        if let (Some(fixed), Some((claimed, _))) = (self.fixed, claims.0)
            && fixed != claimed
        {
            return Err(Denial::new(Reason::IdentityConflict).because("this proxy serves another agent"));
        }
        let known = claims
            .0
            .or(self.fixed.map(|agent| (agent, How::Fixed)))
            .or(self.default.map(|agent| (agent, How::Default)));
        Ok(known.map(|(agent, how)| Caller { agent, how, token_in_authorization }))
    }

    /// The refusal of a request without identity, where there must be one: always inside, and at CONNECT only if
    /// policy asks there.
    pub fn unidentified(&self, head: &RequestHead) -> Option<Denial> {
        (!head.is_connect() || self.challenge).then(|| Denial::new(Reason::NoIdentity))
    }

    /// True if the answer to an unknown caller is 407: the identity was, or is to be, given to the proxy hop.
    pub fn is_proxy_hop(&self, head: &RequestHead) -> bool {
        head.door == Door::Proxy
            && (head.is_connect() || self.challenge || head.fields.get("proxy-authorization").is_some())
    }

    /// What of a CONNECT's identity its inner requests inherit: checked again, on the policy of that moment, at each.
    pub fn inherited(&self, head: &RequestHead) -> (Option<TokenHash>, Option<ShownHeader>) {
        let proxy = head.fields.get("proxy-authorization").and_then(token_of).map(|(_, t)| TokenHash::of(&t));
        let bearer = || {
            let hash = TokenHash::of(after_scheme(head.fields.get("authorization")?, "bearer")?);
            self.tokens.contains_key(&hash).then_some(hash)
        };
        let header = self.headers.keys().find_map(|n| head.fields.get(n).map(|v| (n.clone(), v.into())));
        (proxy.or_else(bearer), header)
    }

    fn by_proxy_authorization(&self, credentials: &[u8]) -> Result<AgentId, Denial> {
        let (user, token) = token_of(credentials).ok_or_else(|| {
            Denial::new(Reason::InvalidToken).because("`Proxy-Authorization` is neither `Basic` nor `Bearer`")
        })?;
        let agent = self.by_token(TokenHash::of(&token))?;
        match user {
            Some(user) if user.as_slice() != self.name(agent).as_bytes() => {
                Err(Denial::new(Reason::IdentityConflict).because("the user name is not the agent of the token"))
            }
            _ => Ok(agent),
        }
    }

    fn by_token(&self, token: TokenHash) -> Result<AgentId, Denial> {
        self.tokens.get(&token).copied().ok_or_else(|| Denial::new(Reason::InvalidToken))
    }

    fn by_header(&self, name: &str, value: &[u8]) -> Result<AgentId, Denial> {
        let agent = self.headers.get(name).and_then(|values| values.get(value));
        agent.copied().ok_or_else(|| Denial::new(Reason::UnknownIdentity))
    }
}

/// What the identities seen so far say.
#[derive(Default)]
struct Claims(Option<(AgentId, How)>);

impl Claims {
    fn add(&mut self, agent: AgentId, how: How) -> Result<(), Denial> {
        match self.0 {
            Some((other, _)) if other != agent => Err(Denial::new(Reason::IdentityConflict)),
            Some(_) => Ok(()),
            None => {
                self.0 = Some((agent, how));
                Ok(())
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// The user name, if any, and the token in the credentials of `Proxy-Authorization` (RFC 7617, RFC 6750).
fn token_of(credentials: &[u8]) -> Option<(Option<Text>, Text)> {
    if let Some(token) = after_scheme(credentials, "bearer") {
        return Some((None, Zeroizing::new(token.to_vec())));
    }
    let pair = Zeroizing::new(STANDARD.decode(after_scheme(credentials, "basic")?).ok()?);
    let colon = pair.iter().position(|b| *b == b':')?;
    let (user, token) = pair.split_at(colon);
    Some((Some(Zeroizing::new(user.to_vec())), Zeroizing::new(token.get(1..)?.to_vec())))
}

/// Part of credentials, wiped when dropped.
type Text = Zeroizing<Vec<u8>>;

/// What follows an authentication scheme, whose name has no case (RFC 9110 §11.1).
fn after_scheme<'a>(credentials: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (name, rest) = credentials.split_at_checked(scheme.len())?;
    let blank = rest.first() == Some(&b' ');
    (name.eq_ignore_ascii_case(scheme.as_bytes()) && blank).then(|| rest.trim_ascii())
}

/// Headers that name another method, URL or origin than the request's own. An upstream that obeys one would do
/// what policy never looked at, so they are removed unless an allow entry says otherwise.
pub fn is_override_header(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-http-host-override",
        "x-http-path-override",
        "x-override-url",
        "x-host",
        "x-forwarded",
        "forwarded",
    ];
    const PREFIXES: [&str; 3] = ["x-forwarded-", "x-original-", "x-rewrite-"];
    // Envoy writes `x-forwarded-proto` itself and takes it out again on the way up.
    name != "x-forwarded-proto" && (NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::message::Fields;

    fn agents() -> Agents {
        let mut agents = Agents::default();
        let ann = agents.add("ann");
        let bob = agents.add("bob");
        agents.add_token(TokenHash::of(b"ann-token"), ann);
        agents.add_token(TokenHash::of(b"bob-token"), bob);
        agents.add_header("X-Agent", "ann", ann);
        agents
    }

    fn head(door: Door, method: &str, fields: &[(&str, &str)]) -> RequestHead {
        let own = [(":method", method), (":authority", "a.example:443"), (":path", "/")];
        let fields = own.iter().chain(fields).map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        RequestHead::parse(door, Fields::new(fields)).unwrap()
    }

    fn who(agents: &Agents, door: Door, fields: &[(&str, &str)]) -> Result<Option<(String, How)>, Reason> {
        let found = agents.identify(&head(door, "GET", fields), None).map_err(|d| d.reason)?;
        Ok(found.map(|c| (agents.name(c.agent).to_string(), c.how)))
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn every_shown_identity_must_be_known_and_agree() {
        let agents = agents();
        let (ann, bob) = (basic("ann:ann-token"), basic("bob:bob-token"));
        let wrong_user = basic("bob:ann-token");
        let token = Some(("ann".to_owned(), How::Token));
        for (fields, expected) in [
            (vec![], Ok(None)),
            (vec![("proxy-authorization", &*ann)], Ok(token.clone())),
            (vec![("proxy-authorization", "bearer ann-token")], Ok(token.clone())),
            (vec![("authorization", "Bearer ann-token")], Ok(token.clone())),
            (vec![("x-agent", "ann")], Ok(Some(("ann".to_owned(), How::Header)))),
            (vec![("x-agent", "ann"), ("proxy-authorization", &*ann)], Ok(token.clone())),
            (vec![("x-agent", "ann"), ("proxy-authorization", &*bob)], Err(Reason::IdentityConflict)),
            (
                vec![("authorization", "Bearer bob-token"), ("proxy-authorization", &*ann)],
                Err(Reason::IdentityConflict),
            ),
            (vec![("proxy-authorization", &*ann), ("proxy-authorization", &*ann)], Err(Reason::IdentityConflict)),
            (vec![("proxy-authorization", &*wrong_user)], Err(Reason::IdentityConflict)),
            (vec![("proxy-authorization", "Basic !")], Err(Reason::InvalidToken)),
            (vec![("proxy-authorization", "Digest x")], Err(Reason::InvalidToken)),
            (vec![("proxy-authorization", "Bearer nobody")], Err(Reason::InvalidToken)),
            (vec![("x-agent", "nobody")], Err(Reason::UnknownIdentity)),
            (vec![("x-agent", "ann"), ("x-agent", "nobody")], Err(Reason::UnknownIdentity)),
            (vec![("x-other", "ann")], Ok(None)),
        ] {
            assert_eq!(who(&agents, Door::Tls, &fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn an_unknown_bearer_is_the_agents_own_header_but_in_front_of_the_proxy() {
        let agents = agents();
        let own = [("authorization", "Bearer sk-own")];
        assert_eq!(who(&agents, Door::Tls, &own), Ok(None));
        assert_eq!(who(&agents, Door::Proxy, &own), Err(Reason::InvalidToken));
        let both = [("authorization", "Bearer sk-own"), ("x-agent", "ann")];
        assert_eq!(who(&agents, Door::Proxy, &both), Ok(Some(("ann".to_owned(), How::Header))));
    }

    #[test]
    fn a_header_that_nobody_trusts_identifies_nobody_and_stays_behind() {
        let mut agents = agents();
        agents.strip_header("X-Untrusted");
        assert_eq!(who(&agents, Door::Tls, &[("x-untrusted", "ann")]), Ok(None));
        assert!(agents.is_identity_header("x-untrusted") && agents.is_identity_header("x-agent"));
        assert!(!agents.is_identity_header("x-other"));
    }

    #[test]
    fn headers_that_speak_of_another_request_are_known() {
        for name in [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
            "x-original-url",
            "x-original-host",
            "x-rewrite-url",
            "x-rewrite-uri",
            "x-override-url",
            "x-host",
            "x-http-host-override",
            "forwarded",
            "x-forwarded",
            "x-forwarded-host",
            "x-forwarded-prefix",
        ] {
            assert!(is_override_header(name), "{name}");
        }
        for name in ["x-forwarded-proto", "host", "x-api-key", "x-original", "authorization"] {
            assert!(!is_override_header(name), "{name}");
        }
    }

    #[test]
    fn a_fixed_agent_is_everybody_but_never_somebody_else() {
        let mut agents = agents();
        agents.fix(AgentId(0));
        assert_eq!(who(&agents, Door::Tls, &[]), Ok(Some(("ann".to_owned(), How::Fixed))));
        assert_eq!(who(&agents, Door::Tls, &[("authorization", "Bearer bob-token")]), Err(Reason::IdentityConflict));
        assert_eq!(
            who(&agents, Door::Proxy, &[("authorization", "Bearer sk-own")]),
            Ok(Some(("ann".to_owned(), How::Fixed)))
        );
    }

    #[test]
    fn a_default_agent_is_only_for_those_who_show_nothing() {
        let mut agents = agents();
        agents.set_default(AgentId(1));
        assert_eq!(who(&agents, Door::Tls, &[]), Ok(Some(("bob".to_owned(), How::Default))));
        assert_eq!(who(&agents, Door::Tls, &[("proxy-authorization", "Bearer nobody")]), Err(Reason::InvalidToken));
    }

    #[test]
    fn a_session_is_checked_against_the_policy_of_the_moment() {
        let agents = agents();
        let connect = head(Door::Proxy, "CONNECT", &[("proxy-authorization", &basic("ann:ann-token"))]);
        let (token, header) = agents.inherited(&connect);
        let session = Session { authority: connect.authority.clone(), source: "192.0.2.7:1".into(), token, header };
        let inner = head(Door::Tls, "GET", &[]);
        assert_eq!(agents.identify(&inner, Some(&session)).unwrap().map(|c| c.agent), Some(AgentId(0)));
        let mut revoked = Agents::default();
        revoked.add("ann");
        assert_eq!(revoked.identify(&inner, Some(&session)).unwrap_err().reason, Reason::InvalidToken);
    }
}
