//! The same bytes against Postgres and through pgweir give the same answer, in transaction and in session mode.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod case;
mod copy;
mod extended;
mod ground;
mod oddities;
mod simple;
mod transactions;

use case::{Case, difference};
use ground::{Ground, Way};

/// What may differ between the two answers, and why. Everything else is compared byte for byte.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "BackendKeyData",
        "a client's key is pgweir's own: a cancel goes to whichever server works for the client",
    ),
    ("order within a run of ParameterStatus", "Postgres promises none"),
    ("the process id in a NotificationResponse", "the sender's server connection isn't the client's"),
    (
        "file, line and routine of errors",
        "an error that pgweir raises itself has no place in Postgres' source",
    ),
];

/// Server connections in transaction mode.
const POOL: usize = 4;

fn cases() -> Vec<Case> {
    [simple::cases(), extended::cases(), transactions::cases(), copy::cases(), oddities::cases()]
        .into_iter()
        .flatten()
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_answers_as_direct() {
    let only = std::env::var("CASE").ok();
    let all = cases();
    let mut names: Vec<_> = all.iter().map(|case| case.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "two cases have one name");
    assert!(all.len() >= 290, "{}", all.len());
    let chosen: Vec<_> = all.iter().filter(|c| only.as_ref().is_none_or(|o| c.name.contains(&**o))).collect();
    assert!(!chosen.is_empty(), "no case has {only:?} in its name");

    let mut ground = Ground::prepare().await;
    let mut failures = Vec::new();
    for case in &chosen {
        let direct = ground.play(case, Way::Direct).await;
        for way in [Way::Transaction, Way::Session, Way::Fragmented] {
            if way == Way::Fragmented && !case.fragmented {
                continue;
            }
            let through = ground.play(case, way).await;
            if let Some(difference) = difference(&direct, &through) {
                failures.push(format!("{} ({way:?})\n{difference}", case.name));
            }
        }
    }
    ground.assert_no_panic();
    let table: Vec<_> = DIFFERENCES.iter().map(|(what, why)| format!("  {what}: {why}")).collect();
    assert!(
        failures.is_empty(),
        "{} of {} differ\n{}\nwhat may differ:\n{}",
        failures.len(),
        chosen.len(),
        failures.join("\n"),
        table.join("\n")
    );
}
