//! The flags that say where the record goes, besides the journal.

use super::Failure;
use crate::server::{FirstRecord, SinkKind, Sinks};

/// Where the record goes, besides the journal.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SinkFlags {
    /// Where every record goes, besides the journal; may repeat. `stdout`: as lines on standard output, after the ready
    /// line. `otlp`: as log records to the collector of OTEL_EXPORTER_OTLP_ENDPOINT.
    #[arg(long = "sink", value_name = "stdout|otlp", env = "ATTACHE_SINKS", value_delimiter = ',', value_parser = kind)]
    kinds: Vec<SinkKind>,
    /// What a sink gets first that has never been there: the records of this run, or all that are kept. From then on
    /// it goes on where it was.
    #[arg(long, value_name = "now|oldest", env = "ATTACHE_SINK_FROM", value_parser = first, requires = "kinds")]
    sink_from: Option<FirstRecord>,
}

impl SinkFlags {
    /// What they say together, where each sink can be had.
    pub fn sinks(&self) -> Result<Sinks, Failure> {
        Sinks::new(&self.kinds, self.sink_from.unwrap_or_default()).map_err(Failure::usage)
    }

    /// The same as flags of `serve`, for a command whose standard output is not the service's.
    pub fn for_serve(&self, why_no_stdout: &str) -> Result<Vec<String>, Failure> {
        if self.kinds.contains(&SinkKind::Stdout) {
            return Err(Failure::usage(format!(
                "`--sink stdout` is for `attache serve`: {why_no_stdout}; use `attache logs --follow`, or `--sink otlp`"
            )));
        }
        // Before anything is started.
        self.sinks()?;
        let mut args = Vec::new();
        self.kinds.iter().for_each(|kind| args.extend(["--sink".to_owned(), kind.as_str().to_owned()]));
        self.sink_from.iter().for_each(|first| args.extend(["--sink-from".to_owned(), first.as_str().to_owned()]));
        Ok(args)
    }
}

fn kind(text: &str) -> Result<SinkKind, String> {
    match text {
        "stdout" => Ok(SinkKind::Stdout),
        "otlp" => Ok(SinkKind::Otlp),
        "webhook" => Err("webhooks stand in the policy, under `notifications`".to_owned()),
        _ => Err("there are `stdout` and `otlp`; webhooks stand in the policy, under `notifications`".to_owned()),
    }
}

fn first(text: &str) -> Result<FirstRecord, String> {
    match text {
        "now" => Ok(FirstRecord::Now),
        "oldest" => Ok(FirstRecord::Oldest),
        _ => Err("write `now` or `oldest`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: SinkFlags,
    }

    fn parse(args: &[&str]) -> Result<SinkFlags, String> {
        let parsed = Command::try_parse_from([&["attache"], args].concat());
        parsed.map(|command| command.flags).map_err(|error| error.to_string())
    }

    #[test]
    fn a_sink_that_there_is_not_is_refused_with_those_there_are() {
        for (args, expected) in [
            (&["--sink", "kafka"][..], "there are `stdout` and `otlp`"),
            (&["--sink", "webhook"], "under `notifications`"),
            (&["--sink", "stdout", "--sink-from", "yesterday"], "`now` or `oldest`"),
            (&["--sink-from", "oldest"], "--sink"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }

    #[test]
    fn standard_output_is_the_services_alone() {
        let flags = parse(&["--sink", "stdout"]).unwrap();
        let error = flags.for_serve("standard output is the command's").unwrap_err();
        assert!(error.message.contains("standard output is the command's"), "{}", error.message);
        assert!(flags.sinks().is_ok());
        assert!(parse(&[]).unwrap().for_serve("").unwrap().is_empty());
    }
}
