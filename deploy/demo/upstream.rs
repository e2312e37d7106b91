//! Stands in for `https://api.example.com` in the demo, so that it needs no internet: a TLS server with a CA of
//! its own, which answers callers that hold the right key.
//!
//! `demo_upstream DIR` writes `ca.pem` and then `port` into DIR, and serves until it is ended.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What the API's callers must send, and the demo's agent never sees.
const KEY: &str = "Bearer demo-key-that-only-attache-holds";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: demo_upstream DIR")?);
    let (ca, tls) = certificate("api.example.com")?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    std::fs::write(folder.join("ca.pem"), ca)?;
    // The port last, by one rename: whoever sees it finds everything ready.
    std::fs::write(folder.join("port.new"), listener.local_addr()?.port().to_string())?;
    std::fs::rename(folder.join("port.new"), folder.join("port"))?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let server = auto::Builder::new(TokioExecutor::new());
            // A caller that hangs up is its own affair.
            let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<hyper::body::Incoming>) -> Result<Response<String>, Infallible> {
    let authorized = request.headers().get("authorization").is_some_and(|value| value == KEY);
    println!("upstream: {} {} with the API's key: {authorized}", request.method(), request.uri().path());
    let mut response = Response::new(format!(r#"{{"authorized": {authorized}, "name": "demo"}}"#));
    if !authorized {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    Ok(response)
}

/// A CA, and a server with a certificate from it.
fn certificate(name: &str) -> Result<(String, ServerConfig), Box<dyn std::error::Error>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "attache demo upstream CA");
    let ca_key = KeyPair::generate()?;
    let ca = params.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &issuer)?;
    let private = PrivateKeyDer::try_from(key.serialize_der())?;
    let mut tls = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], private)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((ca, tls))
}
