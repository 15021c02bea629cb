//! `pgweir demo --check`, which `scripts/demo --check` calls: two regions are started, and each answer of the tour comes
//! from where it should.

use std::time::Duration;

use pgweir_tests::program::run;
use testkit::Pgweir;
use tokio::process::Command;

/// The tour takes no longer, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_tour_goes_as_it_should() {
    let binary = Pgweir::binary().expect("the binary is built");
    let ended = run(Command::new(binary).args(["demo", "--check"]), LIMIT).await;
    let said = ended.and_then(|ended| ended.well()).unwrap_or_else(|why| panic!("{why}"));
    assert!(said.contains("every answer came from where it should"), "{said}");
}
