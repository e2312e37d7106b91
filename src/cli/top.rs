//! `attache top`: decisions as they happen, and what waits for a person.

mod feed;
mod model;
mod screen;
mod view;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use ratatui::backend::TestBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::{DefaultTerminal, Terminal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::output::{colours, printable};
use super::state::StateDir;
use super::{Failure, Outcome, running};
use crate::control;
use crate::control::api::{AnswerApprovalRequest, Approval, State};
use model::Model;
use screen::{Action, Screen};
use view::Theme;

/// The size of a frame that goes to no terminal, in columns and rows.
const SHEET: (u16, u16) = (120, 40);
/// How much news may wait to be taken in. The service holds up nobody while it waits with more.
const NEWS: usize = 1_024;

/// Watch decisions as they happen, and answer what waits for a person
///
/// Shows what is asked for and what becomes of it, as it happens: counts and rates by agent and by host, the latest
/// decisions, and the requests that wait for approval, which a key approves or denies after they were shown in full.
/// Begins with the last five minutes on record. Nothing that is shown here slows the service down.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys: ? shows them. Tab goes from pane to pane, Enter shows all of one, a approves, d denies, q ends.

Exit codes:
  0  ended, or --once: shown
  2  stdout or stdin is no terminal (and --once is not given), or several state directories could be meant
  5  the service cannot be reached, or refuses this process")]
pub struct Args {
    #[command(flatten)]
    state_dir: StateDir,

    /// Print one frame as text, and end. As large as the terminal; else 120 columns and 40 rows
    #[arg(long)]
    once: bool,

    /// How often the screen is drawn, in seconds; keys are answered at once
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = interval)]
    interval: Duration,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let able = io::stdout().is_terminal()
        && io::stdin().is_terminal()
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    if !args.once && !able {
        return Err(Failure::usage(
            "`top` needs a terminal: use `attache logs --follow` to see decisions as they end, \
             `attache approvals` for what waits, or `attache top --once` for one frame as text",
        ));
    }
    super::runtime()?.block_on(top(args))
}

async fn top(args: Args) -> Outcome {
    let socket = running::socket(&args.state_dir)?;
    if args.once {
        return once(&socket).await;
    }
    // What cannot be reached at all is said where it can be read.
    running::ask(&socket, control::status(&socket)).await??;
    Live::new(socket)?.run(args.interval).await
}

async fn once(socket: &Path) -> Outcome {
    let (now, mut model) = (SystemTime::now(), Model::default());
    feed::once(socket).await?.into_iter().for_each(|news| model.take(news, now));
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| (size.ws_col, size.ws_row));
    let (width, height) = size.filter(|(width, height)| *width > 0 && *height > 1).unwrap_or(SHEET);
    let text = sheet(&model, width, height, now)?;
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A frame as text.
fn sheet(model: &Model, width: u16, height: u16, now: SystemTime) -> Result<String, Failure> {
    // Nothing is drawn anywhere: what fails is no terminal.
    let mut terminal = Terminal::new(TestBackend::new(width, height)).map_err(Failure::runtime)?;
    let theme = Theme { colours: false };
    terminal.draw(|frame| view::draw(frame, model, &mut Screen::default(), theme, now)).map_err(Failure::runtime)?;
    let mut text = String::new();
    let buffer = terminal.backend().buffer();
    for line in buffer.content().chunks(usize::from(width)) {
        // The second half of a wide character is a cell of its own.
        let mut covered = 0;
        let mut shown = String::new();
        for cell in line {
            if covered > 0 {
                covered -= 1;
                continue;
            }
            shown.push_str(cell.symbol());
            covered = unicode_width::UnicodeWidthStr::width(cell.symbol()).saturating_sub(1);
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    Ok(text)
}

/// The terminal, and all that is shown on it.
struct Live {
    display: Display,
    model: Model,
    screen: Screen,
    theme: Theme,
    socket: PathBuf,
}

impl Live {
    fn new(socket: PathBuf) -> Result<Self, Failure> {
        let theme = Theme { colours: colours() };
        Ok(Self { display: Display::take()?, model: Model::default(), screen: Screen::default(), theme, socket })
    }

    async fn run(mut self, interval: Duration) -> Outcome {
        let (mut terminate, mut interrupt, mut hangup) =
            (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?, caught(SignalKind::hangup())?);
        let (told, mut news) = mpsc::channel(NEWS);
        let feed = tokio::spawn(feed::follow(self.socket.clone(), told));
        let mut keys = keys();
        let (answered, mut answers) = mpsc::channel(NEWS);
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_waiting = 0;
        loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => break,
                event = keys.recv() => {
                    // The terminal has gone.
                    let Some(event) = event else { break };
                    if let Event::Key(key) = event {
                        match self.screen.key(key, &self.model, SystemTime::now()) {
                            Action::Nothing => {}
                            Action::Quit => break,
                            Action::Answer(answer) => {
                                tokio::spawn(give(self.socket.clone(), answer, answered.clone()));
                            }
                        }
                    }
                    self.draw()?;
                }
                Some(outcome) = answers.recv() => {
                    self.tell(outcome);
                    self.draw()?;
                }
                _ = ticks.tick() => self.draw()?,
                told = news.recv() => {
                    let Some(told) = told else { return Err(Failure::runtime("the service is not asked any more")) };
                    self.model.take(told, SystemTime::now());
                    // A person may be waited for: that does not wait for the next frame.
                    if self.model.pending.len() != std::mem::replace(&mut was_waiting, self.model.pending.len()) {
                        self.draw()?;
                    }
                }
            }
        }
        feed.abort();
        Ok(ExitCode::SUCCESS)
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let Self { display, model, screen, theme, .. } = self;
        let draw = |frame: &mut ratatui::Frame<'_>| view::draw(frame, model, screen, *theme, SystemTime::now());
        display.terminal.draw(draw).map_err(Failure::from)?;
        Ok(())
    }

    /// What came of an answer.
    fn tell(&mut self, outcome: Result<Approval, String>) {
        let now = SystemTime::now();
        match outcome {
            Ok(approval) => {
                let text = super::approvals::view::confirmation(&approval, now);
                self.model.pending.retain(|pending| pending.ticket != approval.ticket);
                self.screen.say(text.trim_end().replace('\n', "; "), approval.state() != State::Approved, now);
            }
            Err(why) => self.screen.say(format!("not answered: {why}"), true, now),
        }
    }
}

