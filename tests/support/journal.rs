//! What is on record, read from the journal's files: they are there whatever has become of the service.

use std::time::Instant;

use ::attache::journal::reader::Reader;
use serde_json::Value;

use super::{Attache, until};

impl Attache {
    /// Every exchange on record, decision and outcome joined, in the order they were decided. `flags` is
    /// null where the outcome has not come.
    pub fn records(&self) -> Vec<Value> {
        let (records, unreadable) = self.read_journal();
        assert_eq!(unreadable, 0, "unreadable lines in the journal");
        records
    }

    /// The same where a crash may have left half a line behind.
    pub fn readable_records(&self) -> Vec<Value> {
        self.read_journal().0
    }

    fn read_journal(&self) -> (Vec<Value>, u64) {
        let mut reader = Reader::open(&self.ready().state_dir.join("journal")).unwrap();
        let exchanges = reader.poll(true, Instant::now()).unwrap();
        let records = exchanges.iter().map(|exchange| serde_json::to_value(exchange).unwrap());
        (records.collect(), reader.unreadable())
    }

    /// The records of requests for this host.
    pub fn records_of(&self, host: &str) -> Vec<Value> {
        self.records().into_iter().filter(|record| record["host"] == host).collect()
    }

    /// The first record for which `wanted` holds.
    pub async fn wait_record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, async || self.records().into_iter().find(&wanted)).await
    }

    /// The journal's bytes, all files together.
    pub fn journal(&self) -> String {
        let files = std::fs::read_dir(self.ready().state_dir.join("journal")).unwrap();
        // Beside them stands what sinks keep.
        let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
        files.map(|file| std::fs::read_to_string(file).unwrap()).collect()
    }
}
