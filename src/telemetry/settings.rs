//! What the variables of OpenTelemetry's *Environment Variable Specification* say: what is exported, and where to.
//!
//! The SDK takes a wrong value for none and says nothing; here it is an error, so that nobody waits for spans that go
//! elsewhere.

use std::path::Path;
use std::time::Duration;

use http::Uri;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// What is exported, and where to.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where spans go; none: none are made.
    pub traces: Option<Collector>,
    /// Where metrics go, besides the metrics port.
    pub metrics: Option<Collector>,
    /// Where log records go.
    pub logs: Option<Collector>,
    /// Which requests are traced.
    pub sampler: Sampler,
}

/// Which requests are traced (`OTEL_TRACES_SAMPLER`). Envoy begins each trace, so it is told the share; a decision's span
/// goes with Envoy's unless this says always or never.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Sampler {
    /// Every one.
    Always,
    /// None.
    Never,
    /// Those that Envoy traces, which is this share of them, from 0 to 1.
    Share(f64),
    /// Those that Envoy traces, which is all of them.
    #[default]
    WithEnvoy,
}

impl Sampler {
    /// How many of a hundred requests Envoy is to trace; a share of more than nothing is at least one.
    pub fn percent(self) -> u8 {
        match self {
            Self::Always | Self::WithEnvoy => 100,
            Self::Never => 0,
            Self::Share(share) => (share * 100.0).ceil().clamp(0.0, 100.0) as u8,
        }
    }
}

/// A collector that speaks OTLP over gRPC.
#[derive(Clone)]
pub struct Collector {
    endpoint: Endpoint,
    headers: MetadataMap,
    timeout: Duration,
}

/// The headers may be credentials.
impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("endpoint", self.endpoint.uri()).finish_non_exhaustive()
    }
}

impl Collector {
    /// A connection that is made when it is first needed. Needs a tokio runtime.
    pub fn channel(&self) -> Channel {
        self.endpoint.connect_lazy()
    }

    /// What goes with each message, credentials among it. The SDK's exporters read it from the environment themselves.
    pub fn headers(&self) -> &MetadataMap {
        &self.headers
    }

