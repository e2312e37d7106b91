//! A terminal: programs that need one, and what a person would see.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::{PATIENCE, until, within};

/// A program on a terminal of its own. It ends with this value.
pub struct OnTerminal {
    child: Child,
    master: File,
    /// Kept open, so that the terminal can be asked after the program's end.
    terminal: OwnedFd,
    modes: LocalModes,
    screen: Arc<Mutex<vt100::Parser>>,
    /// How much has been written to it; a change is something new to see.
    written: watch::Receiver<usize>,
}

impl OnTerminal {
    /// Starts `command` in a session whose terminal has so many columns and rows.
    pub fn start(command: &Command, columns: u16, rows: u16) -> OnTerminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let terminal = rustix::fs::open(path, open, rustix::fs::Mode::empty()).unwrap();
        tcsetwinsize(&terminal, size(columns, rows)).unwrap();
        let modes = tcgetattr(&terminal).unwrap().local_modes;

        // setsid(1) makes it the terminal of the session, and becomes the program.
        let mut session = Command::new("setsid");
        let given = command.as_std();
        session.arg("--ctty").arg(given.get_program()).args(given.get_args());
        for (name, value) in given.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        session.env("TERM", "xterm-256color").env_remove("NO_COLOR").kill_on_drop(true);
        session.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap());
        let child = session.stderr(terminal.try_clone().unwrap()).spawn().expect("setsid(1) of util-linux");

        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0)));
        let master = File::from(master);
        let (mut reader, shown) = (master.try_clone().unwrap(), screen.clone());
        let (writes, written) = watch::channel(0);
        std::thread::spawn(move || {
            let mut bytes = [0; 8_192];
            // An error once nobody has the terminal open any more.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..count]);
                writes.send_modify(|written| *written += count);
            }
        });
        OnTerminal { child, master, terminal, modes, screen, written }
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// What is seen.
    pub fn screen(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until `wanted` holds of what is seen, and gives it.
    pub async fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut written = self.written.clone();
        let look = async {
            loop {
                let screen = self.screen();
                if wanted(&screen) {
                    return screen;
                }
                // An error once nothing more can be written.
                written.changed().await.unwrap_or_else(|_| panic!("it ended before {what}, with:\n{screen}"));
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(screen) => screen,
            Err(_) => panic!("waited {PATIENCE:?} for {what} on this screen:\n{}", self.screen()),
        }
    }

    /// Waits until all of these are seen.
    pub async fn wait_for(&self, texts: &[&str]) -> String {
        self.wait(&format!("{texts:?}"), |screen| texts.iter().all(|text| screen.contains(text))).await
    }

    /// Makes the terminal another size, as when a window is dragged.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(rows.try_into().unwrap(), columns.try_into().unwrap());
        tcsetwinsize(&self.master, size(columns, rows)).unwrap();
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().unwrap() as i32).unwrap(), signal).unwrap();
    }

    /// Waits for its end, after which the terminal has to be as it was.
    pub async fn end(&mut self) -> ExitStatus {
        let status = within("the program to end", self.child.wait()).await.unwrap();
        assert_eq!(tcgetattr(&self.terminal).unwrap().local_modes, self.modes, "the terminal is not as it was");
        let restored = async || {
            let parser = self.screen.lock().unwrap();
            (!parser.screen().alternate_screen() && !parser.screen().hide_cursor()).then_some(())
        };
        until("the screen and the cursor to be given back", restored).await;
        status
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_has_a_terminal_of_its_own() {
        let mut command = Command::new("sh");
        command.args(["-c", "stty size </dev/tty; read line; printf '\\033[2J\\033[1;1Hgot %s' \"$line\""]);
        let mut shell = OnTerminal::start(&command, 90, 20);
        shell.wait_for(&["20 90"]).await;
        shell.press("a line\r");
        assert!(shell.wait_for(&["got a line"]).await.starts_with("got a line"));
        assert!(shell.end().await.success());
    }
}
