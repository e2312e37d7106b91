//! The bootstrap that Envoy starts from, with this installation's addresses in it.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The committed `envoy/envoy.yaml`: complete, and what [`Bootstrap::default`] renders to.
pub const SHIPPED: &str = include_str!("../../envoy/envoy.yaml");

/// The listener for redirected traffic, which goes into it where there is any.
const TRANSPARENT_LISTENER: &str = include_str!("../../envoy/transparent.yaml");

/// The longest path a Unix socket can have, in bytes, its final NUL not counted (`sun_path`).
const MAX_SOCKET_PATH: usize = 107;

/// The values of `envoy/envoy.yaml` that differ between installations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// Where agents reach the proxy.
    pub listen: SocketAddr,
    /// The Unix socket attaché's gRPC services listen on.
    pub service_socket: PathBuf,
    /// The Unix socket of Envoy's admin interface.
    pub admin_socket: PathBuf,
    /// The file Envoy writes its access log to, for attaché to hold against its own record.
    pub access_log: PathBuf,
    /// The PEM bundle of CAs that upstream certificates have to come from.
    pub upstream_ca: PathBuf,
    /// The mode of that socket. Where attaché runs as another user than Envoy: 0660, and one group for both.
    pub admin_mode: u32,
    /// How much memory Envoy may take for what agents make it keep, in bytes.
    pub max_heap: u64,
    /// Where a firewall redirects agents' connections to; none where agents speak to the proxy.
    pub transparent: Vec<SocketAddr>,
    /// TLS between agents and the proxy; without it they speak plain HTTP to it, which is for one machine or pod.
    pub proxy_tls: Option<ProxyTls>,
}

/// How the proxy listener speaks TLS. The files are PEM, and read by Envoy when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyTls {
    /// The listener's certificate, with its chain.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// CAs that agents' certificates have to come from; every agent then needs one (mTLS).
    pub client_ca: Option<PathBuf>,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap {
            listen: SocketAddr::from(([127, 0, 0, 1], 10080)),
            service_socket: "/run/attache/service.sock".into(),
            admin_socket: "/run/attache/admin.sock".into(),
            access_log: "/run/attache/envoy-access.jsonl".into(),
            upstream_ca: "/etc/ssl/certs/ca-certificates.crt".into(),
            admin_mode: 0o600,
            max_heap: 1 << 30,
            transparent: Vec::new(),
            proxy_tls: None,
        }
    }
}

impl Bootstrap {
    /// The bootstrap as YAML, comments included.
    ///
    /// # Errors
    /// When a path is not UTF-8, or a socket's path is longer than the kernel takes.
    pub fn render(&self) -> Result<String, RenderError> {
        let mut values = vec![
            (LISTEN, listen_address(self.listen)),
            (SERVICE_SOCKET, quoted_socket(&self.service_socket)?),
            (ADMIN_SOCKET, quoted_socket(&self.admin_socket)?),
            (ACCESS_LOG, quoted(&self.access_log)?),
            (UPSTREAM_CA, quoted(&self.upstream_ca)?),
        ];
        if self.admin_mode != Bootstrap::default().admin_mode {
            values.push((ADMIN_MODE, format!("mode: {}}} # {:04o}", self.admin_mode, self.admin_mode)));
        }
        if self.max_heap != Bootstrap::default().max_heap {
            values.push((MAX_HEAP, format!("max_heap_size_bytes: {}\n", self.max_heap)));
        }
        if let Some(listener) = transparent_listener(&self.transparent) {
            values.push((TRANSPARENT, listener));
        }
        if let Some(tls) = &self.proxy_tls {
            values.push((PROXY_CHAIN, tls.chain()?));
            if tls.client_ca.is_some() {
                values.push((PROXY_FILTERS, PEER_FILTER.to_owned()));
                values.push((PROXY_ATTRIBUTES, PEER_ATTRIBUTES.to_owned()));
            }
        }
        // All places are found in the template itself, so that no value is taken for another's place.
        let mut places: Vec<(Range<usize>, String)> = values
            .into_iter()
            .flat_map(|(marker, value)| {
                SHIPPED.match_indices(marker).map(move |(at, _)| (at..at + marker.len(), value.clone()))
            })
            .collect();
        places.sort_by_key(|(place, _)| place.start);

        let mut yaml = String::with_capacity(SHIPPED.len() + 256);
        let mut copied = 0;
        for (place, value) in places {
            yaml.push_str(SHIPPED.get(copied..place.start).unwrap_or_default());
            yaml.push_str(&value);
            copied = place.end;
        }
        yaml.push_str(SHIPPED.get(copied..).unwrap_or_default());
        Ok(yaml)
    }
}

