//! A body on its way: it is looked at as it comes, and what is clear goes on.
//!
//! What is held back is decided by [`hold`](super::hold). A finding needs at most `BEHIND` bytes before it, which are
//! kept; so what is found does not hang on how the body was cut.

use std::collections::VecDeque;
use std::sync::Arc;

use super::finding::{Action, Chain, Finding};
use super::hold::{RUN, is_inner, open_from};
use super::inflate::{Coding, Inflater, Undecodable};
use super::lanes;
use super::scan::{Lens, Report};
use super::surface::{Layout, Surface};

/// How many bytes before what is new are looked at again.
const BEHIND: usize = 2 * RUN;
/// A run longer than [`RUN`] is looked at in blocks of so many bytes, counted from its beginning.
const BLOCK: usize = 2 * RUN;
/// How much of an encoded body is decoded at once: what of it is clear is known to this many bytes.
const SLICE: usize = 1024;

/// A body on its way.
#[derive(Debug)]
pub struct BodyStream {
    plain: Option<Channel>,
    coded: Option<Coded>,
    emit: Emit,
    label: Label,
    /// Undoes a coding that nobody named: what looks encoded is looked into, and may yet be none.
    guessed: Option<Coded>,
    /// What came of the first bytes, until they tell whether it is one.
    begin: Option<Vec<u8>>,
    report: Report,
    ended: bool,
}

/// What stands in the place of what is redacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// `[REDACTED:rule]`.
    Named,
    /// As many bytes as were there, so that the length that was stated holds.
    SameLength,
}

impl Label {
    fn text(self, finding: &Finding) -> Vec<u8> {
        let mut text = format!("[REDACTED:{}]", finding.rule).into_bytes();
        if self == Self::SameLength {
            text.resize(finding.range.len(), b'*');
        }
        text
    }
}

/// What goes on of a body whose coding has been undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// The bytes that came. Nothing can be replaced in them.
    AsSent,
    /// What they decode to.
    Decoded,
}

/// Why a body may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something was found that is to be blocked.
    #[error("something was found that must not pass")]
    Found,
    /// Its coding cannot be undone.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
    /// There is more to decode in it than it may cost.
    #[error("there is more in it to decode than a body of its size may have")]
    Exhausted,
}

/// A text on its way, and how far it is clear.
#[derive(Debug)]
struct Channel {
    lens: Lens,
    name: Arc<str>,
    chain: Chain,
    /// The last of what came.
    text: Vec<u8>,
    /// Where `text` begins in the body.
    base: usize,
    /// How far it has been looked at.
    scanned: usize,
    /// How far it may go on.
    clear: usize,
    /// How far it has gone on.
    gone: usize,
    /// The run that the text ends in, while it is too long to be held back.
    run: Option<Run>,
}

/// A run that is looked at in blocks.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Where the first block begins.
    origin: usize,
    /// How far it is known to go on.
    read: usize,
}

/// A body whose coding is undone as it comes.
#[derive(Debug)]
struct Coded {
    inflater: Inflater,
    channel: Channel,
    /// Which place of the decoded text each place of the body leads to, for what is not clear yet.
    marks: VecDeque<(usize, usize)>,
    /// What came and has not gone on.
    sent: Vec<u8>,
    sent_from: usize,
}

impl BodyStream {
    /// A body in these codings, in the order of `Content-Encoding`.
    pub fn new(lens: Lens, name: Arc<str>, codings: &[Coding], emit: Emit, label: Label) -> Self {
        let (plain, coded) = match codings {
            [] => (Some(Channel::new(lens, name, Chain::new())), None),
            codings => (None, Some(Coded::new(lens, name, codings))),
        };
        let report = Report::default();
        let begin = plain.is_some().then(Vec::new);
        Self { plain, coded, emit, label, guessed: None, begin, report, ended: false }
    }

