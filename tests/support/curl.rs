//! The real curl, and what it got.

use std::ffi::OsStr;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::process::Command;

use super::{PROXY_VARIABLES, within};

/// What curl reports of one request.
#[derive(Debug)]
pub struct Answer {
    /// curl's exit code, 0 for an exchange whose answer came whole, whatever its status.
    pub exit: i32,
    /// The status of the final answer; 0 if there was none.
    pub status: u16,
    /// The proxy's answer to CONNECT; 0 if curl sent none.
    pub connect_status: u16,
    /// `1.1`, `2`, or `0` if there was no answer.
    pub version: String,
    /// The head of the last answer, which is the proxy's where CONNECT was refused.
    pub headers: HeaderMap,
    /// Empty where CONNECT was refused: curl does not show that body, `tunnel::connect` does.
    pub body: Vec<u8>,
    /// What curl said about a failure.
    pub error: String,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; a failed test where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Runs curl with these arguments: proxy, trust and URL are up to them. `~/.curlrc` and the
/// environment's proxies do not count.
pub async fn curl<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Answer {
    let scratch = tempfile::tempdir().unwrap();
    let (heads, body) = (scratch.path().join("heads"), scratch.path().join("body"));
    let mut command = Command::new("curl");
    command
        .args(["--disable", "--silent", "--show-error", "--max-time", "25"])
        .args(["--write-out", "%{http_code} %{http_connect} %{http_version}"])
        .arg("--dump-header")
        .arg(&heads)
        .arg("--output")
        .arg(&body)
        .args(arguments)
        .kill_on_drop(true);
    for variable in PROXY_VARIABLES {
        command.env_remove(variable);
    }
    let output = within("curl", command.output()).await.expect("curl must be installed");
    let report = String::from_utf8(output.stdout).unwrap();
    let mut report = report.split(' ');
    let mut next = || report.next().unwrap_or_default().to_owned();
    Answer {
        exit: output.status.code().expect("curl was killed"),
        status: next().parse().unwrap_or(0),
        connect_status: next().parse().unwrap_or(0),
        version: next(),
        headers: last_head(&std::fs::read(heads).unwrap_or_default()),
        body: std::fs::read(body).unwrap_or_default(),
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// curl writes one head after another: an interim answer, the proxy's, the upstream's.
fn last_head(heads: &[u8]) -> HeaderMap {
    let text = String::from_utf8_lossy(heads);
    let last = text.split("\r\n\r\n").filter(|head| head.starts_with("HTTP/")).last();
    let mut headers = HeaderMap::new();
    for (name, value) in last.unwrap_or_default().lines().filter_map(|line| line.split_once(':')) {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{Upstream, free_address};

    #[tokio::test]
    async fn reports_status_headers_body_and_failure() {
        let upstream = Upstream::http().await;
        let origin = format!("http://{}", upstream.address());
        let ok = curl([format!("{origin}/alt-svc")]).await;
        assert_eq!((ok.exit, ok.status, ok.connect_status, &*ok.version), (0, 200, 0, "1.1"));
        assert_eq!(ok.header("alt-svc"), Some("h3=\":443\"; ma=86400"));
        assert_eq!(ok.json()["path"], "/alt-svc");

        let broken = curl([format!("{origin}/reset-midway")]).await;
        assert_ne!(broken.exit, 0, "{broken:?}");
        assert_eq!(broken.text(), "begun");

        let nobody = curl([format!("http://{}/", free_address())]).await;
        assert_eq!((nobody.exit, nobody.status), (7, 0), "{nobody:?}");
        assert!(nobody.error.contains("connect"), "{nobody:?}");
    }

    #[tokio::test]
    async fn each_behaviour_of_the_upstream() {
        let upstream = Upstream::http().await;
        let ask = async |options: &[&str], path: &str| {
            let url = format!("http://{}{path}", upstream.address());
            curl(options.iter().copied().chain([url.as_str()])).await
        };
        assert_eq!(ask(&[], "/status/503").await.status, 503);
        assert_eq!(ask(&["--data", "x"], "/early/401").await.status, 401);
        assert_eq!(ask(&[], "/delay/1").await.json()["path"], "/delay/1");
        assert_eq!(ask(&[], "/big/100000").await.body.len(), 100_000);
        let chunked = ask(&[], "/chunked/3").await;
        assert_eq!(chunked.text(), "part 0\npart 1\npart 2\n");
        assert_eq!(chunked.header("transfer-encoding"), Some("chunked"));
        let events = ask(&[], "/sse/2").await;
        assert_eq!(events.header("content-type"), Some("text/event-stream"));
        assert_eq!(events.text(), "id: 0\ndata: event 0\n\nid: 1\ndata: event 1\n\n");
        let open = ask(&["--max-time", "0.5"], "/sse-open").await;
        assert_eq!((open.exit, open.text().as_str()), (28, "id: 0\ndata: event 0\n\n"));
        let zipped = ask(&["--compressed"], "/gzip").await;
        assert_eq!(zipped.header("content-encoding"), Some("gzip"));
        assert_eq!(zipped.json()["path"], "/gzip");
        assert_eq!(ask(&[], "/reset").await.exit, 52);
        assert_eq!(ask(&["--http2-prior-knowledge"], "/reset").await.exit, 92);
        assert_eq!(ask(&["--max-time", "0.3"], "/hang").await.exit, 28);
        let seen = upstream.requests();
        assert_eq!(seen.last().unwrap().path, "/hang");
    }
}
