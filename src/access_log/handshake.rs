//! TLS handshakes that failed: they never become requests, and are on record all the same.

use std::sync::Arc;
use std::time::SystemTime;

use super::wire::Handshake;
use super::{AccessLog, Gathered};
use crate::pipeline::agent::Origin;
use crate::pipeline::audit::{DecisionRecord, Record, Verdict};
use crate::pipeline::message::{Fields, Host};
use crate::pipeline::policy::Reason;
use crate::pipeline::session::Session;
use crate::pipeline::untold::Words;
use crate::reconcile::unnamed;

/// What of BoringSSL's words goes on record, in bytes.
const LONGEST: usize = 200;

/// Why a handshake failed, as far as an operator can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The agent does not trust attaché's CA.
    CaNotTrusted,
    /// attaché gave no certificate for the name.
    NoCertificate,
    /// The two have no version or cipher in common, or what came was no TLS.
    Protocol,
    /// The agent went away before its first request.
    Closed,
    /// Something else.
    Other,
}

impl Failure {
    /// By what BoringSSL calls it.
    fn of(text: &str) -> Self {
        let text = text.to_ascii_uppercase();
        let has = |names: &[&str]| names.iter().any(|name| text.contains(name));
        // OpenSSL's clients send their alert in the clear where TLS 1.3 wants it encrypted.
        let in_the_clear = ["DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "BAD_PACKET_LENGTH"];
        if has(&["UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "DECRYPT_ERROR"])
            || has(&in_the_clear)
        {
            Self::CaNotTrusted
        } else if has(&["CONNECTION_REJECTED"]) {
            Self::NoCertificate
        } else if has(&["CLOSE", "RESET", "EOF", "TIMEOUT", "USER_CANCELLED"]) {
            Self::Closed
        } else if has(&["PROTOCOL", "VERSION", "CIPHER", "HTTP_REQUEST", "MESSAGE", "RECORD", "DECODE", "ALERT"]) {
            Self::Protocol
        } else {
            Self::Other
        }
    }

    /// As the metric and the record write it.
    fn as_str(self) -> &'static str {
        match self {
            Self::CaNotTrusted => "ca_not_trusted",
            Self::NoCertificate => "no_certificate",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }
}

impl AccessLog {
    /// Puts a failed handshake on record.
    pub(super) fn refuse(&self, handshake: &Handshake<'_>, gathered: &mut Gathered<'_>) {
        // A connection that ends badly has a failure too.
        if handshake.received > 0 {
            return;
        }
        tracing::debug!(failure = handshake.failure, "a TLS handshake has failed");
        let live = self.live.load();
        let rules = &live.rules;
        let failure = Failure::of(handshake.failure);
        self.telemetry.handshake_failed(failure.as_str());
        let now = SystemTime::now();
        let session = handshake.session.and_then(Session::decode);
        let downstream = handshake.downstream.map(|address| address.to_string());
        let origin = Origin {
            session: session.as_ref(),
            peer: session.as_ref().and_then(|session| session.peer.as_ref()),
            source: session.as_ref().map(|session| &*session.source).or(downstream.as_deref()),
            now,
            guessed: None,
        };
        let caller = rules.agents.identify_fields(&Fields::default(), false, &origin).ok().flatten();
        let source = session.as_ref().map(|session| session.source.clone());
        // Inside a tunnel it is Envoy's own.
        let destination = handshake.destination.filter(|_| session.is_none());
        let host = match (handshake.server_name, &session) {
            ("", Some(session)) => session.authority.host.to_string(),
            (name, _) => name.to_owned(),
        };
        let reason = match failure {
            Failure::NoCertificate if !host.is_empty() && Host::parse(&host).is_err() => "sni_invalid",
            Failure::NoCertificate => Reason::CertificateRefused.as_str(),
            _ => Reason::HandshakeFailed.as_str(),
        };
        let words = handshake.failure.chars().take(LONGEST).collect::<String>();
        let id: Arc<str> = unnamed(handshake.start_time).into();
        gathered.urgent = true;
        let mut record = DecisionRecord {
            agent: caller.as_ref().map(|caller| rules.agents.name(caller.agent).clone()),
            identity: caller.as_ref().map(|caller| caller.how.as_str().into()),
            destination: destination.map(|address| address.to_string().into()),
            source: source.or_else(|| downstream.map(Into::into)),
            method: "TLS".into(),
            scheme: Some("https".into()),
            host: host.into(),
            port: session.as_ref().and_then(|session| session.authority.port),
            reason: Some(reason.into()),
            detail: Some(format!("{}: {words}", failure.as_str()).into()),
            ..DecisionRecord::new(id, now, Verdict::Deny, rules.revision.clone())
        };
        let agent = caller.map(|caller| caller.agent).or(rules.agents.fixed());
        Words::from(&mut record).leave_out(|text| rules.finds(agent, text));
        gathered.records.push(Record::Decision(Box::new(record)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_known_by_its_words() {
        for (words, expected) in [
            (
                "TLS_error:|268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA:TLS_error_end",
                "ca_not_trusted",
            ),
            (
                "TLS_error:|268436498:SSL routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_UNKNOWN:TLS_error_end",
                "ca_not_trusted",
            ),
            (
                "TLS_error:|268435568:SSL routines:OPENSSL_internal:BAD_PACKET_LENGTH|268435595:SSL \
                 routines:OPENSSL_internal:DECRYPTION_FAILED_OR_BAD_RECORD_MAC:TLS_error_end",
                "ca_not_trusted",
            ),
            ("TLS_error:|268435696:SSL routines:OPENSSL_internal:UNSUPPORTED_PROTOCOL:TLS_error_end", "protocol"),
            ("TLS_error:|268435610:SSL routines:OPENSSL_internal:NO_SHARED_CIPHER:TLS_error_end", "protocol"),
            ("TLS_error:|268435589:SSL routines:OPENSSL_internal:CONNECTION_REJECTED:TLS_error_end", "no_certificate"),
            ("TLS_error|error:10000096:SSL routines:OPENSSL_internal:EXCESSIVE_MESSAGE_SIZE:TLS_error_end", "protocol"),
            ("TLS_error:|33554536:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end", "closed"),
            ("", "other"),
            ("something new", "other"),
        ] {
            assert_eq!(Failure::of(words).as_str(), expected, "{words}");
        }
    }
}
