//! Who is calling: the identities a request shows, and the agent they name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::pipeline::guesses::{Guesses, LONG, Place, Shown, TooMany};
use crate::pipeline::message::{Door, Fields, RequestHead};
use crate::pipeline::policy::decision::{Denial, Reason};
pub use crate::pipeline::session::TokenHash;
use crate::pipeline::session::{Peer, Session, ShownHeader};

/// Which agent of the policy, by its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(pub usize);

/// How a caller was identified. Where several identities name it, the first of these goes on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// By a client certificate.
    Mtls,
    /// By a proxy token.
    Token,
    /// By the address it calls from.
    Source,
    /// By a header that policy trusts.
    Header,
    /// By the pod that this sidecar is in.
    Kubernetes,
    /// By configuration: this sidecar serves one agent.
    Fixed,
    /// By none: policy says who such callers are.
    Default,
}

impl How {
    /// As the record writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mtls => "mtls",
            Self::Token => "token",
            Self::Source => "source",
            Self::Header => "header",
            Self::Kubernetes => "kubernetes",
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
    /// From this moment on one of the identities that were shown names nobody.
    pub expires: Option<SystemTime>,
}

/// Whose an identity is, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The agent.
    pub agent: AgentId,
    /// From this moment on it names nobody.
    pub expires: Option<SystemTime>,
}

impl Holder {
    fn forever(agent: AgentId) -> Self {
        Self { agent, expires: None }
    }
}

/// The circumstances of a request that identify beside its own fields.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// What its tunnel was opened with.
    pub session: Option<&'a Session>,
    /// The client certificate of its connection, or of its tunnel's.
    pub peer: Option<&'a Peer>,
    /// The address and port its connection, or its tunnel's, comes from.
    pub source: Option<&'a str>,
    /// The time of the request.
    pub now: SystemTime,
    /// The same moment, where a token that nobody has counts as a guess.
    pub guessed: Option<Instant>,
}

impl Origin<'_> {
    /// Of a request of which nothing but its own fields is known.
    pub fn unknown(now: SystemTime) -> Self {
        Self { session: None, peer: None, source: None, now, guessed: None }
    }

    fn place(&self) -> Place {
        Place::of(self.peer.map(|peer| &*peer.uris), self.source)
    }
}

/// Every agent of a policy and what identifies it.
#[derive(Debug, Clone, Default)]
pub struct Agents {
    names: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, AgentId>,
    fixed: Option<(AgentId, How)>,
    /// Why every caller is refused: where this proxy is, nobody is to call.
    stranger: Option<Denial>,
    default: Option<AgentId>,
    certificates: HashMap<Box<str>, AgentId>,
    tokens: HashMap<TokenHash, Holder>,
    /// By the length of the prefix, the longest first.
    sources: BTreeMap<Reverse<u8>, HashMap<IpNet, AgentId>>,
    headers: HashMap<Box<str>, HashMap<Box<[u8]>, AgentId>>,
    untrusted: HashSet<Box<str>>,
    challenge: bool,
    guesses: Option<Arc<Guesses>>,
}

impl Agents {
    /// The one agent of a policy that names none.
    pub fn implicit(name: &str) -> Self {
        let mut agents = Self::default();
        agents.fixed = Some((agents.add(name), How::Fixed));
        agents
    }

    /// Adds an agent.
    pub fn add(&mut self, name: &str) -> AgentId {
        let (id, name) = (AgentId(self.names.len()), Arc::<str>::from(name));
        self.by_name.entry(name.clone()).or_insert(id);
        self.names.push(name);
        id
    }

    /// Lets the SPIFFE ID of a client certificate name an agent; the one it named already, if any.
    pub fn add_certificate(&mut self, spiffe_id: &str, agent: AgentId) -> Option<AgentId> {
        self.certificates.insert(spiffe_id.into(), agent)
    }

    /// Lets a token name an agent, until it expires; whose it was already, if anybody's.
    pub fn add_token(&mut self, token: TokenHash, agent: AgentId, expires: Option<SystemTime>) -> Option<Holder> {
        self.tokens.insert(token, Holder { agent, expires })
    }

    /// Lets a token name nobody.
    pub fn remove_token(&mut self, token: TokenHash) {
        self.tokens.remove(&token);
    }

    /// Lets the addresses of a range name an agent, except those of a narrower one; the agent it named already, if any.
    pub fn add_source(&mut self, range: IpNet, agent: AgentId) -> Option<AgentId> {
        let range = range.trunc();
        self.sources.entry(Reverse(range.prefix_len())).or_default().insert(range, agent)
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
        self.fixed = Some((agent, How::Fixed));
    }

