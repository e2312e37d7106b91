//! Where secrets come from: environment variables and files, read again when they change, and Vault, asked when a
//! request that policy has allowed needs one. None is handed out that messages are not searched for.

mod expiry;
mod local;
mod lookout;
mod remote;
mod vault;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;

use crate::https::{Client, Trust, TrustError};
use crate::pipeline::credential::{CredentialId, Secret};
use crate::pipeline::dlp::known::{Known, TooWeak};
pub use local::{Environment, Files, LocalError, Source};
pub use lookout::Bounds;
use lookout::Lookout;
use remote::{Answer, Remote};
use vault::Vault;
pub use vault::{Auth, VaultError, VaultSource};

/// Where a credential's secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// On this machine: at hand before the first request.
    Local(Source),
    /// In Vault: fetched for the first request that needs it.
    Vault(Box<VaultSource>),
}

impl From<Source> for Origin {
    fn from(source: Source) -> Self {
        Self::Local(source)
    }
}

/// Why a secret cannot be had. None shows a secret, or the token that gives it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Not on this machine.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// Not from Vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// The secrets of one policy, by [`CredentialId`]. Reading one takes no lock.
#[derive(Debug, Default)]
pub struct Secrets {
    held: Vec<Held>,
    lookout: Arc<Lookout>,
}

/// The secrets asked for, in the order asked; none where one cannot be had.
pub type Found = SmallVec<[Option<Arc<Secret>>; 1]>;

/// What [`Secrets::fetch`] can say at once.
pub enum Fetch {
    /// All that can be had is at hand.
    AtHand(Found),
    /// Vault is being asked, within its own deadline.
    Awaited(Pin<Box<dyn Future<Output = Found> + Send>>),
}

#[derive(Debug)]
struct Held {
    name: Arc<str>,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Local {
        source: Source,
        value: ArcSwapOption<Secret>,
        /// The file's identity when it was last read.
        seen: Mutex<Option<local::Stamp>>,
    },
    Remote(Arc<Remote>),
    /// What its source says of itself cannot be.
    Nowhere,
}

impl Secrets {
    /// Reads every secret of this machine, and gets ready to ask for the others; `origins` are in the order of the
    /// policy's credentials, each with its name. What cannot be had is left out and reported: requests that need it
    /// are refused.
    pub fn load(
        origins: Vec<(String, impl Into<Origin>)>,
        environment: &Environment,
    ) -> (Self, Vec<(String, SecretError)>) {
        let mut missing = Vec::new();
        let mut clients = Clients::default();
        let held = origins.into_iter().map(|(name, origin)| {
            let mut report = |error| missing.push((name.clone(), error));
            let kept = match origin.into() {
                Origin::Local(source) => {
                    let seen = Mutex::new(source.stamp());
                    let value = source.load(environment).map_err(|error| report(error.into())).ok();
                    Kept::Local { value: ArcSwapOption::from(value.map(Arc::new)), source, seen }
                }
                Origin::Vault(source) => match Vault::new(*source, environment, &mut clients) {
                    Ok((vault, refresh)) => Kept::Remote(Remote::new(&name, vault, refresh)),
                    Err(error) => {
                        report(error.into());
                        Kept::Nowhere
                    }
                },
            };
            Held { name: name.into(), kept }
        });
        let secrets = Self { held: held.collect(), lookout: Arc::default() };
        secrets.note_local();
        (secrets, missing)
    }

    /// Says what else messages are to be searched for, and what not; gives what of all cannot be looked for.
    pub fn set_bounds(&self, bounds: Bounds) -> Vec<TooWeak> {
        self.lookout.set(bounds)
    }

    /// What messages are to be searched for: every secret that was handed out, those it replaced, and canaries.
    pub fn known(&self) -> Arc<Known> {
        self.lookout.known()
    }

    /// The same at any later time.
    pub fn held(&self) -> Arc<dyn Fn() -> Arc<Known> + Send + Sync> {
        let lookout = self.lookout.clone();
        Arc::new(move || lookout.known())
    }

    /// Takes over what an earlier policy has fetched for the same entries: a new policy asks Vault no sooner. What the
    /// earlier one looked for in messages is looked for still.
    pub fn keep(&mut self, earlier: &Self) {
        self.lookout.keep(&earlier.lookout);
        for held in &mut self.held {
            let Kept::Remote(remote) = &mut held.kept else { continue };
            let same = earlier.held.iter().find_map(|other| match &other.kept {
                Kept::Remote(other) if other.is_same_as(remote) => Some(other.clone()),
                _ => None,
            });
            if let Some(same) = same {
                *remote = same;
            }
        }
    }

    /// The secrets as they are now, in the order asked. Vault is asked only here, and so only for requests that
    /// policy has allowed. Needs a tokio runtime where it is.
    pub fn fetch(&self, wanted: &[CredentialId]) -> Fetch {
        let mut waits = Vec::new();
        let mut found = Found::new();
        for id in wanted {
            found.push(match self.held.get(id.0).map(|held| &held.kept) {
                Some(Kept::Local { value, .. }) => value.load_full(),
                Some(Kept::Remote(remote)) => match remote.ask(Instant::now()) {
                    Answer::Known(secret) => secret,
                    Answer::Flying(flight) => {
                        waits.push((found.len(), remote.clone(), flight));
                        None
                    }
                },
                Some(Kept::Nowhere) | None => None,
            });
        }
        let names: SmallVec<[Arc<str>; 1]> =
            wanted.iter().map(|id| self.held.get(id.0).map_or_else(|| "".into(), |held| held.name.clone())).collect();
        let note = move |lookout: &Lookout, found: &Found| {
            lookout.note(names.iter().zip(found).filter_map(|(name, secret)| Some((name, secret.as_ref()?))));
        };
        if waits.is_empty() {
            note(&self.lookout, &found);
            return Fetch::AtHand(found);
        }
        let lookout = self.lookout.clone();
        Fetch::Awaited(Box::pin(async move {
            // They fly at the same time, each with its own deadline.
            for (at, remote, flight) in waits {
                let secret = remote.land(flight).await;
                if let Some(place) = found.get_mut(at) {
                    *place = secret;
                }
            }
            note(&lookout, &found);
            found
        }))
    }