async fn give(socket: PathBuf, answer: AnswerApprovalRequest, answered: mpsc::Sender<Result<Approval, String>>) {
    let outcome = match running::ask(&socket, control::answer_approval(&socket, answer)).await {
        Ok(Ok(approval)) => Ok(approval),
        Ok(Err(refused)) => Err(printable(refused.status.message())),
        Err(failure) => Err(failure.message),
    };
    // Who has ended the view has seen enough.
    let _ = answered.send(outcome).await;
}

/// The keys as they are pressed. Reading them blocks, and ends with the process.
fn keys() -> mpsc::Receiver<Event> {
    let (pressed, keys) = mpsc::channel(NEWS);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if pressed.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

/// The terminal while it is ours. It is given back as it was, however this ends: by a panic too.
struct Display {
    terminal: DefaultTerminal,
}

impl Display {
    fn take() -> Result<Self, Failure> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                ratatui::restore();
                Err(Failure::runtime(format!("the terminal cannot be taken over: {error}")))
            }
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        ratatui::restore();
        // Nobody is left to tell, where there is no terminal any more.
        let _ = execute!(io::stdout(), Show);
    }
}

fn caught(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(Failure::runtime)
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds, as in 0.5".to_owned())?;
    match seconds {
        0.1..=60.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("it is between 0.1 and 60 seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::Command;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::tcgetattr;

    use super::*;

    /// Says to this program that it is the one that panics.
    const PANICS: &str = "ATTACHE_TEST_PANICS";

    #[test]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(PANICS).is_some() {
            let _display = Display::take().unwrap();
            panic!("as it must");
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = File::options().read(true).write(true).open(path).unwrap();
        let modes = tcgetattr(&terminal).unwrap().local_modes;

        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "cli::top::tests::a_panic_gives_the_terminal_back", "--nocapture"]);
        command.env(PANICS, "1").env("RUST_BACKTRACE", "0");
        command.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap());
        assert!(!command.stderr(terminal.try_clone().unwrap()).status().unwrap().success());
        assert_eq!(tcgetattr(&terminal).unwrap().local_modes, modes);
        drop((command, terminal));

        // An error stands at its end: nobody has the terminal open any more.
        let mut written = Vec::new();
        let _ = File::from(master).read_to_end(&mut written);
        let written = String::from_utf8_lossy(&written);
        let at = |text: &str| written.find(text).unwrap_or_else(|| panic!("{text:?} in {written:?}"));
        assert!(at("\u{1b}[?1049h") < at("\u{1b}[?1049l") && at("\u{1b}[?1049l") < at("as it must"), "{written:?}");
        assert!(written.contains("\u{1b}[?25h"), "{written:?}");
    }

    #[test]
    fn an_interval_is_neither_too_short_nor_too_long() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "0", "0.05", "61", "-1", "NaN", "inf", "1s"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