    /// Makes every caller this agent, because of the pod that they and this proxy are in.
    pub fn fix_by_pod(&mut self, agent: AgentId) {
        self.fixed = Some((agent, How::Kubernetes));
    }

    /// Makes every caller nobody, whatever it shows: the pod they and this proxy are in is that of no one agent.
    pub fn refuse_pod(&mut self, why: Denial) {
        self.stranger = Some(why);
    }

    /// Why every caller is nobody, where that is so.
    pub fn stranger(&self) -> Option<&Denial> {
        self.stranger.as_ref()
    }

    /// Makes callers without any identity this agent.
    pub fn set_default(&mut self, agent: AgentId) {
        self.default = Some(agent);
    }

    /// Makes the proxy ask CONNECT requests without identity for one.
    pub fn set_challenge(&mut self, challenge: bool) {
        self.challenge = challenge;
    }

    /// Bounds the guessing of tokens by what is remembered there.
    pub fn bound_guesses(&mut self, guesses: Arc<Guesses>) {
        self.guesses = Some(guesses);
    }

    /// An agent's name.
    pub fn name(&self, agent: AgentId) -> &Arc<str> {
        static NOBODY: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "".into());
        self.names.get(agent.0).unwrap_or(&NOBODY)
    }

    /// The agent of a name.
    pub fn find(&self, name: &str) -> Option<AgentId> {
        self.by_name.get(name).copied()
    }

    /// Every agent.
    pub fn ids(&self) -> impl Iterator<Item = AgentId> + use<> {
        (0..self.names.len()).map(AgentId)
    }

    /// Every agent that a caller could be.
    pub fn callers(&self) -> impl Iterator<Item = AgentId> + use<> {
        let fixed = self.fixed;
        self.ids().filter(move |agent| fixed.is_none_or(|(fixed, _)| fixed == *agent))
    }

    /// The agent that every caller is, where there is only one.
    pub fn fixed(&self) -> Option<AgentId> {
        self.fixed.map(|(agent, _)| agent)
    }

    /// True for a header that identifies somebody, here or to whoever is misled by it: it never leaves.
    pub fn is_identity_header(&self, name: &str) -> bool {
        self.headers.contains_key(name) || self.untrusted.contains(name)
    }

    /// The agent a request comes from. `None` if it shows no identity and policy names nobody for that; every
    /// identity that is shown must be known, and all must name the same agent.
    pub fn identify(&self, head: &RequestHead, origin: &Origin<'_>) -> Result<Option<Caller>, Denial> {
        self.identify_fields(&head.fields, head.door == Door::Proxy && !head.is_connect(), origin)
    }

    /// The same for a request that may not be readable otherwise. `in_front`: it came to the proxy itself, without
    /// a tunnel.
    pub fn identify_fields(
        &self,
        fields: &Fields,
        in_front: bool,
        origin: &Origin<'_>,
    ) -> Result<Option<Caller>, Denial> {
        if let Some(why) = &self.stranger {
            return Err(why.clone());
        }
        let mut claims = Claims::default();
        if let Some(peer) = origin.peer {
            claims.add(self.by_certificate(peer, origin.now)?, How::Mtls)?;
        }
        let mut proxy_tokens = fields.all("proxy-authorization");
        if let Some(credentials) = proxy_tokens.next() {
            if proxy_tokens.next().is_some() {
                return Err(
                    Denial::new(Reason::IdentityConflict).because("`Proxy-Authorization` stands more than once")
                );
            }
            claims.add(self.by_proxy_authorization(credentials, origin)?, How::Token)?;
        }
        for token in origin.session.iter().flat_map(|session| &session.tokens) {
            claims.add(self.by_token(*token, origin.now)?, How::Token)?;
        }
        if let Some(agent) = origin.source.and_then(|source| self.by_source(source)) {
            claims.add(Holder::forever(agent), How::Source)?;
        }
        for (name, value) in origin.session.iter().flat_map(|session| &session.headers) {
            claims.add(Holder::forever(self.by_header(name, value)?), How::Header)?;
        }
        for name in self.headers.keys() {
            for value in fields.all(name) {
                claims.add(Holder::forever(self.by_header(name, value)?), How::Header)?;
            }
        }
        let mut token_in_authorization = false;
        for token in self.own_tokens(fields) {
            self.admit(token, origin)?;
            if self.tokens.contains_key(&token.hash) {
                token_in_authorization = true;
                claims.add(self.by_shown_token(token, origin)?, How::Token)?;
                continue;
            }
            // In front of the proxy, a Bearer token is how a caller names itself.
            if in_front && self.fixed.is_none() && claims.is_empty() {
                return Err(self.nobodys(token, origin, Denial::new(Reason::InvalidToken)));
            }
            // Elsewhere it is the agent's own. What is short enough to be guessed is counted all the same, once: whoever
            // is known could else try there who answers to it.
            self.was_own(token, origin)?;
        }
        let claimed = claims.0.map(|(holder, _)| holder);
        if let (Some((fixed, _)), Some(claimed)) = (self.fixed, claimed)
            && fixed != claimed.agent
        {
            return Err(Denial::new(Reason::IdentityConflict).because("this proxy serves another agent"));
        }
        let known = (claims.0)
            .or(self.fixed.map(|(agent, how)| (Holder::forever(agent), how)))
            .or(self.default.map(|agent| (Holder::forever(agent), How::Default)));
        Ok(known.map(|(Holder { agent, expires }, how)| Caller { agent, how, token_in_authorization, expires }))
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

    /// What of a CONNECT's fields its inner requests inherit: checked again, on the policy of that moment, at each.
    pub fn inherited(&self, head: &RequestHead) -> (Vec<TokenHash>, Vec<ShownHeader>) {
        let proxy = head.fields.all("proxy-authorization").filter_map(token_of).map(|(_, token)| TokenHash::of(&token));
        let own = self.own_tokens(&head.fields).map(|token| token.hash);
        let tokens = proxy.chain(own.filter(|hash| self.tokens.contains_key(hash)));
        let headers = self.headers.keys().flat_map(|name| {
            let values = head.fields.all(name);
            values.map(move |value| (name.clone(), value.into()))
        });
        (tokens.collect(), headers.collect())
    }

    /// Each Bearer token of `Authorization`, which may be one of ours; anything else is the agent's own.
    fn own_tokens<'a>(&'a self, fields: &'a Fields) -> impl Iterator<Item = Token> + 'a {
        let shown = fields.all("authorization").filter(|_| !self.tokens.is_empty());
        shown.filter_map(|value| after_scheme(value, "bearer")).map(Token::of)
    }

    /// By the one URI of the certificate (SPIFFE X509-SVID, 2 and 5.2: with more than one it is refused).
    fn by_certificate(&self, peer: &Peer, now: SystemTime) -> Result<Holder, Denial> {
        let unknown = Denial::new(Reason::UnknownIdentity);
        let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(peer.not_after));
        if expires.is_some_and(|end| now >= end) {
            return Err(unknown.because("the client certificate has expired"));
        }
        if peer.uris.is_empty() {
            return Err(unknown.because("the client certificate has no SPIFFE ID"));
        }
        if peer.uris.contains(',') {
            return Err(Denial::new(Reason::IdentityConflict).because("the client certificate has more than one URI"));
        }
        match self.certificates.get(&peer.uris) {
            Some(agent) => Ok(Holder { agent: *agent, expires }),
            None => Err(unknown.because("no agent has the SPIFFE ID of the client certificate")),
        }
    }

    fn by_proxy_authorization(&self, credentials: &[u8], origin: &Origin<'_>) -> Result<Holder, Denial> {
        let (user, token) = token_of(credentials).ok_or_else(|| {
            Denial::new(Reason::InvalidToken).because("`Proxy-Authorization` is neither `Basic` nor `Bearer`")
        })?;
        let token = Token::of(&token);
        self.admit(token, origin)?;
        let holder = self.by_shown_token(token, origin)?;
        match user {
            Some(user) if user.as_slice() != self.name(holder.agent).as_bytes() => {
                Err(Denial::new(Reason::IdentityConflict).because("the user name is not the agent of the token"))
            }
            _ => Ok(holder),
        }
    }

    /// One that was not shown at CONNECT already, and may be a guess.
    fn by_shown_token(&self, token: Token, origin: &Origin<'_>) -> Result<Holder, Denial> {
        match self.by_token(token.hash, origin.now) {
            Ok(holder) => {
                if let Some((guesses, now)) = self.guessing(token, origin) {
                    guesses.was_right(&origin.place(), token.shown(now));
                }
                Ok(holder)
            }
            Err(denial) => Err(self.nobodys(token, origin, denial)),
        }
    }

    fn admit(&self, token: Token, origin: &Origin<'_>) -> Result<(), Denial> {
        let Some((guesses, now)) = self.guessing(token, origin) else { return Ok(()) };
        guesses.admit(&origin.place(), token.shown(now)).map_err(|refused| too_many(&origin.place(), refused))
    }

    fn was_own(&self, token: Token, origin: &Origin<'_>) -> Result<(), Denial> {
        let Some((guesses, now)) = self.guessing(token, origin) else { return Ok(()) };
        guesses.was_own(&origin.place(), token.shown(now)).map_err(|refused| too_many(&origin.place(), refused))
    }

    /// The refusal of a token: its own, as long as there were not too many.
    fn nobodys(&self, token: Token, origin: &Origin<'_>, denial: Denial) -> Denial {
        let Some((guesses, now)) = self.guesses.as_ref().zip(origin.guessed) else { return denial };
        let counted = guesses.was_wrong(&origin.place(), token.shown(now));
        counted.map_or_else(|refused| too_many(&origin.place(), refused), |()| denial)
    }

    /// Where and when it counts what is shown: only what is short enough to be guessed may have to wait.
    fn guessing(&self, token: Token, origin: &Origin<'_>) -> Option<(&Guesses, Instant)> {
        let guesses = self.guesses.as_deref().filter(|_| token.length < LONG)?;
        Some((guesses, origin.guessed?))
    }

    fn by_token(&self, token: TokenHash, now: SystemTime) -> Result<Holder, Denial> {
        let invalid = Denial::new(Reason::InvalidToken);
        let Some(holder) = self.tokens.get(&token).copied() else { return Err(invalid) };
        match holder.expires {
            Some(end) if now >= end => {
                Err(invalid.because(format!("a token of `{}` that has expired", self.name(holder.agent))))
            }
            _ => Ok(holder),
        }
    }

    /// An address that cannot be read is in no range.
    fn by_source(&self, source: &str) -> Option<AgentId> {
        if self.sources.is_empty() {
            return None;
        }
        let address = source.parse::<SocketAddr>().ok()?.ip().to_canonical();
        self.sources.iter().find_map(|(Reverse(length), ranges)| ranges.get(&range(address, *length)?).copied())
    }

    fn by_header(&self, name: &str, value: &[u8]) -> Result<AgentId, Denial> {
        let agent = self.headers.get(name).and_then(|values| values.get(value));
        agent.copied().ok_or_else(|| Denial::new(Reason::UnknownIdentity))
    }
}

