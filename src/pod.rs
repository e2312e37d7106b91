//! Which pod this is, as the kubelet tells it (the downward API): its namespace, its service account, and its labels,
//! which may change while it runs.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most bytes of labels that are read: the API server holds all annotations and labels to less.
const MOST_BYTES: u64 = 1024 * 1024;

/// Where it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSource {
    /// The namespace, which stays.
    pub namespace: Option<String>,
    /// The service account, which stays.
    pub service_account: Option<String>,
    /// The file of the downward API with the labels.
    pub labels: Option<PathBuf>,
}

impl PodSource {
    /// What is told now; `None` where nothing is: this is no pod.
    pub fn read(&self) -> Option<Pod> {
        if *self == Self::default() {
            return None;
        }
        let labels = match &self.labels {
            None => Labels::NotTold,
            Some(path) => match read(path) {
                Ok(labels) => Labels::Known(labels),
                Err(error) => Labels::Unreadable(error.to_string()),
            },
        };
        Some(Pod { namespace: self.namespace.clone(), service_account: self.service_account.clone(), labels })
    }
}

/// A pod, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its service account.
    pub service_account: Option<String>,
    /// Its labels.
    pub labels: Labels,
}

/// The labels of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    /// Nobody says where they are.
    NotTold,
    /// The file cannot be read, or is none of the downward API.
    Unreadable(String),
    /// All of them.
    Known(BTreeMap<String, String>),
}

/// `namespace `prod`, service account `coder`, labels `app=coder``, as far as it is known.
impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = |value: &Option<String>| value.as_ref().map_or("unknown".to_owned(), |value| format!("`{value}`"));
        let labels = match &self.labels {
            Labels::NotTold => "unknown".to_owned(),
            Labels::Unreadable(_) => "unreadable".to_owned(),
            Labels::Known(labels) if labels.is_empty() => "none".to_owned(),
            Labels::Known(labels) => {
                let words: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("`{}`", words.join(","))
            }
        };
        let (namespace, account) = (known(&self.namespace), known(&self.service_account));
        write!(f, "namespace {namespace}, service account {account}, labels {labels}")
    }
}

/// Why labels cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// The file cannot be read.
    #[error("the pod's labels in `{path}` cannot be read: {source}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is something else.
    #[error("line {line} of the pod's labels in `{path}` is not `key=\"value\"`", path = path.display())]
    NotLabels {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, LabelsError> {
    let unreadable = |source| LabelsError::Unreadable { path: path.to_owned(), source };
    labels(&read_text(path).map_err(unreadable)?).map_err(|line| LabelsError::NotLabels { path: path.to_owned(), line })
}

fn read_text(path: &Path) -> io::Result<String> {
    // A named pipe would hold up whoever opens it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// One label a line, as `key="value"`. What cannot be a label is none of the kubelet's, which has nothing to escape in
/// one: the number of the first such line.
pub fn labels(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut labels = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let label = line.split_once('=').and_then(|(key, rest)| {
            let value = rest.strip_prefix('"')?.strip_suffix('"')?;
            (is_label_key(key) && is_label_value(value)).then(|| (key.to_owned(), value.to_owned()))
        });
        let (key, value) = label.ok_or(index + 1)?;
        if labels.insert(key, value).is_some() {
            return Err(index + 1);
        }
    }
    Ok(labels)
}

/// Whether a label can have this key: a name, perhaps after a domain and a slash.
pub fn is_label_key(text: &str) -> bool {
    match text.rsplit_once('/') {
        Some((prefix, name)) => is_domain(prefix) && is_label_name(name),
        None => is_label_name(text),
    }
}

fn is_label_name(text: &str) -> bool {
    !text.is_empty() && is_label_value(text)
}

/// Whether a label can have this value: at most 63 characters of `A-Z a-z 0-9 - _ .`, letters or digits at both ends, or
/// nothing.
pub fn is_label_value(text: &str) -> bool {
    let of_ends = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && of_ends(bytes.first())
        && of_ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Whether a namespace can have this name (RFC 1123, a label).
pub fn is_namespace(text: &str) -> bool {
    let of_ends = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && of_ends(bytes.first())
        && of_ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

/// Whether a service account can have this name (RFC 1123, a subdomain).
pub fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_the_kubelet_writes_them_and_no_other_way() {
        let read = |text: &str| labels(text).map(|labels| labels.into_iter().collect::<Vec<_>>());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        for (text, expected) in [
            ("", Ok(vec![])),
            ("app=\"coder\"", Ok(vec![pair("app", "coder")])),
            (
                "app=\"\"\nattache.dev/mode=\"redirect\"\n",
                Ok(vec![pair("app", ""), pair("attache.dev/mode", "redirect")]),
            ),
            ("app=coder", Err(1)),
            ("a=\"b\"\n\nc=\"d\"", Err(2)),
            ("a=\"b\"\na=\"c\"", Err(2)),
            ("a=\"b\\\"c\"", Err(1)),
            ("a=\"b\"\n=\"c\"", Err(2)),
            ("a=\"b\" ", Err(1)),
            ("A..b/c=\"d\"", Err(1)),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_pod_is_what_is_told_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels");
        assert_eq!(PodSource::default().read(), None);
        let source = PodSource { namespace: Some("prod".into()), labels: Some(path.clone()), ..PodSource::default() };
        let of = |source: &PodSource| source.read().unwrap();
        assert!(matches!(of(&source).labels, Labels::Unreadable(why) if why.contains("labels")));
        std::fs::write(&path, "app=\"coder\"\n").unwrap();
        let told = "namespace `prod`, service account unknown, labels `app=coder`";
        assert_eq!(of(&source).to_string(), told);
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(of(&source).labels, Labels::Unreadable(_)));
        std::fs::write(&path, vec![b'x'; MOST_BYTES as usize + 1]).unwrap();
        assert!(matches!(of(&source).labels, Labels::Unreadable(_)));
        assert!(matches!(of(&PodSource { labels: None, ..source }).labels, Labels::NotTold));
    }
}
