//! The tour's script: each statement, and where it should go.

use tokio_postgres::types::ToSql;

/// One statement of the tour.
pub(super) struct Step {
    /// What it shows.
    pub(super) title: &'static str,
    pub(super) database: &'static str,
    pub(super) sql: &'static str,
    /// With a value: sent as a prepared statement. Without one: as a simple Query.
    pub(super) parameter: Option<Box<dyn ToSql + Sync>>,
    pub(super) expect: Expect,
}

/// Where a statement should go, or that it should be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// A node of this region and role answers, with this in the first column of its first row, if said.
    Answer { region: &'static str, role: &'static str, value: Option<&'static str> },
    /// It succeeds, wherever it goes: BEGIN is answered before any node is chosen.
    Success,
    /// An error with this SQLSTATE, a DETAIL and a HINT.
    Refused { sqlstate: &'static str },
}

const fn primary(region: &'static str) -> Expect {
    Expect::Answer { region, role: "primary", value: None }
}

const fn replica(region: &'static str) -> Expect {
    Expect::Answer { region, role: "replica", value: None }
}

const fn replica_says(region: &'static str, value: &'static str) -> Expect {
    Expect::Answer { region, role: "replica", value: Some(value) }
}

/// The whole tour, in order; the statements of one database share a session.
pub(super) fn all() -> Vec<Step> {
    let mut steps = Vec::new();
    let mut add = |title, database, sql, expect| {
        steps.push(Step { title, database, sql, parameter: None, expect });
    };

    add("a read", "shop", "SELECT count(*) FROM orders", replica_says("us", "60000"));
    add("another", "shop", "SELECT name, price FROM products ORDER BY price DESC, id LIMIT 1", replica("us"));
    add(
        "a write",
        "shop",
        "INSERT INTO orders (customer_id, product_id, quantity) VALUES (42, 7, 2) RETURNING id",
        Expect::Answer { region: "us", role: "primary", value: Some("60001") },
    );
    add("a read that locks", "shop", "SELECT stock FROM products WHERE id = 7 FOR UPDATE", primary("us"));
    add("a read that writes", "shop", "SELECT nextval('orders_id_seq')", primary("us"));
    add(
        "a WITH that writes",
        "shop",
        "WITH sold AS (UPDATE products SET stock = stock - 2 WHERE id = 7 RETURNING stock) SELECT stock FROM sold",
        Expect::Answer { region: "us", role: "primary", value: Some("99998") },
    );
    add("a transaction", "shop", "BEGIN", Expect::Success);
    add("stays together: its reads too", "shop", "SELECT stock FROM products WHERE id = 7", primary("us"));
    add("and ends", "shop", "COMMIT", Expect::Success);
    add("a READ ONLY transaction", "shop", "BEGIN READ ONLY", Expect::Success);
    add("reads from a replica", "shop", "SELECT count(*) FROM customers", replica_says("us", "20000"));
    add("and ends", "shop", "COMMIT", Expect::Success);
    add(
        "a read told to use the primary",
        "shop",
        "/* pgweir: role=primary */ SELECT count(*) FROM orders",
        Expect::Answer { region: "us", role: "primary", value: Some("60001") },
    );

    add(
        "a shard key",
        "saas",
        "SELECT count(*) FROM customers WHERE region = 'US'",
        replica_says("us", "3333"),
    );
    add(
        "another region's",
        "saas",
        "SELECT count(*) FROM customers WHERE region = 'FR'",
        replica_says("eu", "3334"),
    );
    add(
        "a write goes to its region's primary",
        "saas",
        "INSERT INTO customers (region, name, plan) VALUES ('DE', 'Rheinfall AG', 'team') RETURNING region",
        Expect::Answer { region: "eu", role: "primary", value: Some("DE") },
    );
    add(
        "an update too",
        "saas",
        "UPDATE customers SET plan = 'company' WHERE region = 'CA' AND id = 1",
        primary("us"),
    );
    add(
        "without a key it would be a partial answer",
        "saas",
        "SELECT count(*) FROM customers",
        Expect::Refused { sqlstate: "0A000" },
    );

    steps.push(Step {
        title: "a prepared statement",
        database: "shop",
        sql: "SELECT name FROM customers WHERE id = $1",
        parameter: Some(Box::new(42_i64)),
        expect: replica_says("us", "Edsger Brook"),
    });
    steps.push(Step {
        title: "a prepared statement, its key a parameter",
        database: "saas",
        sql: "SELECT count(*)::text FROM customers WHERE region = $1",
        parameter: Some(Box::new("ES")),
        expect: replica_says("eu", "3333"),
    });
    steps
}
