//! The flags that say how the record is kept.

use std::time::Duration;

use crate::journal::{Durability, Options};

/// How the record is kept.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RecordFlags {
    /// When a request may be answered: once its decision is written, which survives the death of the process (buffered,
    /// the default), or once it is on the disk, which survives a power cut (strict).
    #[arg(long, value_name = "strict|buffered", env = "ATTACHE_DURABILITY", value_parser = durability)]
    durability: Option<Durability>,
    /// How large a file of the journal gets before the next one is begun [default: 64MiB].
    #[arg(long, value_name = "SIZE", env = "ATTACHE_JOURNAL_SEGMENT_SIZE", value_parser = segment_size)]
    journal_segment_size: Option<u64>,
    /// How long a file of the journal is written to before the next one is begun [default: 24h].
    #[arg(long, value_name = "DURATION", env = "ATTACHE_JOURNAL_SEGMENT_AGE", value_parser = duration)]
    journal_segment_age: Option<Duration>,
    /// How much of the journal is kept: the oldest files are removed, and never what a sink has yet to read; `all` for
    /// everything [default: 5GiB].
    #[arg(long, value_name = "SIZE|all", env = "ATTACHE_JOURNAL_MAX_SIZE", value_parser = |text: &str| limit(text, size))]
    journal_max_size: Option<Limit<u64>>,
    /// How long files of the journal are kept once they are full; `all` for ever [default: all].
    #[arg(long, value_name = "DURATION|all", env = "ATTACHE_JOURNAL_MAX_AGE", value_parser = |text: &str| limit(text, duration))]
    journal_max_age: Option<Limit<Duration>>,
}

/// A bound, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit<T>(Option<T>);

/// The smallest file that is worth its name, in bytes.
const SMALLEST: u64 = 64 << 10;

impl RecordFlags {
    /// What they say together.
    pub fn options(&self) -> Options {
        let usual = Options::default();
        Options {
            durability: self.durability.unwrap_or(usual.durability),
            segment_size: self.journal_segment_size.unwrap_or(usual.segment_size),
            segment_age: self.journal_segment_age.unwrap_or(usual.segment_age),
            max_size: self.journal_max_size.map_or(usual.max_size, |limit| limit.0),
            max_age: self.journal_max_age.map_or(usual.max_age, |limit| limit.0),
        }
    }

    /// The same as flags of `serve`.
    pub fn for_serve(&self) -> Vec<String> {
        let mut args = Vec::new();
        let mut add = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
        let seconds = |duration: Duration| format!("{}s", duration.as_secs());
        let or_all = |text: Option<String>| text.unwrap_or_else(|| "all".to_owned());
        self.durability.iter().for_each(|durability| {
            let word = match durability {
                Durability::Strict => "strict",
                Durability::Buffered => "buffered",
            };
            add("--durability", word.to_owned());
        });
        self.journal_segment_size.iter().for_each(|size| add("--journal-segment-size", size.to_string()));
        self.journal_segment_age.iter().for_each(|age| add("--journal-segment-age", seconds(*age)));
        self.journal_max_size
            .iter()
            .for_each(|limit| add("--journal-max-size", or_all(limit.0.map(|size| size.to_string()))));
        self.journal_max_age.iter().for_each(|limit| add("--journal-max-age", or_all(limit.0.map(seconds))));
        args
    }
}

fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "strict" => Ok(Durability::Strict),
        "buffered" => Ok(Durability::Buffered),
        _ => Err("write `strict` or `buffered`".to_owned()),
    }
}

fn limit<T>(text: &str, of: impl Fn(&str) -> Result<T, String>) -> Result<Limit<T>, String> {
    match text {
        "all" => Ok(Limit(None)),
        _ => of(text).map(|limit| Limit(Some(limit))).map_err(|error| format!("{error}, or `all`")),
    }
}

/// Bytes, with or without a unit of the powers of 1,024 or of 1,000.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let unclear = || "write a size such as 64MiB or 5GB".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(unclear()),
    };
    let number: u64 = number.parse().map_err(|_| unclear())?;
    number.checked_mul(unit).ok_or_else(unclear)
}

fn segment_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        size if size < SMALLEST => Err("write at least 64KiB: every file begins with what it goes on from".to_owned()),
        size => Ok(size),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let unclear = || "write a duration such as 30s, 12h or 7d".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| unclear())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| unclear())?;
    match Duration::try_from(duration) {
        Ok(duration) if duration >= Duration::from_secs(1) => Ok(duration),
        _ => Err("write a duration of a second or more, such as 30s, 12h or 7d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: RecordFlags,
    }

    fn parse(args: &[&str]) -> Result<RecordFlags, String> {
        let parsed = Command::try_parse_from([&["attache"], args].concat());
        parsed.map(|command| command.flags).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_given_is_meant_and_reaches_the_service() {
        let args = [
            "--durability",
            "strict",
            "--journal-segment-size",
            "1MiB",
            "--journal-segment-age",
            "2h",
            "--journal-max-size",
            "all",
            "--journal-max-age",
            "30d",
        ];
        let flags = parse(&args).unwrap();
        let expected = Options {
            durability: Durability::Strict,
            segment_size: 1 << 20,
            segment_age: Duration::from_secs(7200),
            max_size: None,
            max_age: Some(Duration::from_secs(30 * 86_400)),
        };
        assert_eq!(flags.options(), expected);
        let passed = flags.for_serve();
        let passed: Vec<_> = passed.iter().map(String::as_str).collect();
        assert_eq!(parse(&passed).unwrap().options(), expected);
        assert_eq!(parse(&[]).unwrap().options(), Options::default());
        assert!(parse(&[]).unwrap().for_serve().is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can() {
        for (flag, value, expected) in [
            ("--durability", "fast", "`strict` or `buffered`"),
            ("--journal-segment-size", "10", "at least 64KiB"),
            ("--journal-segment-size", "64 mb", "such as 64MiB"),
            ("--journal-max-size", "99999999999TiB", "or `all`"),
            ("--journal-max-age", "soon", "7d, or `all`"),
            ("--journal-segment-age", "0s", "a second or more"),
        ] {
            let error = parse(&[flag, value]).unwrap_err();
            assert!(error.contains(expected), "{flag} {value}: {error}");
        }
    }
}
