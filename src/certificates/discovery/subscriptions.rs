//! What one Envoy asked for and was given. No I/O and no clock.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, TlsCertificate, secret};

use super::super::{Leaf, Minter, Subject};
use super::{Admission, Issued, NO_SERVER_NAME, NameGate, ServerName};

/// The names one Envoy is subscribed to, spelt as it spells them.
pub(super) struct Subscriptions {
    held: HashMap<String, Held>,
    /// Names to look at, in the order they came up.
    due: VecDeque<String>,
    /// Names pushed out by newer ones.
    evicted: Vec<String>,
    /// How many were taken back to make room, and nobody was told.
    evictions: usize,
    capacity: usize,
    /// For names that are refused.
    allowance: Allowance,
    sequence: u64,
}

/// How many certificates there may be for names that are refused: an agent can make up as many as it likes.
struct Allowance {
    /// At a time, and a minute.
    most: usize,
    /// Left of this minute's.
    left: usize,
    minute: SystemTime,
}

impl Allowance {
    fn take(&mut self, now: SystemTime) -> bool {
        // A clock that is set back begins another minute, too.
        if now.duration_since(self.minute).is_ok_and(|passed| passed >= MINUTE) || now < self.minute {
            (self.left, self.minute) = (self.most, now);
        }
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }
}

/// What is to be sent.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) given: Vec<Given>,
    pub(super) removed: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) secret: Secret,
}

struct Held {
    /// Grows with each subscription: the smallest is the least recently subscribed.
    sequence: u64,
    /// Asked for by Envoy since it was last looked at, that is, by a client.
    asked: bool,
    /// The name is refused; what Envoy has is for telling so.
    denied: bool,
    /// What Envoy has.
    state: State,
}

enum State {
    /// Nothing.
    Nothing,
    /// A certificate of this version.
    Certificate { version: String, renew_at: SystemTime },
    /// The answer that there is none.
    Refusal,
}

/// Mints of one batch: a few milliseconds.
const BATCH: usize = 32;
const MINUTE: Duration = Duration::from_secs(60);
/// Of a resource name. A server name is at most 255 bytes in a DNS message, and 253 in text.
const LONGEST_NAME: usize = 255;
/// The reason on record for what can be no server name.
pub(super) const INVALID_NAME: &str = "sni_invalid";

impl Subscriptions {
    pub(super) fn new(capacity: usize, denied: usize) -> Subscriptions {
        Subscriptions {
            held: HashMap::new(),
            due: VecDeque::new(),
            evicted: Vec::new(),
            evictions: 0,
            capacity: capacity.max(1),
            allowance: Allowance { most: denied, left: denied, minute: SystemTime::UNIX_EPOCH },
            sequence: 0,
        }
    }

    /// Envoy subscribes and unsubscribes. `versions` says what it still has from an earlier stream.
    pub(super) fn hear(&mut self, subscribe: &[String], unsubscribe: &[String], mut versions: HashMap<String, String>) {
        for name in unsubscribe {
            self.held.remove(name);
        }
        for name in subscribe {
            self.sequence += 1;
            self.evicted.retain(|evicted| evicted != name);
            let claimed = versions.remove(name);
            // With a claim it is a reconnecting Envoy that asks; without one, a client that waits.
            let asked = claimed.is_none();
            let state = match claimed {
                Some(version) => State::Certificate { version, renew_at: SystemTime::UNIX_EPOCH },
                None => State::Nothing,
            };
            let held = Held { sequence: self.sequence, asked, denied: false, state };
            self.held.insert(name.clone(), held);
            self.due.push_back(name.clone());
            if self.held.len() > self.capacity {
                self.evict();
            }
        }
        // Names Envoy has and does not ask for: by the protocol it asks for all it has, so they are not to stay.
        self.evicted.extend(versions.into_keys());
    }

    /// Every name is to be looked at again.
    pub(super) fn policy_changed(&mut self) {
        self.due.extend(self.held.keys().cloned());
    }