    /// Takes the next bytes, and appends to `out` what may go on.
    ///
    /// # Errors
    /// If nothing more may go on; what was appended before may.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let joined;
        let mut unread = bytes;
        if let Some(mut begin) = self.begin.take() {
            // Who sends the body chooses how it is cut.
            if !begin.is_empty() {
                begin.extend_from_slice(bytes);
                joined = begin;
                unread = &joined;
            }
            match (guess(unread), &self.plain) {
                (Guess::Undecided, _) => self.begin = Some(unread.to_vec()),
                (Guess::Coded(coding), Some(channel)) => {
                    self.guessed = Some(Coded::new(channel.lens.clone(), channel.name.clone(), &[coding]));
                }
                (Guess::Coded(_) | Guess::Plain, _) => {}
            }
        }
        if let Some(guessed) = &mut self.guessed {
            let taken = unread.chunks(SLICE).try_for_each(|slice| guessed.take(slice, &mut self.report));
            guessed.pass();
            match taken {
                Err(Fault::Undecodable(Undecodable::TooLarge)) => return Err(Fault::Exhausted),
                // It is not what it looked like: then there is nothing more in it than can be seen.
                Err(Fault::Undecodable(_)) => self.guessed = None,
                taken => taken?,
            }
        }
        if let Some(channel) = &mut self.plain {
            channel.take(bytes, false, &mut self.report)?;
            channel.emit(self.label, &self.report, out);
        }
        if let Some(coded) = &mut self.coded {
            for slice in bytes.chunks(SLICE) {
                coded.take(slice, &mut self.report)?;
            }
            coded.emit(self.emit, self.label, &self.report, out);
        }
        Ok(())
    }

    /// Says that what has come so far stands for itself, as a message in a stream of messages does: nothing is held back.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        if let Some(channel) = &mut self.plain {
            channel.take(&[], true, &mut self.report)?;
            channel.emit(self.label, &self.report, out);
        }
        Ok(())
    }

    /// Says that there is no more.
    ///
    /// # Errors
    /// As [`push`](Self::push), and if an encoded body ends too early.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        if let Some(guessed) = &mut self.guessed {
            let mut text = Vec::new();
            let undone = guessed.inflater.finish(&mut text);
            guessed.channel.take(&text, true, &mut self.report)?;
            if undone == Err(Undecodable::TooLarge) {
                return Err(Fault::Exhausted);
            }
        }
        self.flush(out)?;
        if let Some(coded) = &mut self.coded {
            let mut text = Vec::new();
            coded.inflater.finish(&mut text)?;
            coded.channel.take(&text, true, &mut self.report)?;
            coded.marks.push_back((coded.sent_from + coded.sent.len(), coded.channel.end()));
            coded.emit(self.emit, self.label, &self.report, out);
        }
        Ok(())
    }

    /// What was found so far.
    pub fn findings(&self) -> &[Finding] {
        &self.report.findings
    }
}

impl Channel {
    fn new(lens: Lens, name: Arc<str>, chain: Chain) -> Self {
        let (text, base, scanned, clear, gone, run) = (Vec::new(), 0, 0, 0, 0, None);
        Self { lens, name, chain, text, base, scanned, clear, gone, run }
    }

    fn end(&self) -> usize {
        self.base + self.text.len()
    }

    /// Takes the next bytes of the text, and looks at what of them has come to an end. `settled` says that all has.
    fn take(&mut self, mut bytes: &[u8], settled: bool, report: &mut Report) -> Result<(), Fault> {
        /// How much is looked at at once: what the views of it cost is bounded by it.
        const STEP: usize = 64 * 1024;
        loop {
            // At places that hang on nothing but the body.
            let room = STEP - self.end() % STEP;
            let Some((step, rest)) = bytes.split_at_checked(room) else { break };
            self.text.extend_from_slice(step);
            self.advance(false, report)?;
            bytes = rest;
        }
        self.text.extend_from_slice(bytes);
        self.advance(settled, report)
    }