    /// Reads the files again that have changed, and says how that went for each of them. A file that is gone or
    /// no longer a secret takes its credential with it: that is how an operator revokes one.
    pub fn refresh(&self) -> Vec<(String, Result<(), SecretError>)> {
        let nothing = Environment::default();
        let reread = |held: &Held| {
            let Kept::Local { source: source @ Source::File(_), value, seen } = &held.kept else { return None };
            let now = source.stamp();
            if std::mem::replace(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner), now) == now {
                return None;
            }
            let read = source.load(&nothing);
            let (secret, outcome) = match read {
                Ok(secret) => (Some(Arc::new(secret)), Ok(())),
                Err(error) => (None, Err(error.into())),
            };
            value.store(secret);
            Some((held.name.to_string(), outcome))
        };
        let changed = self.held.iter().filter_map(reread).collect();
        self.note_local();
        changed
    }

    /// The credentials whose secrets say when they end, as far as they are at hand.
    pub fn expiries(&self) -> Vec<(Arc<str>, SystemTime)> {
        let ends = |held: &Held| {
            let secret = match &held.kept {
                Kept::Local { value, .. } => value.load_full(),
                Kept::Remote(remote) => remote.at_hand(Instant::now()),
                Kept::Nowhere => None,
            };
            Some((held.name.clone(), expiry::of(&*secret?)?))
        };
        self.held.iter().filter_map(ends).collect()
    }

    fn note_local(&self) {
        let at_hand = |held: &Held| match &held.kept {
            Kept::Local { value, .. } => Some((held.name.clone(), value.load_full()?)),
            Kept::Remote(_) | Kept::Nowhere => None,
        };
        let values: Vec<_> = self.held.iter().filter_map(at_hand).collect();
        self.lookout.note(values.iter().map(|(name, secret)| (name, secret)));
    }
}

/// One client for all that trust the same CAs: the system's are many.
#[derive(Default)]
struct Clients(HashMap<Trust, Client>);

impl Clients {
    fn trusting(&mut self, trust: &Trust) -> Result<Client, TrustError> {
        if let Some(client) = self.0.get(trust) {
            return Ok(client.clone());
        }
        let client = Client::new(trust)?;
        self.0.insert(trust.clone(), client.clone());
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::credential::Format;

    fn shown(secret: Option<&Arc<Secret>>) -> Option<String> {
        let rendered = Format::parse("{value}").unwrap().render(secret?);
        Some(String::from_utf8_lossy(&rendered).into_owned())
    }

    #[test]
    fn messages_are_searched_for_what_a_file_held_and_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "first-9aF3kLm20Q\n").unwrap();
        let (secrets, _) = Secrets::load(vec![("key".to_owned(), Source::File(path.clone()))], &Environment::default());
        let finds = |value: &str| {
            let mut names = Vec::new();
            secrets.known().find(value.as_bytes(), &mut |found| names.push(found.held.name.to_string()));
            names == ["key"]
        };
        assert!(finds("first-9aF3kLm20Q") && !finds("second-zX7vB1nT5"));
        std::fs::write(&path, "second-zX7vB1nT5").unwrap();
        assert_eq!(secrets.refresh().len(), 1);
        assert!(finds("first-9aF3kLm20Q") && finds("second-zX7vB1nT5"));
        std::fs::remove_file(&path).unwrap();
        assert!(secrets.refresh()[0].1.is_err());
        assert!(finds("first-9aF3kLm20Q") && finds("second-zX7vB1nT5"), "it may open something still");
    }

    #[test]
    fn a_variable_is_read_once_and_a_file_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "one\n").unwrap();
        let environment = Environment::from_iter([("TOKEN".to_owned(), b"fromenv".to_vec())]);
        let sources = vec![
            ("env".to_owned(), Source::Variable("TOKEN".into())),
            ("file".to_owned(), Source::File(path.clone())),
            ("none".to_owned(), Source::Variable("NOWHERE".into())),
        ];
        let (secrets, missing) = Secrets::load(sources, &environment);
        assert_eq!(missing.len(), 1);
        let see = || match secrets.fetch(&[CredentialId(0), CredentialId(1), CredentialId(2)]) {
            Fetch::AtHand(found) => found.iter().map(|s| shown(s.as_ref())).collect::<Vec<_>>(),
            Fetch::Awaited(_) => panic!("what is on this machine is at hand"),
        };
        assert_eq!(see(), [Some("fromenv".into()), Some("one".into()), None]);
        assert!(secrets.refresh().is_empty());
        std::fs::write(&path, "other").unwrap();
        assert_eq!(secrets.refresh().len(), 1);
        assert_eq!(see()[1].as_deref(), Some("other"));
        std::fs::write(&path, "two\nlines").unwrap();
        assert!(secrets.refresh()[0].1.is_err());
        assert_eq!(see()[1], None);
        std::fs::remove_file(&path).unwrap();
        assert!(secrets.refresh()[0].1.is_err());
        std::fs::write(&path, "back").unwrap();
        assert!(secrets.refresh()[0].1.is_ok());
        assert_eq!(see()[1].as_deref(), Some("back"));
    }
}