    /// The next part of what Envoy is to be told, or none while there is nothing to tell.
    pub(super) fn next_batch(&mut self, minter: &Minter, gate: &dyn NameGate, now: SystemTime) -> Option<Batch> {
        if self.due.is_empty() && self.next_renewal().is_some_and(|renewal| renewal <= now) {
            let expiring = self.held.iter().filter(|(_, held)| held.renewal().is_some_and(|renewal| renewal <= now));
            self.due = expiring.map(|(name, _)| name.clone()).collect();
        }
        (0..std::mem::take(&mut self.evictions)).for_each(|_| gate.issued(Issued::Evicted));
        let mut batch = Batch { given: Vec::new(), removed: std::mem::take(&mut self.evicted) };
        while let Some(name) = self.due.pop_front() {
            // Unsubscribed or evicted since.
            if let Some(held) = self.held.get_mut(&name) {
                match held.look(&name, minter, gate, &mut self.allowance, now) {
                    Outcome::Give(given) => batch.given.push(*given),
                    Outcome::Remove => batch.removed.push(name),
                    Outcome::Keep => {}
                }
            }
            self.evict_denied();
            if batch.given.len() + batch.removed.len() >= BATCH {
                break;
            }
        }
        (!batch.given.is_empty() || !batch.removed.is_empty()).then_some(batch)
    }

    /// When the first certificate is to be replaced.
    pub(super) fn next_renewal(&self) -> Option<SystemTime> {
        self.held.values().filter_map(Held::renewal).min()
    }

    /// Takes back the least recently subscribed name; refusals first, which cost nothing to say again, and never one that
    /// is allowed for one that is not.
    fn evict(&mut self) {
        let rank = |held: &Held| match held.state {
            State::Refusal => 0,
            _ if held.denied => 1,
            _ => 2,
        };
        let oldest = self.held.iter().min_by_key(|(_, held)| (rank(held), held.sequence));
        self.take_back(oldest.map(|(name, _)| name.clone()));
    }

    /// Keeps those for names that are refused few.
    fn evict_denied(&mut self) {
        let denied = || self.held.iter().filter(|(_, held)| held.denied);
        if denied().count() > self.allowance.most {
            let oldest = denied().min_by_key(|(_, held)| held.sequence);
            self.take_back(oldest.map(|(name, _)| name.clone()));
        }
    }

    fn take_back(&mut self, name: Option<String>) {
        if let Some(name) = name {
            let held = self.held.remove(&name);
            self.evictions += usize::from(held.is_some_and(|held| held.renewal().is_some()));
            self.evicted.push(name);
        }
    }
}

enum Outcome {
    Give(Box<Given>),
    Remove,
    Keep,
}

impl Held {
    fn renewal(&self) -> Option<SystemTime> {
        match self.state {
            State::Certificate { renew_at, .. } => Some(renew_at),
            State::Nothing | State::Refusal => None,
        }
    }

    fn look(
        &mut self,
        raw: &str,
        minter: &Minter,
        gate: &dyn NameGate,
        allowance: &mut Allowance,
        now: SystemTime,
    ) -> Outcome {
        let asked = std::mem::take(&mut self.asked);
        let Some(name) = Parsed::new(raw) else {
            return self.refuse(asked.then_some((escaped(raw).as_str(), INVALID_NAME)), gate);
        };
        let addresses: Vec<IpAddr>;
        let subject = match (gate.admit(name.server_name()), &name) {
            (Admission::Mint, Parsed::Named(name)) => {
                self.denied = false;
                Subject::Name(name)
            }
            // One that it has may stay until its time is over.
            (Admission::Refuse(_), Parsed::Named(name)) if self.may_tell(asked, allowance, now) => {
                self.denied = true;
                Subject::Name(name)
            }
            (Admission::MintAddresses(list), _) if !list.is_empty() => {
                addresses = list;
                Subject::Addresses(&addresses)
            }
            (Admission::Refuse(reason), _) => {
                return self.refuse(asked.then_some((name.text(), reason)), gate);
            }
            (Admission::Mint | Admission::MintAddresses(_), _) => {
                return self.refuse(asked.then_some((name.text(), "sni_without_subject")), gate);
            }
        };
        if let State::Certificate { version, renew_at } = &mut self.state
            && let Some(renewal) = still_good(version, subject, minter, now)
        {
            *renew_at = renewal;
            return Outcome::Keep;
        }
        match minter.mint(subject, now) {
            Ok(leaf) => {
                let version = minter.version(subject, leaf.expires);
                let renew_at = minter.renew_at(leaf.expires);
                gate.issued(if self.renewal().is_some() { Issued::Rotated } else { Issued::Minted });
                self.state = State::Certificate { version: version.clone(), renew_at };
                let secret = secret(raw, leaf);
                Outcome::Give(Box::new(Given { name: raw.to_owned(), version, secret }))
            }
            Err(error) => {
                tracing::error!(name = name.text(), %error, "no certificate");
                self.refuse(asked.then_some((name.text(), "certificate_unavailable")), gate)
            }
        }
    }

