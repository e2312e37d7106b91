//! The small HTTP port for scrapers and probes: `/metrics`, `/metrics/envoy`, `/livez`, `/readyz`, `/readyz/envoy`.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::{Ask, EnvoyAdmin, Telemetry};

/// How many connections are served at once: whoever can reach the port must not be able to fill the process.
const MAX_CONNECTIONS: usize = 64;

/// What the port shows.
#[derive(Clone)]
pub struct Port {
    /// Attaché's own metrics.
    pub telemetry: Telemetry,
    /// Whether requests can be decided.
    pub ready: Ask<bool>,
    /// Where Envoy's statistics are.
    pub envoy: EnvoyAdmin,
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, port: Port) {
    let places = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the metrics port cannot accept");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let port = port.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let port = &port;
                async move { Ok::<_, Infallible>(answer(&request, port).await) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service);
            // A scraper that hangs up is its own affair.
            let _ = served.await;
            drop(place);
        });
    }
}

async fn answer(request: &Request<Incoming>, port: &Port) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
    let (status, content_type, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, METRICS, port.telemetry.exposition()),
        (&Method::GET, "/metrics/envoy") => match port.envoy.statistics().await {
            Ok(statistics) => (StatusCode::OK, METRICS, statistics),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{error}\n")),
        },
        (&Method::GET, "/livez") => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        (&Method::GET, "/readyz") if (port.ready)() => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        (&Method::GET, "/readyz") => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n".to_owned()),
        // For the startup probe of an Envoy whose admin interface only attaché can reach.
        (&Method::GET, "/readyz/envoy") => match port.envoy.ready().await {
            Ok(()) => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{error}\n")),
        },
        _ => {
            let there_is = "there are /metrics, /metrics/envoy, /livez, /readyz and /readyz/envoy\n".to_owned();
            (StatusCode::NOT_FOUND, TEXT, there_is)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