impl ProxyTls {
    /// The beginning of the proxy listener's filter chain.
    fn chain(&self) -> Result<String, RenderError> {
        let (certificate, key) = (quoted(&self.certificate)?, quoted(&self.key)?);
        // A resumed session would not be asked for its certificate again.
        let mut chain = format!(
            r#"    - transport_socket_connect_timeout: 10s
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          disable_stateless_session_resumption: true
          disable_stateful_session_resumption: true
          common_tls_context:
            tls_params: {{tls_minimum_protocol_version: TLSv1_2}}
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {{filename: {certificate}}}
              private_key: {{filename: {key}}}
"#
        );
        if let Some(ca) = &self.client_ca {
            let ca = quoted(ca)?;
            chain.push_str(&format!(
                "            validation_context:
              trusted_ca: {{filename: {ca}}}
          # Who shows no certificate, or one of another CA or time, does not get as far as a request.
          require_client_certificate: true
"
            ));
        }
        Ok(chain + "      filters:\n")
    }
}

/// Why a bootstrap cannot be rendered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RenderError {
    /// YAML is text, and so is every path in it.
    #[error("the path `{0}` is not valid UTF-8: choose another one")]
    NotUtf8(String),
    /// The kernel's limit, which Envoy would report less clearly.
    #[error(
        "the socket path `{path}` is {length} bytes long and the kernel takes at most {MAX_SOCKET_PATH}: choose a shorter directory"
    )]
    SocketPathTooLong {
        /// The path as given.
        path: String,
        /// Its length in bytes.
        length: usize,
    },
}

const LISTEN: &str = r#"{address: "127.0.0.1", port_value: 10080}"#;
const SERVICE_SOCKET: &str = r#""/run/attache/service.sock""#;
const ADMIN_SOCKET: &str = r#""/run/attache/admin.sock""#;
const ACCESS_LOG: &str = r#""/run/attache/envoy-access.jsonl""#;
const ADMIN_MODE: &str = "mode: 384} # 0600";
const MAX_HEAP: &str = "max_heap_size_bytes: 1073741824 # 1 GiB; `attache envoy render --max-heap …` for less, which has to fit a container's limit\n";
const TRANSPARENT: &str = "  # Traffic that a firewall redirects: `attache envoy render --transparent …` puts the listener `transparent` here.\n\n";
/// In [`TRANSPARENT_LISTENER`].
const TRANSPARENT_ADDRESS: &str = r#"      socket_address: {address: "127.0.0.1", port_value: 10443}
"#;
const UPSTREAM_CA: &str = r#""/etc/ssl/certs/ca-certificates.crt""#;

const PROXY_CHAIN: &str = r"    # Agents on other machines: `attache envoy render --proxy-tls-cert …` puts TLS here, `--client-ca …` asks for theirs.
    - filters:
";
const PROXY_FILTERS: &str =
    "          # With `--client-ca`, what the agent's certificate says is kept here for attaché to see.\n";
const PROXY_ATTRIBUTES: &str = "request_attributes: [request.time, source.address]";

/// Every URI of the certificate: Envoy's attribute has the first alone, and a second one must not go unnoticed.
const PEER_FILTER: &str = r#"          # What the agent's certificate says, for attaché to see: when it ends, and every URI it is for.
          - name: envoy.filters.http.set_filter_state
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config
              on_request_headers:
              - object_key: attache.peer
                factory_key: envoy.string
                format_string:
                  text_format_source: {inline_string: "%DOWNSTREAM_PEER_CERT_V_END(%s)%;%DOWNSTREAM_PEER_URI_SAN%"}
                  omit_empty_values: true
"#;
const PEER_ATTRIBUTES: &str = "request_attributes: [request.time, source.address, \"filter_state['attache.peer']\"]";

/// One listener for all these addresses.
fn transparent_listener(addresses: &[SocketAddr]) -> Option<String> {
    let (first, others) = addresses.split_first()?;
    let mut address = format!("      socket_address: {}\n", listen_address(*first));
    if !others.is_empty() {
        address.push_str("    additional_addresses:\n");
    }
    for other in others {
        address.push_str(&format!("    - address: {{socket_address: {}}}\n", listen_address(*other)));
    }
    Some(TRANSPARENT_LISTENER.replacen(TRANSPARENT_ADDRESS, &address, 1))
}

fn listen_address(listen: SocketAddr) -> String {
    format!(r#"{{address: "{}", port_value: {}}}"#, listen.ip(), listen.port())
}

fn quoted_socket(path: &Path) -> Result<String, RenderError> {
    let length = path.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        return Err(RenderError::SocketPathTooLong { path: path.display().to_string(), length });
    }
    quoted(path)
}

