//! The scripts on a real server, by a clock that the test sets.

use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;

use crate::store::tests::server::Server;

/// What a script's keys begin with here.
pub const BASE: &str = "test";
/// Where the clock begins, in microseconds: big enough that a time which is written with an exponent would show.
const START: u64 = 1_800_000_000_123_456;

pub struct Clocked {
    connection: MultiplexedConnection,
    runtime: tokio::runtime::Runtime,
    _server: Server,
}

/// One of the scripts behind what every script begins with, and the test's clock in place of the server's.
pub fn script(text: &str) -> redis::Script {
    let text = format!("{}{text}", include_str!("../scripts/common.lua"));
    let clocked = text.replacen("redis.call('TIME')", "{redis.call('GET', 'second'), redis.call('GET', 'micro')}", 1);
    assert_ne!(text, clocked);
    redis::Script::new(&clocked)
}

impl Clocked {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // Nothing is killed here, and writing every answer down takes its time.
        let server = Server::with(&["--appendonly", "no"]);
        let connection = runtime.block_on(async {
            drop(server.patient().await);
            server.connection().await
        });
        Self { connection, runtime, _server: server }
    }

    /// Runs a script that many microseconds after the start.
    pub fn run<T: FromRedisValue>(&mut self, script: &redis::Script, micros: u64, arguments: &[&str]) -> T {
        let micros = START + micros;
        self.runtime.block_on(async {
            let clock = [("second", micros / 1_000_000), ("micro", micros % 1_000_000)];
            let _: () = redis::cmd("MSET").arg(&clock).query_async(&mut self.connection).await.unwrap();
            let mut call = script.key(BASE);
            for argument in arguments {
                call.arg(*argument);
            }
            call.invoke_async(&mut self.connection).await.unwrap()
        })
    }

    pub fn command<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        self.runtime.block_on(command.query_async(&mut self.connection)).unwrap()
    }
}
