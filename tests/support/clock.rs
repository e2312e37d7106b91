//! A clock on the wall of one program's own, which can be set and stopped. The time that passes is everybody's.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A clock that is right, until it is told otherwise.
pub struct WrongClock {
    folder: tempfile::TempDir,
}

impl WrongClock {
    pub fn new() -> WrongClock {
        let folder = tempfile::tempdir().unwrap();
        let clock = WrongClock { folder };
        clock.set(0, 0);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/wrong_clock.c");
        // What Rust links with.
        let mut cc = std::process::Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"]).arg(clock.path("wrong_clock.so")).arg(source);
        assert!(cc.status().unwrap().success(), "{cc:?}");
        clock
    }

    /// Variables for the program that has it.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        let text = |name: &str| self.path(name).into_os_string().into_string().unwrap();
        [("LD_PRELOAD", text("wrong_clock.so")), ("WRONG_CLOCK", text("setting"))]
    }

    /// Ahead of the right time by so many seconds, or behind it.
    pub fn off_by(&self, seconds: i64) {
        self.set(seconds, 0);
    }

    pub fn stand_still(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        self.set(0, now.as_secs().try_into().unwrap());
    }

    pub fn be_right(&self) {
        self.set(0, 0);
    }

    /// In place: the program has the file mapped.
    fn set(&self, offset: i64, stands: i64) {
        use std::io::Write;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(false).open(self.path("setting")).unwrap();
        file.write_all(&[offset.to_ne_bytes(), stands.to_ne_bytes()].concat()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_the_time_it_is_given() {
        let clock = WrongClock::new();
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let told = || -> i64 {
            let script = "import time; print(int(time.time()))";
            let mut python = std::process::Command::new("python3");
            let output = python.args(["-c", script]).envs(clock.variables()).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
        };
        assert!((now() - told()).abs() < 60);
        clock.off_by(-7200);
        assert!((now() - 7200 - told()).abs() < 60);
        clock.stand_still();
        let first = told();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(told(), first);
        clock.be_right();
        assert!(told() > first);
    }
}
