//! Which sinks there are to be.

use std::io;
use std::sync::Arc;

use crate::notify::Notifier;
use crate::sinks::otlp::Otlp;
use crate::sinks::stdout::Lines;
use crate::sinks::{Ask, Facts, From, Room, Sink};
use crate::telemetry::{Collector, Settings, SettingsError, SinkFacts, Telemetry, resource};

/// Where records go, besides the journal.
#[derive(Debug, Clone, Default)]
pub struct Sinks {
    stdout: bool,
    collector: Option<Collector>,
    first: First,
}

/// A kind of sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Lines on standard output.
    Stdout,
    /// Log records to an OpenTelemetry collector.
    Otlp,
}

/// Where a sink begins that is new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum First {
    /// With this run.
    #[default]
    Now,
    /// With the oldest record that is kept.
    Oldest,
}

/// Why a sink cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The collector's variables are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// There is no collector.
    #[error(
        "`--sink otlp` has no collector to go to: set `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT` to e.g. `http://127.0.0.1:4317` (`OTEL_SDK_DISABLED` and `OTEL_LOGS_EXPORTER=none` switch it off)"
    )]
    NoCollector,
}

impl Sinks {
    /// Those of these kinds, each of which can be had, which begin there where they are new.
    pub fn new(kinds: &[Kind], first: First) -> Result<Self, SinkError> {
        let collector = match kinds.contains(&Kind::Otlp) {
            true => Some(Settings::of_process()?.logs.ok_or(SinkError::NoCollector)?),
            false => None,
        };
        Ok(Self { stdout: kinds.contains(&Kind::Stdout), collector, first })
    }

    /// Sets them to work.
    pub(super) fn open(self, room: &Room) -> io::Result<Vec<Sink>> {
        let first = match self.first {
            First::Now => From::ThisRun,
            First::Oldest => From::Oldest,
        };
        let mut open = Vec::new();
        if self.stdout {
            open.push(room.open(Kind::Stdout.as_str(), first, Lines::stdout()?));
        }
        if let Some(collector) = self.collector {
            let _runtime = room.handle().enter();
            open.push(room.open(Kind::Otlp.as_str(), first, Otlp::new(collector, &resource())));
        }
        Ok(open)
    }
}

/// Shows how a sink is doing.
pub fn show(telemetry: &Telemetry, name: &str, facts: Ask) {
    let ask = move || {
        let Facts { lag, behind, delivered, rejected } = facts();
        SinkFacts { lag, behind, records: vec![("delivered", delivered), ("rejected", rejected)] }
    };
    telemetry.observe_sink(name, Arc::new(ask));
}

/// Shows how the channels of the policy are doing that read the journal.
pub fn show_channels(telemetry: &Telemetry, notifier: &Notifier) {
    notifier.sinks().into_iter().for_each(|(name, facts)| show(telemetry, &name, facts));
}

impl First {
    /// As flags write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Oldest => "oldest",
        }
    }
}

impl Kind {
    /// As flags and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Otlp => "otlp",
        }
    }
}
