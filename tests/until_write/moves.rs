//! Where transactions read that nobody compares: who says so, and what is left behind.

use pgweir_tests::world::soon;
use testkit::{Script, first_error, rows};

use crate::ground::{Ground, value};

/// SET, the startup packet, and the database say it.
pub(crate) async fn said_by(ground: &Ground) {
    let mut client = ground.client().await;
    assert_eq!(client.value("show pgweir.transactions").await.unwrap(), "replica_until_write");
    client.rows("set pgweir.transactions = 'primary'").await.unwrap();
    client.rows("begin").await.unwrap();
    client.rows("select 1").await.unwrap();
    assert_eq!(ground.place(&mut client).await, 'p');
    client.rows("commit").await.unwrap();
    client.rows("reset pgweir.transactions").await.unwrap();
    client.rows("begin").await.unwrap();
    client.rows("select 1").await.unwrap();
    assert_eq!(ground.place(&mut client).await, 'r');
    // From here on this one too.
    client.rows("set pgweir.transactions = 'primary'").await.unwrap();
    client.rows("select 1").await.unwrap();
    assert_eq!(ground.place(&mut client).await, 'p');
    client.rows("rollback").await.unwrap();
    assert_eq!(client.value("show pgweir.transactions").await.unwrap(), "replica_until_write");
    let refused = client.query("set pgweir.transactions = 'somewhere'").await.unwrap();
    assert_eq!(first_error(&refused).unwrap().code, "22023");

    let plain = || ground.pgweir.client("app", "plain");
    for (client, expected) in
        [(plain(), 'p'), (plain().parameter("pgweir.transactions", "replica_until_write"), 'r')]
    {
        let mut client = client.connect().await.unwrap();
        client.rows("begin").await.unwrap();
        client.rows("select 1").await.unwrap();
        assert_eq!(ground.place(&mut client).await, expected);
        client.rows("rollback").await.unwrap();
    }
    let hinted = |hint: &str| format!("/* pgweir: role={hint} */ select 1");
    for (begin, read, expected) in [
        ("begin", hinted("primary"), 'p'),
        ("begin", hinted("replica"), 'r'),
        ("/* pgweir: role=primary */ begin", "select 1".to_owned(), 'p'),
    ] {
        client.rows(begin).await.unwrap();
        client.rows("select 2").await.unwrap();
        client.rows(&read).await.unwrap();
        assert_eq!(ground.place(&mut client).await, expected, "{begin}, {read}");
        client.rows("insert into log (what) values ('hinted')").await.unwrap();
        assert_eq!(ground.place(&mut client).await, 'p');
        client.rows("rollback").await.unwrap();
    }
}

/// Its connection there is idle again as soon as the transaction has moved, with its statements and nothing else.
pub(crate) async fn leaves_nothing(ground: &Ground) {
    let mut clients = Vec::new();
    for number in 0..4 {
        let mut client = ground.client().await;
        client.rows("begin").await.unwrap();
        client.rows("set local app.mine to 'behind'").await.unwrap();
        client
            .run(&Script::new().run("select v from items where id = $1", &[Some("1")]).sync())
            .await
            .unwrap();
        assert_eq!(ground.place(&mut client).await, 'r');
        client.rows(&format!("insert into log (what) values ('left {number}')")).await.unwrap();
        clients.push(client);
        let open = "select count(*) from pg_stat_activity where usename = 'app' and state like 'idle in%'";
        soon("the replica's transaction is over", async || {
            ground.cluster.psql(1, "app", open).unwrap().trim() == "0"
        })
        .await;
        if number % 2 == 1 {
            for mut client in clients.drain(..) {
                client.rows("commit").await.unwrap();
            }
        }
    }
    let mut other = ground.client().await;
    for _ in 0..4 {
        let left = other.value("select coalesce(current_setting('app.mine', true), '')").await.unwrap();
        assert_eq!(left, "");
    }
    assert_eq!(ground.found("select count(*) from log where what like 'left %'"), "4");
}

