//! Session state in transaction mode: each kind of it, in each situation, is as it would be on a connection of one's own,
//! and nobody else sees any of it.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

#[path = "state/dice.rs"]
mod dice;
#[path = "state/ground.rs"]
mod ground;
#[path = "state/kind.rs"]
mod kind;
#[path = "state/kinds.rs"]
mod kinds;
#[path = "state/random.rs"]
mod random;
#[path = "state/situation.rs"]
mod situation;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use dice::Dice;
use ground::{Ground, Lane};
use kind::Kind;
use kinds::kinds;
use situation::{Protocol, SITUATIONS, Situation};

/// Of the throws of the dice.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// Conversations that are held at the same time.
const LANES: usize = 3;

/// Conversations by chance.
const TALKS: u64 = 100;

/// What came of some cases.
#[derive(Default)]
struct Found {
    ran: usize,
    /// Their names, and what was wrong.
    failed: Vec<(String, String)>,
    /// How many sessions were pinned, by reason.
    pinned: BTreeMap<&'static str, usize>,
}

/// `STATE=all` runs each kind in each situation; else most kinds are seen in the situations that matter most.
/// `CASE=text` runs the cases that have it in their names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_state_in_every_situation() {
    every_kind(0, Situation::is_usual).await;
}

/// The same with a replica that reads go to: all kinds that stand for others, in what may happen to a transaction, in
/// functions, in DO and when the client vanishes; with `STATE=all` each kind in each situation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_state_with_reads_on_a_replica() {
    every_kind(1, Situation::is_one_of_few).await;
}

/// Whether a kind of state is seen in this situation.
type Chosen = fn(&Situation, &Kind, Protocol) -> bool;

async fn every_kind(replicas: usize, chosen: Chosen) {
    let kinds: Arc<[Kind]> = kinds().into();
    let ground = Ground::prepare(&kinds, replicas, LANES).await;
    let mut tasks = Vec::new();
    for (number, lane) in ground.lanes(SEED).await.into_iter().enumerate() {
        tasks.push(tokio::spawn(cases(lane, number, Arc::clone(&kinds), chosen)));
    }
    let mut all = Found::default();
    for task in tasks {
        let found = task.await.unwrap();
        all.ran += found.ran;
        all.failed.extend(found.failed);
        for (reason, count) in found.pinned {
            *all.pinned.entry(reason).or_default() += count;
        }
    }
    ground.assert_no_panic();
    all.judge();
}

/// Conversations by chance, from a fixed seed. `STATE_SEED` and `STATE_TALKS` in the environment choose others, and more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_by_chance() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (seed, talks) = (number("STATE_SEED").unwrap_or(1), number("STATE_TALKS").unwrap_or(TALKS));
    let ground = Ground::prepare(&[], 0, LANES).await;
    let mut tasks = Vec::new();
    for (first, mut lane) in ground.lanes(SEED).await.into_iter().enumerate() {
        tasks.push(tokio::spawn(async move {
            let mut failed = Vec::new();
            for talk in (seed..seed + talks).skip(first).step_by(LANES) {
                let wrong = lane.compare(&random::kind(), &random::talk(&mut Dice::new(talk, 0))).await.err();
                failed.extend(wrong.map(|what| format!("STATE_SEED={talk} STATE_TALKS=1: {what}")));
            }
            failed
        }));
    }
    let mut failed = Vec::new();
    for task in tasks {
        failed.extend(task.await.unwrap());
    }
    ground.assert_no_panic();
    assert!(failed.is_empty(), "{} of {talks} differ:\n- {}", failed.len(), failed.join("\n- "));
}

/// Every so manieth kind of state, in a lane.
async fn cases(mut lane: Lane, first: usize, kinds: Arc<[Kind]>, chosen: Chosen) -> Found {
    let mut found = Found::default();
    let only = std::env::var("CASE").ok();
    let all = only.is_some() || std::env::var("STATE").is_ok_and(|which| which == "all");
    for (number, kind) in kinds.iter().enumerate().skip(first).step_by(LANES) {
        for situation in SITUATIONS {
            for protocol in situation.protocols.iter().filter(|p| all || chosen(situation, kind, **p)) {
                let name = format!("{} / {} / {}", kind.name, situation.name, protocol.name());
                if only.as_ref().is_some_and(|only| !name.contains(&**only)) {
                    continue;
                }
                let Some(talk) = situation.talk(number, kind, *protocol) else { continue };
                found.ran += 1;
                if let Err(what) = lane.compare(kind, &talk).await {
                    found.failed.push((name, what));
                }
            }
        }
    }
    found.pinned = lane.pinned;
    found
}

impl Found {
    /// Reports, and fails if anything did.
    fn judge(self) {
        let Found { ran, failed, pinned } = self;
        let report = format!("{ran} cases; sessions pinned in, by reason: {pinned:?}\n");
        std::io::stderr().write_all(report.as_bytes()).unwrap();
        let failed: Vec<_> = failed.iter().map(|(name, what)| format!("{name}\n    {what}")).collect();
        assert!(ran > 0, "no case has that in its name");
        assert!(failed.is_empty(), "{} of {ran} cases failed:\n- {}", failed.len(), failed.join("\n- "));
    }
}