    /// True if there is to be a certificate for a name that is refused.
    fn may_tell(&self, asked: bool, allowance: &mut Allowance, now: SystemTime) -> bool {
        match &self.state {
            State::Certificate { renew_at, .. } if self.denied => *renew_at > now,
            _ => asked && allowance.take(now),
        }
    }

    fn refuse(&mut self, attempt: Option<(&str, &'static str)>, gate: &dyn NameGate) -> Outcome {
        self.denied = false;
        if let Some((name, reason)) = attempt {
            gate.refused(name, reason);
        }
        match (attempt, std::mem::replace(&mut self.state, State::Refusal)) {
            (None, State::Refusal) => Outcome::Keep,
            _ => Outcome::Remove,
        }
    }
}

/// When a certificate of this version is to be renewed, if it is ours, for this subject, and not due yet.
fn still_good(version: &str, subject: Subject<'_>, minter: &Minter, now: SystemTime) -> Option<SystemTime> {
    let (_, expires) = version.rsplit_once('-')?;
    let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(expires.parse().ok()?))?;
    let renewal = minter.renew_at(expires);
    (minter.version(subject, expires) == version && renewal > now).then_some(renewal)
}

/// A resource name that can be a server name.
enum Parsed {
    Named(String),
    Absent,
}

impl Parsed {
    /// Clients spell the name as they like, and may send anything at all.
    fn new(raw: &str) -> Option<Parsed> {
        if raw == NO_SERVER_NAME {
            return Some(Parsed::Absent);
        }
        let name = raw.to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        // RFC 6066 section 3: no addresses, no trailing dot.
        let last = name.rsplit('.').next().unwrap_or_default();
        let number = last.bytes().all(|byte| byte.is_ascii_digit());
        (name.len() <= 253 && !number && name.split('.').all(label)).then_some(Parsed::Named(name))
    }

    fn server_name(&self) -> ServerName<'_> {
        match self {
            Parsed::Named(name) => ServerName::Named(name),
            Parsed::Absent => ServerName::Absent,
        }
    }

    fn text(&self) -> &str {
        match self {
            Parsed::Named(name) => name,
            Parsed::Absent => "",
        }
    }
}

/// For the record: bounded, and without anything a terminal or log reader would act on.
pub(super) fn escaped(raw: &str) -> String {
    raw.chars().take(LONGEST_NAME).flat_map(char::escape_default).collect()
}

fn secret(name: &str, leaf: Leaf) -> Secret {
    let inline = |text: &str| {
        Some(DataSource { specifier: Some(Specifier::InlineString(text.to_owned())), ..DataSource::default() })
    };
    Secret {
        name: name.to_owned(),
        r#type: Some(secret::Type::TlsCertificate(TlsCertificate {
            certificate_chain: inline(&leaf.chain_pem),
            private_key: inline(&leaf.key_pem),
            ..TlsCertificate::default()
        })),
    }
}