    fn advance(&mut self, settled: bool, report: &mut Report) -> Result<(), Fault> {
        let new = self.scanned - self.base;
        let open = match settled {
            true => {
                self.run = None;
                self.text.len()
            }
            false => self.open(new),
        };
        if open > new {
            // Blocks are those of the body, wherever it was cut.
            let from = (self.base + new.saturating_sub(BEHIND)) / lanes::BLOCK * lanes::BLOCK - self.base;
            let layout = Layout::Plain(self.name.clone());
            let text = self.text.get(from..open).unwrap_or_default();
            // What ends where it is divided goes on, perhaps, and is held back until that is known.
            let surface = Surface { text, layout, chain: self.chain.clone(), offset: self.base + from, ends: settled };
            report.undecided = None;
            self.lens.scan(&surface, Vec::new(), report);
            let open = self.base + open;
            self.scanned = report.undecided.map_or(open, |at| at.clamp(self.scanned, open));
        }
        if report.action() == Action::Block {
            return Err(Fault::Found);
        }
        if report.exhausted {
            return Err(Fault::Exhausted);
        }
        // Inside of a long run a match may have begun that has not come to its end.
        let behind = if self.run.is_some() { RUN } else { 0 };
        self.clear = self.clear.max(self.scanned.saturating_sub(behind));
        Ok(())
    }

    /// The place in `text` up to which it can be looked at: a run that is too long to be waited for is divided at places
    /// that hang on its beginning alone.
    fn open(&mut self, new: usize) -> usize {
        let end = self.end();
        if let Some(run) = &mut self.run {
            let unread = self.text.get(run.read.saturating_sub(self.base)..).unwrap_or_default();
            if unread.iter().all(|byte| is_inner(*byte)) {
                run.read = end;
                return (run.origin + (end - run.origin) / BLOCK * BLOCK).saturating_sub(self.base).max(new);
            }
            // It has ended; another may have begun.
            self.run = None;
        }
        let open = open_from(&self.lens.detector, &self.lens.known, &self.text);
        let tail = self.text.iter().rev().take(RUN + 1).take_while(|byte| is_inner(**byte)).count();
        if tail <= RUN {
            return open.max(new);
        }
        let origin = self.base + open;
        self.run = Some(Run { origin, read: end });
        (origin + (end - origin) / BLOCK * BLOCK).saturating_sub(self.base).max(new)
    }

    /// Appends what is clear and has not gone on, with what is to be replaced in it replaced.
    fn emit(&mut self, label: Label, report: &Report, out: &mut Vec<u8>) {
        let mut edits: Vec<&Finding> = report.findings.iter().filter(|f| f.action == Action::Redact).collect();
        edits.sort_by_key(|finding| finding.range.start);
        let (from, clear) = (self.gone, self.clear);
        for finding in edits.into_iter().filter(|f| f.range.end > from && f.range.start < clear) {
            // The first letters may have gone on before anybody could know.
            if finding.range.start >= self.gone || finding.range.start < from {
                out.extend_from_slice(self.between(self.gone, finding.range.start));
                out.extend_from_slice(&label.text(finding));
            }
            self.gone = self.gone.max(finding.range.end);
        }
        out.extend_from_slice(self.between(self.gone, clear));
        self.gone = self.gone.max(clear);
        self.forget();
    }

    fn between(&self, from: usize, to: usize) -> &[u8] {
        let inside = |at: usize| at.saturating_sub(self.base).min(self.text.len());
        self.text.get(inside(from)..inside(to)).unwrap_or_default()
    }

    /// Forgets what nothing needs any more: now and then, since it moves the rest.
    fn forget(&mut self) {
        let needed = self.scanned.saturating_sub(BEHIND).min(self.clear);
        let count = (needed - self.base.min(needed)) / lanes::BLOCK * lanes::BLOCK;
        if count > 4 * BEHIND {
            self.text.drain(..count);
            self.base += count;
            self.text.shrink_to(16 * BEHIND);
        }
    }
}

/// What a body looks like.
enum Guess {
    /// One in a coding.
    Coded(Coding),
    /// One in none.
    Plain,
    /// The next byte may tell.
    Undecided,
}

/// What a body begins as, by the first bytes that RFC 1952 and RFC 8878 prescribe.
fn guess(begin: &[u8]) -> Guess {
    const MARKS: [(&[u8], Coding); 2] = [(&[0x1f, 0x8b, 8], Coding::Gzip), (&[0x28, 0xb5, 0x2f, 0xfd], Coding::Zstd)];
    match MARKS.into_iter().find(|(mark, _)| mark.starts_with(begin) || begin.starts_with(mark)) {
        None => Guess::Plain,
        Some((mark, _)) if begin.len() < mark.len() => Guess::Undecided,
        Some((_, coding)) => Guess::Coded(coding),
    }
}

