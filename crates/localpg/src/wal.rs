//! Positions in the WAL: where a node's timeline began, and where each transaction committed.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{Cluster, Error, Result, SUPERUSER};

const QUESTION_LIMIT: Duration = Duration::from_secs(10);
const DUMP_LIMIT: Duration = Duration::from_secs(60);

/// The end of the file names the timeline before, the position up to which it is part of this one, and why.
const HISTORY: &str = "SELECT pg_read_file('pg_wal/' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) \
    || '.history', 0, 65536, true)";

/// A position in the WAL (`pg_lsn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl FromStr for Lsn {
    type Err = String;

    /// As Postgres writes it: two hexadecimal numbers, `16/B374D848`.
    fn from_str(text: &str) -> Result<Lsn, String> {
        let number = |half: &str| u32::from_str_radix(half, 16).map(u64::from);
        match text.split_once('/').map(|(high, low)| (number(high), number(low))) {
            Some((Ok(high), Ok(low))) => Ok(Lsn(high << 32 | low)),
            _ => Err(format!("{text:?} is no position in the WAL")),
        }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl Cluster {
    /// Where the timeline of a primary began, which is the position at which it was promoted: what begins there or
    /// above on the timeline before isn't part of it. `None`: it has not been promoted.
    ///
    /// # Errors
    /// [`Error::Program`] if it is no primary.
    pub fn switch_point(&self, index: usize) -> Result<Option<Lsn>> {
        let history = self.node(index)?.psql(SUPERUSER, "postgres", HISTORY, QUESTION_LIMIT)?;
        let last = history.lines().rev().find(|line| !line.trim().is_empty());
        let position = last.and_then(|line| line.split_whitespace().nth(1));
        position.map(|text| text.parse().map_err(|why: String| unreadable(&why))).transpose()
    }

    /// Where each transaction of a timeline committed: the position at which its commit record begins, by its 32-bit
    /// xid, from the files of a node (which need not run) from `from` on.
    ///
    /// # Errors
    /// [`Error::Io`] if `pg_waldump` can't be run or finds nothing to read.
    pub fn commits(&self, index: usize, timeline: u32, from: Lsn) -> Result<HashMap<u32, Lsn>> {
        let node = self.node(index)?;
        let wal = node.data_dir().join("pg_wal");
        let (wal, timeline, from) = (wal.to_string_lossy(), timeline.to_string(), from.to_string());
        let arguments = ["-p", &wal, "-t", &timeline, "-s", &from, "--rmgr=Transaction"];
        // It fails at the end of what was written, as it always does on a file that isn't full.
        let (text, errors) = node.run_to_any_end("pg_waldump", &arguments, DUMP_LIMIT)?;
        let commits: HashMap<_, _> = text.lines().filter_map(commit).collect();
        if text.is_empty() && !errors.is_empty() {
            return Err(unreadable(&errors));
        }
        Ok(commits)
    }
}

/// Xid and position of a commit, from a line such as `rmgr: Transaction len (rec/tot): 34/ 34, tx: 738, lsn:
/// 0/0153F2D8, prev 0/0153F2A8, desc: COMMIT 2024-…`.
fn commit(line: &str) -> Option<(u32, Lsn)> {
    let after = |name: &str| line.split_once(name).map(|(_, rest)| rest.trim_start());
    after("desc: ").filter(|text| text.starts_with("COMMIT"))?;
    let xid = after("tx:")?.split(',').next()?.parse().ok()?;
    Some((xid, after("lsn:")?.split(',').next()?.parse().ok()?))
}

fn unreadable(why: &str) -> Error {
    Error::io("read the WAL")(std::io::Error::other(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_and_written_as_postgres_does() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        assert!("1/0".parse::<Lsn>().unwrap() > "0/FFFFFFFF".parse().unwrap());
        for wrong in ["", "16", "16/", "x/1", "1/123456789"] {
            assert!(wrong.parse::<Lsn>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_commits_are_taken_from_a_dump() {
        let line = |desc: &str| {
            format!(
                "rmgr: Transaction len (rec/tot): 34/ 34, tx:  738, lsn: 0/0153F2D8, prev 0/0153F2A8, desc: {desc}"
            )
        };
        assert_eq!(commit(&line("COMMIT 2024-01-01 00:00:00")), Some((738, Lsn(0x0153_F2D8))));
        assert_eq!(commit(&line("ABORT 2024-01-01 00:00:00")), None);
        assert_eq!(commit("pg_waldump: error: invalid record length"), None);
    }
}
