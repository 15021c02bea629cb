//! The verdict: what is there against what the clients were told.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use localpg::Lsn;

use super::{Operation, Outcome, Place, Token};

/// A report names so many of a kind, and counts the rest.
const SHOWN: usize = 20;

/// What asynchronous replication may lose: what committed on the old primary at or above the position at which the
/// new one was promoted.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    servers: HashMap<u16, (HashMap<u32, Lsn>, Lsn)>,
}

impl Losses {
    /// Nothing may be lost yet.
    pub fn new() -> Losses {
        Losses::default()
    }

    /// The primary on this port was replaced by one that was promoted at `promoted`; `commits`: where each transaction
    /// committed on the old one (`Cluster::commits`).
    pub fn of(mut self, port: u16, commits: HashMap<u32, Lsn>, promoted: Lsn) -> Losses {
        self.servers.insert(port, (commits, promoted));
        self
    }

    /// Where it committed and where the new primary was promoted, if the one lies at or above the other.
    fn forgives(&self, place: Option<Place>) -> Option<(Lsn, Lsn)> {
        let place = place?;
        let (commits, promoted) = self.servers.get(&place.port)?;
        let commit = commits.get(&place.xid)?;
        (commit >= promoted).then_some((*commit, *promoted))
    }
}

/// A confirmed transaction that asynchronous replication has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Which.
    pub token: Token,
    /// Where it committed on the old primary.
    pub commit: Lsn,
    /// Where the new one was promoted.
    pub promoted: Lsn,
}

/// What contradicts what a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of which operation.
    pub token: Token,
    /// What its client was told: ok, the error, nothing.
    pub told: String,
    /// What is the matter.
    pub what: What,
}

/// The kinds of violations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was confirmed and isn't there.
    Missing,
    /// It was refused and is there.
    There,
    /// A row of it is there more than once.
    Twice,
    /// Some of its rows are there and some aren't.
    InPart,
    /// Nobody wrote it.
    Strange,
    /// Its client was never told anything.
    Unanswered,
}

/// What a comparison came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many were confirmed.
    pub ok: usize,
    /// How many were refused.
    pub refused: usize,
    /// How many are unknown to their clients, and how many of these are there.
    pub unknown: (usize, usize),
    /// Confirmed ones that are lost, as asynchronous replication may.
    pub lost: Vec<Lost>,
    /// What must not be.
    pub violations: Vec<Violation>,
    /// The longest time from the first message of an operation to its end.
    pub longest: Duration,
}

impl Report {
    pub(super) fn judge(
        &mut self,
        operation: Operation,
        rows: &BTreeMap<u32, usize>,
        losses: Option<&Losses>,
    ) {
        let Operation { token, began, ended, place, .. } = operation;
        let presence = Presence::of(rows, operation.rows);
        let told = || match &ended {
            Some((_, Outcome::Ok)) => "ok".to_owned(),
            Some((_, Outcome::Refused(error))) => error.to_string(),
            Some((_, Outcome::Unknown(why))) => why.clone(),
            None => "nothing".to_owned(),
        };
        let violates = |what| Some(Violation { token, told: told(), what });
        let forgiven = losses.and_then(|losses| losses.forgives(place));
        let violation = match (presence, ended.as_ref().map(|(_, outcome)| outcome)) {
            (_, None) => violates(What::Unanswered),
            (Presence::Twice, _) => violates(What::Twice),
            (Presence::InPart, _) => violates(What::InPart),
            (Presence::Whole, Some(Outcome::Refused(_))) => violates(What::There),
            (Presence::No, Some(Outcome::Ok)) => match forgiven {
                Some((commit, promoted)) => {
                    self.lost.push(Lost { token, commit, promoted });
                    None
                }
                None => violates(What::Missing),
            },
            (Presence::Whole, Some(Outcome::Ok | Outcome::Unknown(_)))
            | (Presence::No, Some(Outcome::Refused(_) | Outcome::Unknown(_))) => None,
        };
        self.violations.extend(violation);
        match ended.as_ref().map(|(_, outcome)| outcome) {
            Some(Outcome::Ok) => self.ok += 1,
            Some(Outcome::Refused(_)) => self.refused += 1,
            Some(Outcome::Unknown(_)) => {
                self.unknown.0 += 1;
                self.unknown.1 += usize::from(presence == Presence::Whole);
            }
            None => {}
        }
        if let Some((ended, _)) = ended {
            self.longest = self.longest.max(ended - began);
        }
    }

    /// Whether nothing contradicts what the clients were told.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unknown, there) = self.unknown;
        write!(
            f,
            "{} ok, {} refused, {unknown} unknown ({there} of them are there), ",
            self.ok, self.refused
        )?;
        write!(
            f,
            "{} lost above the promoted position, the longest took {:?}; ",
            self.lost.len(),
            self.longest
        )?;
        writeln!(f, "{} violations", self.violations.len())?;
        for Lost { token, commit, promoted } in self.lost.iter().take(SHOWN) {
            writeln!(f, "  token {}: ok, lost: committed at {commit}, promoted at {promoted}", token.0)?;
        }
        for Violation { token, told, what } in self.violations.iter().take(SHOWN) {
            writeln!(f, "  token {}: its client was told: {told}; {what}", token.0)?;
        }
        let more = [self.lost.len(), self.violations.len()].map(|count| count.saturating_sub(SHOWN));
        if more != [0, 0] {
            writeln!(f, "  … {} lost and {} violations more", more[0], more[1])
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Missing => "it isn't there",
            What::There => "it is there",
            What::Twice => "a row of it is there more than once",
            What::InPart => "it is there in part",
            What::Strange => "it is there: nobody wrote it",
            What::Unanswered => "it was never told more",
        })
    }
}

/// How much of an operation is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    No,
    Whole,
    InPart,
    Twice,
}

impl Presence {
    fn of(found: &BTreeMap<u32, usize>, rows: u32) -> Presence {
        if found.values().any(|count| *count > 1) {
            Presence::Twice
        } else if found.is_empty() {
            Presence::No
        } else if found.keys().copied().eq(0..rows) {
            Presence::Whole
        } else {
            Presence::InPart
        }
    }
}
