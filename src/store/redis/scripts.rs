//! The scripts that the server runs, and what they are given.

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisResult};
use smallvec::SmallVec;

use crate::pipeline::approval::Fingerprint;
use crate::pipeline::limit::{Charge, Charges};

/// One of the scripts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Script {
    Probe,
    Admit,
    Ask,
    Wait,
    Leave,
    List,
    Answer,
    Pending,
}

/// All of them, each with what every script begins with.
pub(super) struct Scripts {
    probe: redis::Script,
    admit: redis::Script,
    ask: redis::Script,
    wait: redis::Script,
    leave: redis::Script,
    list: redis::Script,
    answer: redis::Script,
    pending: redis::Script,
}

macro_rules! script {
    ($name:literal) => {
        redis::Script::new(concat!(include_str!("scripts/common.lua"), include_str!(concat!("scripts/", $name))))
    };
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            probe: script!("probe.lua"),
            admit: script!("admit.lua"),
            ask: script!("ask.lua"),
            wait: script!("wait.lua"),
            leave: script!("leave.lua"),
            list: script!("list.lua"),
            answer: script!("answer.lua"),
            pending: script!("pending.lua"),
        }
    }
}

impl Scripts {
    /// Gives the server all of them, so that a call is one way there and back.
    pub(super) async fn load(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let Self { probe, admit, ask, wait, leave, list, answer, pending } = self;
        for script in [probe, admit, ask, wait, leave, list, answer, pending] {
            script.load_async(connection).await?;
        }
        Ok(())
    }

    /// Runs one; where the server does not know it any more, it is given again.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: Script,
        base: &str,
        arguments: Arguments,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<T> {
        let mut invocation = self.of(script).key(base);
        for argument in arguments.0 {
            invocation.arg(argument);
        }
        invocation.invoke_async(connection).await
    }

    fn of(&self, script: Script) -> &redis::Script {
        match script {
            Script::Probe => &self.probe,
            Script::Admit => &self.admit,
            Script::Ask => &self.ask,
            Script::Wait => &self.wait,
            Script::Leave => &self.leave,
            Script::List => &self.list,
            Script::Answer => &self.answer,
            Script::Pending => &self.pending,
        }
    }
}

/// What a script is given.
#[derive(Debug, Default)]
pub(super) struct Arguments(SmallVec<[String; 8]>);

impl Arguments {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn and(mut self, argument: impl ToString) -> Self {
        self.0.push(argument.to_string());
        self
    }

    pub(super) fn and_if(self, argument: Option<impl ToString>) -> Self {
        match argument {
            Some(argument) => self.and(argument),
            None => self,
        }
    }
}

/// What the counting script is given. Each count stands there once.
pub(super) fn admit(what: &str, redeem: Option<Fingerprint>, charges: &Charges) -> Arguments {
    let mut arguments = Arguments::new().and(what).and(redeem.map(|redeem| redeem.to_string()).unwrap_or_default());
    for (at, charge) in charges.iter().enumerate() {
        if charges.iter().take(at).any(|before| is_same(before, charge)) {
            continue;
        }
        let own = charges.iter().skip(at).filter(|other| is_same(other, charge));
        let units = own.fold(0, |sum: u64, charge| sum.saturating_add(charge.units));
        arguments = arguments
            .and(format_args!("{}:{}:{}", charge.agent.len(), charge.agent, charge.limit.rule))
            .and(charge.limit.most.min(MOST_EXACT))
            .and(micros(charge.limit.per))
            .and(units.min(MOST_EXACT + 1));
    }
    arguments
}

/// The rule behind the place that the counting script names.
pub(super) fn named(charges: &Charges, place: usize) -> Option<&Charge> {
    let is_first = |at: &usize| match charges.get(*at) {
        Some(charge) => !charges.iter().take(*at).any(|before| is_same(before, charge)),
        None => false,
    };
    (0..charges.len()).filter(is_first).nth(place).and_then(|at| charges.get(at))
}

fn is_same(one: &Charge, other: &Charge) -> bool {
    one.agent == other.agent && one.limit.rule == other.limit.rule
}

/// The server counts in doubles. A limit above what they hold is taken as this.
const MOST_EXACT: u64 = 1 << 52;

/// Microseconds, rounded up: a window that is longer admits less.
pub(super) fn micros(duration: std::time::Duration) -> u64 {
    // A hundred years in microseconds are still exact.
    u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX).min(100 * 365 * 86_400 * 1_000_000)
}
