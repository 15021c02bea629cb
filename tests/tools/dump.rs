//! pg_dump, which needs one session from its beginning to its end.

use pgweir_tests::program::run;
use testkit::{Cluster, Pgweir};

use crate::{LIMIT, To, setup};

/// What pg_dump writes in session mode is what it writes of the server itself.
pub(crate) async fn same_as_direct(direct: To, cluster: &Cluster) {
    let pgweir = Pgweir::start(&setup(cluster).pool_mode("session")).await.unwrap();
    let [expected, found] = [dump(direct).await, dump(To(pgweir.addr().port())).await];
    assert!(expected.contains("CREATE TABLE public.numbers") && expected.contains("COPY public.numbers"));
    assert!(found == expected, "{}", first_difference(&found, &expected));
}

async fn dump(from: To) -> String {
    let text = run(&mut from.tool("pg_dump"), LIMIT).await.unwrap().quietly().unwrap();
    // Newer releases guard a dump with a key of its own.
    let same = |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    text.lines().filter(same).flat_map(|line| [line, "\n"]).collect()
}

fn first_difference(found: &str, expected: &str) -> String {
    let mut lines = found.lines().zip(expected.lines());
    match lines.find(|(found, expected)| found != expected) {
        Some((found, expected)) => format!("{found:?}, not {expected:?}"),
        None => format!("{} bytes, not {}", found.len(), expected.len()),
    }
}
