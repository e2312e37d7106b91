//! What can be wrong with a journal, in a sentence each.

use std::fmt;

use serde::{Serialize, Serializer};

use super::super::chain::Link;
use super::super::checkpoint::{BadCheckpoint, PublicKey};

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bad {
    /// The first record that is not as it should be, or is not there; none where it is the whole.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Place {
    /// The segment's file name.
    pub file: Box<str>,
    /// The line in it, from 1; 0 for the file as such.
    pub line: u64,
    /// The number that the record has in its chain, as far as it says so.
    pub seq: Option<u64>,
}

impl Bad {
    pub(super) fn nowhere(problem: Problem) -> Box<Self> {
        Box::new(Self { place: None, problem })
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line, seq }) = &self.place {
            write!(f, "`{file}`")?;
            if *line > 0 {
                write!(f, " line {line}")?;
            }
            if let Some(seq) = seq {
                write!(f, " (record {seq})")?;
            }
            f.write_str(": ")?;
        }
        self.problem.fmt(f)
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The hash is that of another text.
    #[error("this record, or the one before it, was changed: its hash is not that of its text")]
    Changed,
    /// The line does not end with a number and a hash.
    #[error("this line is no record: it was changed or put in, or a disk has lost it")]
    NoRecord,
    /// Longer than any of ours.
    #[error("this line is longer than any record: it was changed or put in")]
    TooLong,
    /// The first and the last number that are not there.
    #[error("{} before this one: removed, or the number here was changed", missing(*.0, *.1))]
    Missing(u64, u64),
    /// Which number should be here.
    #[error("records stand in another order than they were written: record {0} belongs here")]
    Moved(u64),
    /// The same line again.
    #[error("this record stands here a second time")]
    Twice,
    /// How many, and the segment that goes on from them.
    #[error("the end of this segment was cut off: {} that `{}` goes on from", lost(*.0), .1)]
    EndCut(u64, Box<str>),
    /// What precedes the segment, and what it says precedes it.
    #[error("this segment does not go on from what stands before it ({}) but from {}: something was removed, put in or exchanged", name(.0), .1.as_ref().map_or("nothing".into(), name))]
    NotJoined(Link, Option<Link>),
    /// A segment that does not begin as one.
    #[error("this segment does not begin with its first line: that was removed or changed")]
    NoHeader,
    /// The beginning of a segment, further on.
    #[error("the first line of a segment stands inside one: segments were put together")]
    HeaderInside,
    /// The number that the segment has.
    #[error("this file holds segment {0}: it was renamed, or another one's")]
    Renamed(u64),
    /// A number that two files have.
    #[error("two files hold a segment {0}: one was put in")]
    SameNumber(u64),
    /// The numbers of the first and the last that are not there.
    #[error("{} before this one: removed, and not by the journal itself", if .0 == .1 { format!("segment {} is missing", .0) } else { format!("segments {} to {} are missing", .0, .1) })]
    SegmentsMissing(u64, u64),
    /// The number of the oldest segment, and what precedes it.
    #[error("the journal begins with segment {}{}, and nothing on record says that what was before it was removed for its age or size", .0, .1.as_ref().map(|after| format!(", after {}", name(after))).unwrap_or_default())]
    BeginningMissing(u64, Option<Link>),
    /// A chain that had ended goes on.
    #[error("a chain goes on here that had ended: segments were moved or put in")]
    ChainAgain,
    /// A line about the journal that nobody can read.
    #[error(
        "this line about the journal itself cannot be understood: it was not written by attaché, or by a later version"
    )]
    NoMark,
    /// A signature that is none.
    #[error("this checkpoint is forged: {0}")]
    Forged(BadCheckpoint),
    /// Another's signature.
    #[error("another key than that of this chain stands here: it was not written by the same run of the service")]
    OtherKey,
    /// A checkpoint that says something else than what precedes it.
    #[error("this checkpoint is about {}, which is not the record before it: it was moved, or the records before it were written anew", name(.0))]
    Misplaced(Link),
    /// A given checkpoint has another hash for this record.
    #[error(
        "the checkpoint that was given says that this record was another: it, or something before it, was written anew"
    )]
    Rewritten,
    /// What a given checkpoint names, and the last record that is there.
    #[error("the end of the chain was cut off: the checkpoint that was given proves {}, and the last one there is record {}", name(.0), .1)]
    TailCut(Link, u64),
    /// What a given checkpoint names.
    #[error("the checkpoint that was given proves {}, and no record of that chain is here: it is another journal's, or the chain was removed", name(.0))]
    ChainUnknown(Link),
    /// A given checkpoint is not signed as it says.
    #[error("the checkpoint that was given for {} proves nothing: {}", name(.0), .1)]
    ExpectedForged(Link, BadCheckpoint),
    /// A given checkpoint is not signed with a given key.
    #[error("the checkpoint that was given for {} is not signed with the key that was given", name(.0))]
    ExpectedOfOther(Link),
    /// A given key that no chain has.
    #[error("no chain here has the key `{}` that was given: the journal is another one, or was written anew", .0.as_str())]
    KeyUnknown(PublicKey),
}

impl Problem {
    /// A word for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Changed | Self::NoRecord | Self::TooLong | Self::NoHeader | Self::NoMark | Self::Rewritten => "edit",
            Self::Missing(..) => "gap",
            Self::Moved(_) | Self::HeaderInside | Self::Renamed(_) | Self::ChainAgain | Self::NotJoined(..) => {
                "reorder"
            }
            Self::Twice | Self::SameNumber(_) => "duplicate",
            Self::SegmentsMissing(..) | Self::BeginningMissing(..) => "removed",
            Self::EndCut(..) | Self::TailCut(..) | Self::ChainUnknown(_) => "cut",
            Self::Forged(_)
            | Self::OtherKey
            | Self::Misplaced(_)
            | Self::ExpectedForged(..)
            | Self::ExpectedOfOther(_)
            | Self::KeyUnknown(_) => "checkpoint",
        }
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Said {
            kind: &'static str,
            message: String,
        }
        Said { kind: self.kind(), message: self.to_string() }.serialize(serializer)
    }
}

fn name(link: &Link) -> String {
    format!("record {} of chain {}", link.seq, link.chain)
}

fn lost(count: u64) -> String {
    if count == 1 { "1 record is missing".to_owned() } else { format!("{count} records are missing") }
}

fn missing(first: u64, last: u64) -> String {
    if first == last { format!("record {first} is missing") } else { format!("records {first} to {last} are missing") }
}
