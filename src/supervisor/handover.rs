//! What a supervisor tells the service it starts, over the service's standard input.
//!
//! The CA's key and the secrets' variables travel here and nowhere else: not on disk, not in the service's own
//! environment, which is readable for a moment at each start. Each message is one line of JSON.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use zeroize::{Zeroize, Zeroizing};

use crate::secrets::Environment;

/// A message.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Message {
    /// The first: what the service starts with.
    Start {
        /// The CA certificate, PEM.
        ca_certificate: String,
        /// Its key, PEM.
        ca_key: String,
        /// The supervisor's variables: names, and values in base64.
        environment: Vec<(String, String)>,
    },
    /// The process that Envoy runs as from now on.
    Envoy {
        /// Its id; none while it is down.
        pid: Option<i32>,
    },
}

impl Message {
    /// The first message.
    pub fn start(ca_certificate: &str, ca_key: &str, environment: &Environment) -> Self {
        let variables = environment.iter().map(|(name, value)| (name.to_owned(), STANDARD.encode(value)));
        Self::Start { ca_certificate: ca_certificate.into(), ca_key: ca_key.into(), environment: variables.collect() }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if let Self::Start { ca_key, environment, .. } = self {
            ca_key.zeroize();
            environment.iter_mut().for_each(|(_, value)| value.zeroize());
        }
    }
}

/// Reads back the variables of a first message.
pub fn environment(encoded: &[(String, String)]) -> io::Result<Environment> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
    encoded.iter().map(|(name, value)| Ok((name.clone(), STANDARD.decode(value).map_err(invalid)?))).collect()
}

/// Sends a message.
pub async fn send(to: &mut (impl AsyncWrite + Unpin), message: &Message) -> io::Result<()> {
    let mut line = Zeroizing::new(serde_json::to_vec(message)?);
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await
}

/// Receives messages.
pub struct Receiver<R>(BufReader<R>);

impl<R: AsyncRead + Unpin> Receiver<R> {
    /// From the service's standard input.
    pub fn new(from: R) -> Self {
        Self(BufReader::new(from))
    }

    /// The next message; none once the supervisor is gone.
    pub async fn next(&mut self) -> io::Result<Option<Message>> {
        let mut line = Zeroizing::new(String::new());
        match self.0.read_line(&mut line).await? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&line)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_arrives() {
        let variables = Environment::from_iter([("A".to_owned(), vec![0xff, b'\n', 0])]);
        let mut pipe = Vec::new();
        send(&mut pipe, &Message::start("cert", "key\nlines", &variables)).await.unwrap();
        send(&mut pipe, &Message::Envoy { pid: Some(7) }).await.unwrap();
        let mut receiver = Receiver::new(pipe.as_slice());
        let Some(Message::Start { ref ca_key, environment: ref encoded, .. }) = receiver.next().await.unwrap() else {
            panic!("not the first message")
        };
        assert_eq!(ca_key, "key\nlines");
        assert_eq!(environment(encoded).unwrap().get("A"), Some(&[0xff, b'\n', 0][..]));
        assert!(matches!(receiver.next().await.unwrap(), Some(Message::Envoy { pid: Some(7) })));
        assert!(receiver.next().await.unwrap().is_none());
    }
}
