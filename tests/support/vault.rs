//! Vault, as far as its HTTP API is documented for reading: the key-value engine, version 2, and logins by Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::endpoint::{Endpoint, Received, Reply, reply};

/// One that has an engine at `secret/`, and answers as Vault does.
pub struct Vault {
    endpoint: Endpoint,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    /// Entries by their path below the mount, with their fields.
    pub entries: BTreeMap<String, Value>,
    /// Tokens that may read everything.
    pub tokens: BTreeSet<String>,
    /// Namespace that has the engine; empty for the root.
    pub namespace: String,
    /// Roles of the Kubernetes method, each with the service account token it is bound to.
    pub roles: BTreeMap<String, String>,
    /// How long the token of a login lives, in seconds.
    pub lease: u64,
    /// Logins so far: each gives a token of its own.
    pub logins: usize,
    /// What it answers everything with, where it is not well.
    pub ill: Option<Ill>,
}

#[derive(Clone, Copy)]
pub enum Ill {
    /// 503, as a sealed Vault.
    Sealed,
    /// 307, as a standby that does not forward.
    Standby,
    /// It takes the request and says nothing.
    Mute,
    /// 200, with a page that is not JSON.
    Page,
}

impl Vault {
    /// With this token and no entries.
    pub async fn start_at(address: SocketAddr, tls: bool, token: &str) -> Vault {
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().unwrap().tokens.insert(token.to_owned());
        let own = state.clone();
        let endpoint = Endpoint::start(address, tls, move |received| {
            let own = own.clone();
            async move {
                let answered = answer(&received, &mut own.lock().unwrap());
                match answered {
                    Some(reply) => reply,
                    None => std::future::pending().await,
                }
            }
        });
        Vault { endpoint: endpoint.await, state }
    }

    /// Writes an entry with one field.
    pub fn put(&self, path: &str, field: &str, value: &str) {
        self.change(|state| state.entries.insert(path.to_owned(), json!({ field: value })));
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub fn url(&self) -> String {
        self.endpoint.url()
    }

    pub fn requests(&self) -> Vec<Received> {
        self.endpoint.requests()
    }
}

fn answer(request: &Received, state: &mut State) -> Option<Reply> {
    let errors = |status, errors: &[&str]| Some(reply(status, json!({ "errors": errors }).to_string()));
    match state.ill {
        Some(Ill::Sealed) => return errors(503, &["Vault is sealed"]),
        Some(Ill::Standby) => {
            let mut moved = reply(307, "");
            moved.headers_mut().insert("location", "https://127.0.0.1:1/v1/secret/data/jira".parse().unwrap());
            return Some(moved);
        }
        Some(Ill::Mute) => return None,
        Some(Ill::Page) => return Some(reply(200, "<html>Welcome</html>")),
        None => {}
    }
    if request.header("x-vault-namespace") != state.namespace {
        return errors(404, &["no handler for route"]);
    }
    if let Some(mount) = request.path.strip_prefix("/v1/auth/").and_then(|rest| rest.strip_suffix("/login")) {
        let asked = request.json();
        let bound = state.roles.get(asked["role"].as_str().unwrap());
        if request.method != "POST" || mount != "kubernetes" || bound.map(String::as_str) != asked["jwt"].as_str() {
            // A Vault that repeats what it was shown must not bring that into a log.
            return errors(403, &["permission denied", asked["jwt"].as_str().unwrap()]);
        }
        state.logins += 1;
        let token = format!("hvs.login-{}", state.logins);
        state.tokens.insert(token.clone());
        let auth = json!({"client_token": token, "lease_duration": state.lease, "renewable": true});
        return Some(reply(200, json!({"request_id": "1", "data": null, "auth": auth}).to_string()));
    }
    let token = request.header("x-vault-token");
    if !state.tokens.contains(token) {
        return errors(403, &["permission denied", token]);
    }
    let entry = request.path.strip_prefix("/v1/secret/data/").and_then(|path| state.entries.get(path));
    match entry {
        _ if request.method != "GET" || request.header("x-vault-request") != "true" => errors(405, &[]),
        Some(fields) => {
            let metadata =
                json!({"created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": false, "version": 1});
            let data = json!({"data": fields, "metadata": metadata});
            let whole = json!({"request_id": "1", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data, "auth": null});
            Some(reply(200, whole.to_string()))
        }
        None => errors(404, &[]),
    }
}