    /// How long one message may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// Why a variable cannot be followed. Values that may hold a credential are not shown.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It says something that is not known here.
    #[error("`{variable}` is `{value}`: write {expected}")]
    Value {
        /// Which.
        variable: String,
        /// What it says.
        value: String,
        /// What it could say.
        expected: &'static str,
    },
    /// It is no address.
    #[error("`{0}` is no collector's address: write e.g. `http://127.0.0.1:4317`, and credentials into the headers")]
    Endpoint(String),
    /// It is no list of headers.
    #[error("`{0}` is no list of headers: write `name=value,name=value`, names in lower case, values percent-encoded")]
    Headers(String),
    /// A file it names cannot be used.
    #[error("`{variable}` names `{path}`: {why}")]
    File {
        /// Which.
        variable: String,
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Settings {
    /// What this process's variables say.
    pub fn of_process() -> Result<Self, SettingsError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// What variables say.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let variables = Variables(&variable);
        match variables.set("OTEL_SDK_DISABLED") {
            Some(value) if value.eq_ignore_ascii_case("true") => return Ok(Self::default()),
            Some(value) if !value.eq_ignore_ascii_case("false") => {
                return Err(unknown("OTEL_SDK_DISABLED", value, "`true` or `false`"));
            }
            _ => {}
        }
        for name in NUMBERS {
            variables.number(name)?;
        }
        Ok(Self {
            traces: variables.collector("TRACES")?,
            metrics: variables.collector("METRICS")?,
            logs: variables.collector("LOGS")?,
            sampler: variables.sampler()?,
        })
    }
}

/// The address of a collector beside this process.
const DEFAULT_ENDPOINT: &str = "http://localhost:4317";
/// How long one message may take, if nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// What the SDK reads itself.
const NUMBERS: [&str; 8] = [
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
];

fn unknown(variable: &str, value: String, expected: &'static str) -> SettingsError {
    SettingsError::Value { variable: variable.to_owned(), value, expected }
}

struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    /// A variable that is not empty: an empty one counts as none.
    fn set(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, SettingsError> {
        let Some(value) = self.set(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| unknown(name, value, "a whole number"))
    }

    /// What a signal's own variable says, or else the one for all signals, and which of the two that is.
    fn of_signal(&self, signal: &str, rest: &str) -> Option<(String, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_{rest}");
        let all = format!("OTEL_EXPORTER_OTLP_{rest}");
        [own, all].into_iter().find_map(|name| self.set(&name).map(|value| (name, value)))
    }

    /// Where a signal goes: nowhere, unless an address is given or the exporter is asked for by name.
    fn collector(&self, signal: &str) -> Result<Option<Collector>, SettingsError> {
        let (exporter, endpoint) = (format!("OTEL_{signal}_EXPORTER"), self.of_signal(signal, "ENDPOINT"));
        let mut wanted = endpoint.is_some();
        if let Some(value) = self.set(&exporter) {
            wanted = false;
            for name in value.split(',').map(str::trim) {
                match name {
                    "otlp" => wanted = true,
                    "none" => {}
                    // That is what the metrics port is for.
                    "prometheus" if signal == "METRICS" => {}
                    _ => return Err(unknown(&exporter, value.clone(), "`otlp` or `none`")),
                }
            }
        }
        if !wanted {
            return Ok(None);
        }
        match self.of_signal(signal, "PROTOCOL") {
            Some((name, value)) if value != "grpc" => {
                return Err(unknown(&name, value, "`grpc`, which is all that this version of attache speaks"));
            }
            _ => {}
        }
        match self.of_signal(signal, "COMPRESSION") {
            Some((name, value)) if value != "none" => {
                return Err(unknown(&name, value, "`none`: this version of attache sends everything as it is"));
            }
            _ => {}
        }
        let (name, address) = endpoint.unwrap_or_else(|| ("the default".to_owned(), DEFAULT_ENDPOINT.to_owned()));
        let address: Uri = address.parse().map_err(|_| SettingsError::Endpoint(name.clone()))?;
        let is_tls = address.scheme_str() == Some("https");
        let has_credentials = address.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !matches!(address.scheme_str(), Some("http" | "https")) || has_credentials {
            return Err(SettingsError::Endpoint(name));
        }
        let timeout = self.timeout(signal)?;
        let mut endpoint = Endpoint::from(address).timeout(timeout).connect_timeout(CONNECT.min(timeout));
        if is_tls {
            endpoint = endpoint.tls_config(self.tls(signal)?).map_err(|_| SettingsError::Endpoint(name))?;
        }
        Ok(Some(Collector { endpoint, headers: self.headers(signal)?, timeout }))
    }

    fn timeout(&self, signal: &str) -> Result<Duration, SettingsError> {
        let Some((name, value)) = self.of_signal(signal, "TIMEOUT") else { return Ok(TIMEOUT) };
        match value.parse() {
            Ok(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
            _ => Err(unknown(&name, value, "how long a message may take, in milliseconds")),
        }
    }

    fn headers(&self, signal: &str) -> Result<MetadataMap, SettingsError> {
        let mut headers = MetadataMap::new();
        let Some((name, list)) = self.of_signal(signal, "HEADERS") else { return Ok(headers) };
        for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = header(pair).ok_or_else(|| SettingsError::Headers(name.clone()))?;
            headers.append(key, value);
        }
        Ok(headers)
    }

    fn tls(&self, signal: &str) -> Result<ClientTlsConfig, SettingsError> {
        let file = |rest| self.of_signal(signal, rest).map(|(name, path)| read(name, Path::new(&path))).transpose();
        let mut tls = match file("CERTIFICATE")? {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        match (file("CLIENT_CERTIFICATE")?, file("CLIENT_KEY")?) {
            (Some(certificate), Some(key)) => tls = tls.identity(Identity::from_pem(certificate, key)),
            (None, None) => {}
            _ => {
                let variable = format!("OTEL_EXPORTER_OTLP_{signal}_CLIENT_CERTIFICATE");
                let why = "a client's certificate and its key (`…_CLIENT_KEY`) go together".to_owned();
                return Err(SettingsError::File { variable, path: String::new(), why });
            }
        }
        Ok(tls)
    }

    fn sampler(&self) -> Result<Sampler, SettingsError> {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        let Some(sampler) = self.set(NAME) else { return Ok(Sampler::default()) };
        match sampler.as_str() {
            "always_on" => Ok(Sampler::Always),
            "always_off" | "parentbased_always_off" => Ok(Sampler::Never),
            "parentbased_always_on" => Ok(Sampler::WithEnvoy),
            "traceidratio" | "parentbased_traceidratio" => {
                const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
                let Some(value) = self.set(ARGUMENT) else { return Ok(Sampler::WithEnvoy) };
                match value.parse::<f64>() {
                    Ok(share) if (0.0..=1.0).contains(&share) => Ok(Sampler::Share(share)),
                    _ => Err(unknown(ARGUMENT, value, "a share from 0 to 1, e.g. `0.1`")),
                }
            }
            _ => Err(unknown(
                NAME,
                sampler,
                "`always_on`, `always_off` or `traceidratio`, or one of these with `parentbased_` before it",
            )),
        }
    }
}

/// `name=value`, both percent-encoded as in W3C Baggage.
fn header(pair: &str) -> Option<(AsciiMetadataKey, AsciiMetadataValue)> {
    let (name, value) = pair.split_once('=')?;
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.trim().as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                decoded.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = after;
            }
            byte => decoded.push(*byte),
        }
    }
    Some((name.trim().parse().ok()?, AsciiMetadataValue::try_from(decoded).ok()?))
}

