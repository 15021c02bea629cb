//! Waiting for what is to become true.

use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(30);

/// Asks again until `holds` is content, for at most 30 s; then the last answer is the error.
///
/// # Errors
/// The last answer, in words.
pub async fn eventually<T: Debug>(
    what: &str,
    mut ask: impl AsyncFnMut() -> T,
    holds: impl Fn(&T) -> bool,
) -> Result<T, Box<dyn Error>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = ask().await;
        if holds(&answer) {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            return Err(format!("{what}: not within {LIMIT:?}; at last {answer:?}").into());
        }
        sleep(Duration::from_millis(20)).await;
    }
}