/// A double-quoted YAML scalar: a JSON string is one.
fn quoted(path: &Path) -> Result<String, RenderError> {
    let text = path.to_str().ok_or_else(|| RenderError::NotUtf8(path.display().to_string()))?;
    Ok(serde_json::Value::from(text).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_marker_has_its_one_place() {
        for marker in [
            LISTEN,
            SERVICE_SOCKET,
            ADMIN_SOCKET,
            ACCESS_LOG,
            UPSTREAM_CA,
            ADMIN_MODE,
            TRANSPARENT,
            PROXY_CHAIN,
            PROXY_FILTERS,
            PROXY_ATTRIBUTES,
        ] {
            assert_eq!(SHIPPED.matches(marker).count(), 1, "{marker}");
        }
        assert_eq!(TRANSPARENT_LISTENER.matches(TRANSPARENT_ADDRESS).count(), 1);
    }

    #[test]
    fn the_default_renders_to_the_committed_file() {
        assert_eq!(Bootstrap::default().render().unwrap(), SHIPPED);
    }

    #[test]
    fn values_arrive_as_they_are_whatever_yaml_thinks_of_them() {
        let bootstrap = Bootstrap {
            listen: "[::1]:8080".parse().unwrap(),
            // The value of one place looks like the marker of another.
            service_socket: r#"/tmp/a "/run/attache/admin.sock" b"#.into(),
            admin_socket: "/tmp/it's # {not}: a\\comment\t.sock".into(),
            access_log: "/tmp/l: #o'g\".jsonl".into(),
            upstream_ca: "/tmp/é ü/ca.pem".into(),
            admin_mode: 0o660,
            max_heap: 200 << 20,
            transparent: vec!["127.0.0.1:15001".parse().unwrap(), "[::1]:15001".parse().unwrap()],
            proxy_tls: Some(ProxyTls {
                certificate: "/tmp/c: {e}\"r\"t.pem".into(),
                key: "/tmp/k # ey.pem".into(),
                client_ca: Some("/tmp/'ca.pem".into()),
            }),
        };
        let yaml: serde_json::Value = serde_yaml::from_str(&bootstrap.render().unwrap()).expect("still YAML");
        let at = |pointer: &str| yaml.pointer(pointer).expect(pointer).clone();
        assert_eq!(
            at("/static_resources/listeners/0/address/socket_address"),
            serde_json::json!({"address": "::1", "port_value": 8080}),
        );
        assert_eq!(at("/admin/address/pipe/path"), bootstrap.admin_socket.to_str().unwrap());
        assert_eq!(at("/admin/address/pipe/mode"), 0o660);
        let heap = "/overload_manager/resource_monitors/0/typed_config/max_heap_size_bytes";
        assert_eq!(at(heap), bootstrap.max_heap);
        let redirected = "/static_resources/listeners/2";
        assert_eq!(at(&format!("{redirected}/address/socket_address/port_value")), 15001);
        assert_eq!(at(&format!("{redirected}/additional_addresses/0/address/socket_address/address")), "::1");
        assert_eq!(
            at("/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/pipe/path"),
            bootstrap.service_socket.to_str().unwrap()
        );
        assert_eq!(
            at(
                "/static_resources/clusters/2/transport_socket/typed_config/common_tls_context/validation_context/trusted_ca/filename"
            ),
            bootstrap.upstream_ca.to_str().unwrap()
        );
        for log in
            ["0/filter_chains/0", "1/filter_chains/0", "1/filter_chains/1", "2/filter_chains/0", "2/filter_chains/1"]
        {
            for entry in [1, 2] {
                let path = format!(
                    "/static_resources/listeners/{log}/filters/0/typed_config/access_log/{entry}/typed_config/path"
                );
                assert_eq!(at(&path), bootstrap.access_log.to_str().unwrap());
            }
        }
        let tls = "/static_resources/listeners/0/filter_chains/0/transport_socket/typed_config";
        for (field, value) in [
            ("common_tls_context/tls_certificates/0/certificate_chain/filename", "/tmp/c: {e}\"r\"t.pem"),
            ("common_tls_context/tls_certificates/0/private_key/filename", "/tmp/k # ey.pem"),
            ("common_tls_context/validation_context/trusted_ca/filename", "/tmp/'ca.pem"),
        ] {
            assert_eq!(at(&format!("{tls}/{field}")), value);
        }
        assert_eq!(at(&format!("{tls}/require_client_certificate")), true);
    }

    #[test]
    fn paths_that_cannot_be_are_refused() {
        use std::os::unix::ffi::OsStrExt;
        let not_utf8 =
            Bootstrap { upstream_ca: std::ffi::OsStr::from_bytes(b"/tmp/\xff").into(), ..Bootstrap::default() };
        assert!(matches!(not_utf8.render(), Err(RenderError::NotUtf8(_))));
        let too_long =
            Bootstrap { service_socket: format!("/{}", "x".repeat(MAX_SOCKET_PATH)).into(), ..Bootstrap::default() };
        assert!(matches!(too_long.render(), Err(RenderError::SocketPathTooLong { length: 108, .. })));
    }
}