impl Coded {
    fn new(lens: Lens, name: Arc<str>, codings: &[Coding]) -> Self {
        let chain = codings.iter().rev().map(|coding| coding.step()).collect();
        Self {
            inflater: Inflater::new(codings),
            channel: Channel::new(lens, name, chain),
            marks: VecDeque::new(),
            sent: Vec::new(),
            sent_from: 0,
        }
    }

    /// Forgets what was looked at, which goes on in another way.
    fn pass(&mut self) {
        self.marks.clear();
        self.sent_from += self.sent.len();
        self.sent.clear();
        self.channel.gone = self.channel.clear;
        self.channel.forget();
    }

    fn take(&mut self, bytes: &[u8], report: &mut Report) -> Result<(), Fault> {
        self.sent.extend_from_slice(bytes);
        let mut text = Vec::new();
        let undone = self.inflater.push(bytes, &mut text);
        // Whoever gets it may be content with less than all of it.
        self.channel.take(&text, undone.is_err(), report)?;
        undone?;
        self.marks.push_back((self.sent_from + self.sent.len(), self.channel.end()));
        Ok(())
    }

    fn emit(&mut self, emit: Emit, label: Label, report: &Report, out: &mut Vec<u8>) {
        if emit == Emit::Decoded {
            self.marks.clear();
            self.sent_from += self.sent.len();
            self.sent.clear();
            return self.channel.emit(label, report, out);
        }
        let mut to = self.sent_from;
        while let Some((sent, text)) = self.marks.front().copied().filter(|(_, text)| *text <= self.channel.clear) {
            debug_assert!(text <= self.channel.end());
            to = sent;
            self.marks.pop_front();
        }
        out.extend(self.sent.drain(..to - self.sent_from));
        self.sent_from = to;
        self.channel.gone = self.channel.clear;
        self.channel.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::{Actions, Profile, Selector};
    use super::super::scan::lens_of;
    use super::*;

    const RULES: &str = r#"
        - {id: vendor-token, keywords: [vnd_], pattern: 'vnd_[A-Za-z0-9]{24}'}
        - {id: generic-secret, keywords: [password], reach: assigned, pattern: '[!-~]{8,40}', confidence: {base: medium}}
        - {id: block-key, keywords: ["-----BEGIN KEY"], boundary: false, pattern: '-----BEGIN KEY-----[A-Za-z0-9\s]{40}'}
    "#;
    const TOKEN: &str = "vnd_q8Zr3vTn5kLw0pXyC7dE1fGh";

    fn lens(actions: Actions) -> Lens {
        lens_of(RULES, actions)
    }

    fn blocking() -> Lens {
        lens(Profile::default_profile().requests)
    }

    fn doing(action: Action) -> Lens {
        lens(Actions::new([(Selector::Category("credentials".into()), action)]))
    }

    fn stream(lens: Lens) -> BodyStream {
        BodyStream::new(lens, "body".into(), &[], Emit::AsSent, Label::Named)
    }

    #[test]
    fn what_could_become_a_secret_is_held_back_and_nothing_else() {
        for (text, held) in [
            ("hello", 0),
            ("hello world\n", 0),
            ("{\"a\": 1}\n", 0),
            ("ping 12", 0),
            ("text vnd_q8Z", 7),
            ("text vn", 2),
            ("password=abc", 12),
            ("{\"password\":\"abc", 3),
            ("card 4012 8888", 9),
            ("id 12", 0),
            ("x AAAAAAAAAAAAAAAAAAAA", 20),
            ("-----BEGIN KEY-----\nabc def\n", 28),
        ] {
            let mut out = Vec::new();
            stream(blocking()).push(text.as_bytes(), &mut out).unwrap();
            assert_eq!(text.len() - out.len(), held, "{text:?}");
        }
    }

    #[test]
    fn nothing_of_a_secret_leaves_however_the_body_is_cut() {
        let body = format!("{{\"note\":\"some text before\",\"key\":\"{TOKEN}\"}}");
        for size in 1..body.len() {
            let (mut stream, mut out) = (stream(blocking()), Vec::new());
            let pushed = body.as_bytes().chunks(size).try_for_each(|chunk| stream.push(chunk, &mut out));
            assert_eq!(pushed.and_then(|()| stream.finish(&mut out)), Err(Fault::Found), "{size}");
            assert!(!String::from_utf8_lossy(&out).contains("vnd_"), "{size}");
            let at = body.find(TOKEN).unwrap();
            assert_eq!(stream.findings()[0].range, at..at + TOKEN.len());
        }
    }

    #[test]
    fn what_is_redacted_is_replaced_however_the_body_is_cut() {
        let body = format!("first {TOKEN} then {TOKEN}. password: hunter2-hunter2 end {}", "z".repeat(30_000));
        let label = "[REDACTED:vendor-token]";
        let expected = body.replace(TOKEN, label).replace("hunter2-hunter2", "[REDACTED:generic-secret]");
        for size in [1, 2, 3, 7, 40, 1000, 5000, 100_000] {
            let (mut stream, mut out) = (stream(doing(Action::Redact)), Vec::new());
            for chunk in body.as_bytes().chunks(size) {
                stream.push(chunk, &mut out).unwrap();
            }
            stream.finish(&mut out).unwrap();
            // A letter alone may be anything.
            let out = String::from_utf8(out).unwrap().replace(&format!("v{label}"), label);
            assert!(out == expected, "{size}: {}", &out[..120]);
        }
    }

    #[test]
    fn an_encoded_body_goes_on_as_it_came_or_not_at_all() {
        let encoded = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let run = |body: &[u8], emit| {
            let mut stream = BodyStream::new(blocking(), "body".into(), &[Coding::Gzip], emit, Label::Named);
            let mut out = Vec::new();
            let pushed = body.chunks(100).try_for_each(|chunk| stream.push(chunk, &mut out));
            (pushed.and_then(|()| stream.finish(&mut out)), out, stream.findings().first().map(Finding::location))
        };
        let text = (0..20_000).map(|n| format!("line {n}\n")).collect::<String>();
        let (clean, dirty) = (encoded(&text), encoded(&(text.clone() + TOKEN)));
        assert_eq!(run(&clean, Emit::AsSent), (Ok(()), clean.clone(), None));
        assert_eq!(run(&clean, Emit::Decoded), (Ok(()), text.into_bytes(), None));
        let (ended, out, location) = run(&dirty, Emit::AsSent);
        assert_eq!((ended, location.as_deref()), (Err(Fault::Found), Some("body → gzip")));
        assert!(out.len() < dirty.len());
        let (ended, _, _) = run(&clean[..clean.len() - 9], Emit::AsSent);
        assert_eq!(ended, Err(Fault::Undecodable(Undecodable::Truncated)));
    }

    #[test]
    fn a_coding_that_nobody_names_is_seen_however_the_body_is_cut() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, format!("some text before {TOKEN} and after").as_bytes()).unwrap();
        let (gzip, zstd) = (encoder.finish().unwrap(), zstd::encode_all(TOKEN.as_bytes(), 0).unwrap());
        for body in [gzip, zstd] {
            for size in 1..=body.len() {
                let (mut stream, mut out) = (stream(blocking()), Vec::new());
                let pushed = body.chunks(size).try_for_each(|piece| stream.push(piece, &mut out));
                assert_eq!(pushed.and_then(|()| stream.finish(&mut out)), Err(Fault::Found), "{size}");
            }
        }
    }

    /// Text that does not become small, a token at its end, and all of it compressed: more than is looked at at once.
    fn long() -> [Vec<u8>; 2] {
        let mut state = 7_u32;
        let mut word = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (0..6).map(|at| char::from(b'a' + (state >> (4 * at + 2)) as u8 % 16)).chain([' ']).collect::<String>()
        };
        let text = (0..60_000).map(|_| word()).collect::<String>() + TOKEN;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        [encoder.finish().unwrap(), zstd::encode_all(text.as_bytes(), 0).unwrap()]
    }

    #[test]
    fn what_is_undone_of_a_body_is_looked_at_to_its_end_and_to_where_it_is_spoilt() {
        for whole in long() {
            assert!(whole.len() > 3 * 64 * 1024);
            // Its checksum is wrong, if it has one; bytes follow that are none of its coding.
            let mut wrong = whole.clone();
            let at = wrong.len() - 5;
            wrong[at] ^= 1;
            let followed = [&whole[..], b"\xff\xff\xff no coding at all"].concat();
            let wrong = if whole.starts_with(&[0x1f]) { &wrong } else { &whole };
            for body in [&whole, wrong, &followed] {
                for size in [1000, 30_001, body.len()] {
                    let (mut stream, mut out) = (stream(blocking()), Vec::new());
                    let pushed = body.chunks(size).try_for_each(|piece| stream.push(piece, &mut out));
                    let ended = pushed.and_then(|()| stream.finish(&mut out));
                    assert_eq!(ended, Err(Fault::Found), "{:?}… of {} by {size}", &body[..2], body.len());
                }
            }
        }
    }

    #[test]
    fn what_grows_too_much_is_not_passed_unseen() {
        let bomb = zstd::encode_all(&[&vec![b' '; 64 << 20], TOKEN.as_bytes()].concat()[..], 0).unwrap();
        let (mut stream, mut out) = (stream(blocking()), Vec::new());
        assert_eq!(stream.push(&bomb, &mut out), Err(Fault::Exhausted));
    }

    #[test]
    fn what_goes_on_behind_a_division_is_no_value_by_itself() {
        // Nothing of the run is held back with what stands before the brace, and the value goes on into it.
        for (body, values) in [
            (format!("password: hunter2hunter2{{{}", "a0a+aAAa00A+".repeat(20)), 0),
            (format!("password: hunter2hunter2{{{} ", "a0a+".repeat(3)), 1),
            ("password: hunter2hunter2{".to_owned(), 1),
        ] {
            for cut in 1..body.len() {
                let (mut stream, mut out) = (stream(doing(Action::Redact)), Vec::new());
                let (first, rest) = body.as_bytes().split_at(cut);
                stream.push(first, &mut out).unwrap();
                stream.push(rest, &mut out).unwrap();
                stream.finish(&mut out).unwrap();
                assert_eq!(stream.findings().len(), values, "{body} cut at {cut}");
                assert!(
                    values == 0 || !String::from_utf8_lossy(&out).contains("hunter2hunter2"),
                    "{body} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn a_stream_takes_no_more_memory_than_it_needs() {
        let (mut stream, mut out) = (stream(blocking()), Vec::new());
        for piece in [&[b'A'; 65536][..], &[b' '; 65536], &[0xff; 65536]] {
            for _ in 0..20 {
                stream.push(piece, &mut out).unwrap();
                assert!(stream.plain.as_ref().unwrap().text.capacity() < 512 * 1024);
            }
        }
        stream.finish(&mut out).unwrap();
        assert_eq!(out.len(), 60 * 65536);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
        #[test]
        fn the_same_is_found_for_every_way_of_cutting_the_same_bytes(
            parts in proptest::collection::vec(proptest::prop_oneof![
                proptest::strategy::Just(TOKEN.to_owned()),
                proptest::strategy::Just("password: hunter2hunter2".to_owned()),
                proptest::strategy::Just("-----BEGIN KEY-----\nAb3dEf6hIj9lMn2pQr5tUv8xYz1bCd4f\nGh7jKl0nOp3r".to_owned()),
                "[ -~\n]{0,60}",
                "[A-Za-z0-9+/]{0,9000}",
            ], 1..12),
            cuts in proptest::collection::vec(1..5000_usize, 1..20),
        ) {
            let body = parts.concat();
            let found = |cuts: &[usize]| {
                let (mut stream, mut out) = (stream(doing(Action::Monitor)), Vec::new());
                let (mut rest, mut sizes) = (body.as_bytes(), cuts.iter().cycle());
                while !rest.is_empty() {
                    let (chunk, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                    stream.push(chunk, &mut out).unwrap();
                    rest = after;
                }
                stream.finish(&mut out).unwrap();
                assert!(out == body.as_bytes());
                let mut found: Vec<_> = stream.findings().iter().map(|f| (f.range.clone(), f.rule.clone())).collect();
                found.sort_by_key(|(range, _)| range.start);
                found
            };
            proptest::prop_assert_eq!(found(&cuts), found(&[usize::MAX]));
        }
    }
}
