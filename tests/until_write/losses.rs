//! A replica that is lost under a transaction that has only read.

use std::time::Duration;

use testkit::{Mode, first_error};

use crate::ground::Ground;

/// Between two statements and in the middle of one the transaction goes on on the primary, with all that it has set.
pub(crate) async fn replica_is_lost(ground: &mut Ground) {
    ground.cluster.configure(0, "synchronous_standby_names", "").unwrap();
    let mut idle = ground.client().await;
    for sql in ["begin", "set local app.x to 'kept'", "savepoint a", "select v from items where id = 1"] {
        idle.rows(sql).await.unwrap();
    }
    assert_eq!(ground.place(&mut idle).await, 'r');
    let mut busy = ground.client().await;
    busy.rows("begin").await.unwrap();
    busy.rows("set app.y to 'for good'").await.unwrap();
    busy.send(testkit::Script::new().query("select pg_sleep(0.5), current_setting('app.y')").bytes())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    ground.cluster.stop(1, Mode::Immediate).unwrap();
    let frames = busy.read_until_ready().await.unwrap();
    assert!(first_error(&frames).is_none(), "{frames:?}");
    assert_eq!(testkit::rows(&frames)[0][1].as_deref(), Some("for good"));
    assert_eq!(ground.place(&mut busy).await, 'p');
    busy.rows("commit").await.unwrap();
    assert_eq!(busy.value("select current_setting('app.y')").await.unwrap(), "for good");

    assert_eq!(idle.value("select current_setting('app.x')").await.unwrap(), "kept");
    assert_eq!(ground.place(&mut idle).await, 'p');
    for sql in [
        "insert into log (what) values ('gone')",
        "rollback to a",
        "insert into log (what) values ('there')",
        "commit",
    ] {
        idle.rows(sql).await.unwrap();
    }
    assert_eq!(
        ground.found("select string_agg(what, ' ') from log where what in ('gone', 'there')"),
        "there"
    );
    ground.cluster.start(1).unwrap();
}
