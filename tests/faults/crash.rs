//! A primary is killed, a replica promoted.

use testkit::Lsn;
use testkit::history::{Losses, Outcome};
use tokio::task::block_in_place;

use crate::idle::Idle;
use crate::switchover::only_what_was_under_way;
use crate::world::{Ending, WAIT, World};
use crate::writers::Writers;

const WRITERS: usize = 100;
/// Where the next record of the primary will begin.
const POSITION: &str = "select pg_current_wal_insert_lsn()";

/// Every write that was confirmed is there.
pub(crate) async fn synchronous(world: &World) {
    let writers = Writers::start(world.pgweir.client("app", "app"), WRITERS).await;
    writers.confirm(WRITERS).await;
    writers.log.forget();
    let idle = Idle::connect(world).await;
    let (old, gone) = world.end_primary(Ending::Killed);
    let idle = idle.write(&writers.log);
    world.promote(old, world.most_advanced());
    idle.without_error().await;
    writers.all_write().await;
    only_what_was_under_way(&writers.log, gone);
    let log = writers.finish().await;
    let report = world.verdict(&log.history, None);
    assert!(report.is_clean() && report.longest < WAIT, "{report}");
}

/// The replicas are cut off for a while before the primary is killed: what it confirmed since then is lost, and reported;
/// nothing else is.
pub(crate) async fn asynchronous(world: &World) {
    let begin = world.position(0, POSITION);
    let writers = Writers::start(world.pgweir.client("app", "app"), WRITERS).await;
    writers.confirm(WRITERS).await;
    cut_off(world, &[1, 2]).await;
    writers.confirm(WRITERS).await;
    writers.log.forget();
    let (old, gone) = world.end_primary(Ending::Killed);
    let to = world.most_advanced();
    world.promote(old, to);
    writers.all_write().await;
    only_what_was_under_way(&writers.log, gone);
    let losses = losses(world, old, to, begin);
    let log = writers.finish().await;
    let report = world.verdict(&log.history, Some(&losses));
    assert!(report.is_clean() && report.longest < WAIT, "{report}");
    assert!(report.lost.len() >= WRITERS, "{report}");
    assert!(report.lost.iter().all(|lost| lost.commit >= lost.promoted), "{report}");
    let confirmed = log.history.snapshot();
    let confirmed = confirmed.iter().filter(|operation| matches!(operation.ended, Some((_, Outcome::Ok))));
    assert!(report.lost.len() < confirmed.count(), "{report}");
}

/// What may be lost with the old primary.
fn losses(world: &World, old: usize, new: usize, begin: Lsn) -> Losses {
    let promoted = block_in_place(|| world.cluster.switch_point(new).unwrap().unwrap());
    let commits = block_in_place(|| world.cluster.commits(old, 1, begin).unwrap());
    Losses::new().of(world.cluster.node(old).unwrap().port(), commits, promoted)
}

/// These replicas get nothing any more.
pub(crate) async fn cut_off(world: &World, replicas: &[usize]) {
    for replica in replicas {
        block_in_place(|| world.cluster.configure(*replica, "primary_conninfo", "").unwrap());
    }
    let left = async || {
        let primary = world.cluster.primary().index();
        let sql = "select count(*) from pg_stat_replication";
        block_in_place(|| world.cluster.psql(primary, "postgres", sql).unwrap())
    };
    pgweir_tests::eventually("replicas are cut off", left, |left| left == "0").await.unwrap();
}
