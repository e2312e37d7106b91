//! What a hostile agent sends to break out, to be somebody else, or to take the proxy away from others.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio_rustls::rustls::ClientConnection;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::support::{Attache, Ca, Upstream, ca, tunnel};

/// Bytes that are no text cannot be named in an answer to Envoy; they must not cost others theirs.
#[tokio::test]
async fn a_server_name_that_is_no_text_takes_nothing_from_the_names_of_others() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up("allowedDomains: [api.example.com]").resolve("api.example.com", &upstream).start().await;
    let mut stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[]).await.unwrap();
    stream.write_all(&client_hello(b"\xff\xfe.example.com")).await.unwrap();
    attache.wait_log(|record| record["reason"] == "sni_invalid").await;

    // Nobody has asked for this name yet.
    let answer = attache.curl(["https://api.example.com/"]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A TLS handshake's first message that names these bytes.
fn client_hello(name: &[u8]) -> Vec<u8> {
    let stand_in = "x".repeat(name.len() - 8) + ".invalid";
    let server = ServerName::try_from(stand_in.clone()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(ca::client(Ca::shared().pem(), &[])), server).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    let at = hello.windows(name.len()).position(|bytes| bytes == stand_in.as_bytes()).unwrap();
    hello[at..at + name.len()].copy_from_slice(name);
    hello
}
