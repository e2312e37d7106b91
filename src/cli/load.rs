//! The flag that says what is too much.

use std::time::Duration;

/// What a request may wait for its turn, unless told.
const USUAL: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(10);
/// Envoy waits 5 s (`message_timeout`), and a request may have waited as long again before it is seen.
const LONGEST: Duration = Duration::from_secs(2);

/// What is too much.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct LoadFlags {
    /// Refuse a request that has waited this long for its turn: 503 `overloaded`, with Retry-After. From 10ms to 2s
    /// [default: 1s].
    #[arg(long, value_name = "DURATION", env = "ATTACHE_SHED_AFTER", value_parser = wait)]
    shed_after: Option<Duration>,
}

impl LoadFlags {
    /// How long a request may wait.
    pub fn shed_after(&self) -> Duration {
        self.shed_after.unwrap_or(USUAL)
    }

    /// The same as flags of `serve`.
    pub fn for_serve(&self) -> Vec<String> {
        let given = self.shed_after.iter();
        given.flat_map(|wait| ["--shed-after".to_owned(), format!("{}ms", wait.as_millis())]).collect()
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    let unclear = || "write a duration from 10ms to 2s".to_owned();
    let span: jiff::SignedDuration = text.parse().map_err(|_| unclear())?;
    Duration::try_from(span).ok().filter(|wait| (SHORTEST..=LONGEST).contains(wait)).ok_or_else(unclear)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: LoadFlags,
    }

    fn parse(args: &[&str]) -> Result<LoadFlags, String> {
        let parsed = Command::try_parse_from([&["attache"], args].concat());
        parsed.map(|command| command.flags).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_given_is_meant_and_reaches_the_service() {
        let flags = parse(&["--shed-after", "150ms"]).unwrap();
        assert_eq!(flags.shed_after(), Duration::from_millis(150));
        let passed = flags.for_serve();
        let passed: Vec<_> = passed.iter().map(String::as_str).collect();
        assert_eq!(parse(&passed).unwrap().shed_after(), Duration::from_millis(150));
        assert_eq!(parse(&[]).unwrap().shed_after(), USUAL);
        assert!(parse(&[]).unwrap().for_serve().is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can() {
        for wrong in ["9ms", "2001ms", "5s", "soon", "1", "-1s"] {
            assert!(parse(&[&format!("--shed-after={wrong}")]).unwrap_err().contains("from 10ms to 2s"), "{wrong}");
        }
    }
}