/// The range of this length that an address lies in. `None` if addresses of its kind are shorter.
fn range(address: IpAddr, length: u8) -> Option<IpNet> {
    IpNet::new(address, length).ok().map(|range| range.trunc())
}

/// A token as it was shown.
#[derive(Clone, Copy)]
struct Token {
    hash: TokenHash,
    length: usize,
}

impl Token {
    fn of(token: &[u8]) -> Self {
        Self { hash: TokenHash::of(token), length: token.len() }
    }

    fn shown(&self, now: Instant) -> Shown<'_> {
        Shown { hash: &self.hash.0, length: self.length, now }
    }
}

fn too_many(place: &Place, TooMany { wait, untold }: TooMany) -> Denial {
    let denial = Denial { retry_after: Some(wait), ..Denial::new(Reason::TooManyTokens) };
    match untold {
        None => Denial { is_summed: true, ..denial },
        Some(0) => denial.because(format!("from {place}; those that follow are counted")),
        Some(more) => denial.because(format!("from {place}; {more} more were refused before")),
    }
}

/// What the identities seen so far say.
#[derive(Default)]
struct Claims(Option<(Holder, How)>);

impl Claims {
    fn add(&mut self, more: Holder, how: How) -> Result<(), Denial> {
        self.0 = Some(match self.0 {
            Some((before, _)) if before.agent != more.agent => return Err(Denial::new(Reason::IdentityConflict)),
            Some((before, how_before)) => {
                let expires = before.expires.into_iter().chain(more.expires).min();
                (Holder { expires, ..before }, how.min(how_before))
            }
            None => (more, how),
        });
        Ok(())
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
    // It is asked of each field of each request, and few begin like one of them.
    (name.starts_with("x-") || name == "forwarded")
        // Envoy writes `x-forwarded-proto` itself and takes it out again on the way up.
        && name != "x-forwarded-proto" && (NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

#[cfg(test)]
mod tests;