fn read(variable: String, path: &Path) -> Result<Vec<u8>, SettingsError> {
    std::fs::read(path).map_err(|error| SettingsError::File {
        variable,
        path: path.display().to_string(),
        why: format!("it cannot be read: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let value = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Settings::read(value).map_err(|error| error.to_string())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");

    #[test]
    fn what_is_exported_is_what_is_asked_for() {
        for (variables, traces, metrics, logs) in [
            (&[][..], false, false, false),
            (&[ENDPOINT], true, true, true),
            (&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")], false, false, false),
            (&[ENDPOINT, ("OTEL_SDK_DISABLED", "false")], true, true, true),
            (&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")], false, true, true),
            (&[ENDPOINT, ("OTEL_METRICS_EXPORTER", "prometheus")], true, false, true),
            (&[ENDPOINT, ("OTEL_METRICS_EXPORTER", "otlp,prometheus")], true, true, true),
            (&[("OTEL_LOGS_EXPORTER", "otlp")], false, false, true),
            (&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://c.example")], false, true, false),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], false, false, false),
            // What is not exported need not be right.
            (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], false, false, false),
        ] {
            let found = settings(variables).unwrap();
            let found = (found.traces.is_some(), found.metrics.is_some(), found.logs.is_some());
            assert_eq!(found, (traces, metrics, logs), "{variables:?}");
        }
    }

    #[test]
    fn a_signals_own_variable_goes_before_the_common_one() {
        let found = settings(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces.example:1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20all"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", " x-key = a=b , authorization=Bearer%20traces"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "50"),
        ])
        .unwrap();
        let (traces, metrics) = (found.traces.unwrap(), found.metrics.unwrap());
        assert_eq!(traces.endpoint.uri(), "http://traces.example:1/");
        assert_eq!(traces.headers().get("x-key").unwrap(), "a=b");
        assert_eq!(traces.headers().get("authorization").unwrap(), "Bearer traces");
        assert_eq!(metrics.headers().get("authorization").unwrap(), "Bearer all");
        assert_eq!((traces.timeout(), metrics.timeout()), (Duration::from_secs(2), Duration::from_millis(50)));
        assert!(!format!("{traces:?}").contains("Bearer"), "{traces:?}");
    }

    #[test]
    fn a_wrong_value_is_said_and_no_credential_with_it() {
        for (variable, value, said) in [
            ("OTEL_SDK_DISABLED", "yes", "`OTEL_SDK_DISABLED` is `yes`: write `true` or `false`"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "`OTEL_TRACES_EXPORTER` is `zipkin`: write `otlp` or `none`"),
            ("OTEL_TRACES_EXPORTER", "prometheus", "write `otlp` or `none`"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "`http/protobuf`: write `grpc`"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json", "`OTEL_EXPORTER_OTLP_LOGS_PROTOCOL` is"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "write `none`"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "in milliseconds"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "in milliseconds"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "`OTEL_BSP_MAX_QUEUE_SIZE` is `many`: write a whole number"),
            ("OTEL_TRACES_SAMPLER", "xray", "`OTEL_TRACES_SAMPLER` is `xray`"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "no collector's address"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:hunter2@c.example", "no collector's address"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:///hunter2", "no collector's address"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2", "no list of headers"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%zz", "no list of headers"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2", "no list of headers"),
        ] {
            let variables = [(variable, value), ENDPOINT];
            let error = settings(&variables).expect_err(variable);
            assert!(error.contains(said), "{variable}={value}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let tls = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.example"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
        ];
        assert!(settings(&tls).unwrap_err().contains("`/nowhere/ca.pem`: it cannot be read"));
        let alone = [tls[0], ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/dev/null")];
        assert!(settings(&alone).unwrap_err().contains("go together"));
    }

    #[test]
    fn envoy_traces_the_share_that_is_asked_for() {
        for (sampler, argument, percent) in [
            ("always_on", "", 100),
            ("always_off", "", 0),
            ("parentbased_always_off", "0.5", 0),
            ("parentbased_always_on", "", 100),
            ("traceidratio", "0.25", 25),
            ("parentbased_traceidratio", "0.001", 1),
            ("parentbased_traceidratio", "0", 0),
            ("traceidratio", "", 100),
            ("", "0.5", 100),
        ] {
            let found = settings(&[("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)]).unwrap();
            assert_eq!(found.sampler.percent(), percent, "{sampler} {argument}");
        }
        for argument in ["-1", "1.5", "NaN", "half"] {
            let variables = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", argument)];
            assert!(settings(&variables).unwrap_err().contains("from 0 to 1"), "{argument}");
        }
    }
}