/// What a role's own default is nobody is told: it is asked for.
pub(crate) async fn isolation_of_a_role(ground: &Ground) {
    ground
        .cluster
        .psql(0, "app", "alter role app set default_transaction_isolation to 'repeatable read'")
        .unwrap();
    let pgweir = testkit::Pgweir::start(&crate::ground::setup(&ground.cluster)).await.unwrap();
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    for _ in 0..2 {
        client.rows("begin").await.unwrap();
        let level = client.value("select current_setting('transaction_isolation')").await.unwrap();
        assert_eq!((level.as_str(), ground.place(&mut client).await), ("repeatable read", 'p'));
        client.rows("commit").await.unwrap();
    }
    client.rows("begin isolation level read committed").await.unwrap();
    client.rows("select 1").await.unwrap();
    assert_eq!(ground.place(&mut client).await, 'r');
    client.rows("commit").await.unwrap();
    ground.cluster.psql(0, "app", "alter role app reset default_transaction_isolation").unwrap();
}

/// What a replica has refused goes to the primary at once the next time.
pub(crate) async fn hidden_write(ground: &Ground) {
    let mut client = ground.client().await;
    for expected in ["reads", "refused"] {
        client.rows("begin").await.unwrap();
        client.rows("select 1").await.unwrap();
        client.rows("select taken, 'learned' from ticket").await.unwrap();
        let route = client.rows("show pgweir.route").await.unwrap().remove(0);
        assert!(route[4].as_ref().unwrap().contains("has refused"), "{expected}: {route:?}");
        assert_eq!(ground.place(&mut client).await, 'p');
        client.rows("commit").await.unwrap();
    }
}

/// Each shape has its places in SHOW ROUTES, without its literals.
pub(crate) async fn shown(ground: &Ground) {
    let mut client = ground.client().await;
    let read = |id: u32| format!("select v as routed from items where id = {id} and v <> 'secret'");
    for id in 1..=3 {
        client.rows(&read(id)).await.unwrap();
    }
    client.rows("begin").await.unwrap();
    client.rows(&read(4)).await.unwrap();
    client.rows("insert into log (what) values ('routed')").await.unwrap();
    for id in 1..=2 {
        client.run(&Script::new().run(&read(id), &[]).sync()).await.unwrap();
    }
    client.rows("rollback").await.unwrap();
    let mut console = ground.pgweir.console().await.unwrap();
    let frames = console.query("SHOW ROUTES").await.unwrap();
    let shape = "select v as routed from items where id = ? and v <> ?";
    let mut found: Vec<Vec<String>> = rows(&frames)
        .into_iter()
        .map(|row| row.into_iter().map(|value| value.unwrap_or_default()).collect::<Vec<_>>())
        .filter(|row| row[1] == shape)
        .collect();
    found.sort();
    let row = |count: &str, role: &str, reason: &str, why: &str| {
        ["app", shape, count, "", role, reason, why].map(str::to_owned).to_vec()
    };
    let expected = [
        row("1", "replica", "until_write", "reads in a transaction that has not written"),
        row("2", "primary", "in_transaction", "in a transaction that is open there"),
        row("3", "replica", "reads", "reads only"),
    ];
    assert_eq!(found, expected);
    let all = rows(&frames).into_iter().flatten().flatten().collect::<Vec<_>>().join(" ");
    assert!(!all.contains("secret"), "{all}");
}

/// Who listens is at the primary.
pub(crate) async fn listening(ground: &Ground) {
    let mut client = ground.client().await;
    client.rows("begin").await.unwrap();
    client.rows("select 1").await.unwrap();
    client.rows("listen news").await.unwrap();
    assert_eq!(ground.place(&mut client).await, 'p');
    client.rows("commit").await.unwrap();
    client.rows("begin").await.unwrap();
    client.rows("select 1").await.unwrap();
    assert_eq!(ground.place(&mut client).await, 'p');
    client.rows("notify news, 'here'").await.unwrap();
    let frames = client.query("commit").await.unwrap();
    assert!(frames.iter().any(|frame| frame.tag == b'A'), "{frames:?}");
    client.rows("unlisten *").await.unwrap();
    let frames = client.query("select 1").await.unwrap();
    assert_eq!(value(&frames), "1", "{:?}", rows(&frames));
}
