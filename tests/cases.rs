//! Many cases against one cluster: each is run, each that fails is named.

use std::any::Any;
use std::fmt::{Debug, Display};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// What a case ends with: what was wrong, in words.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What it ends with where this must hold.
///
/// # Errors
/// It doesn't.
pub fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what().into()) }
}

/// No case takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// The cases of a theme, run one after the other. `CASE=text` in the environment runs only those whose name has it.
#[derive(Debug, Default)]
pub struct Cases {
    only: Option<String>,
    ran: usize,
    failed: Vec<String>,
}

impl Cases {
    /// None yet.
    pub fn new() -> Cases {
        Cases { only: std::env::var("CASE").ok(), ..Cases::default() }
    }

    /// Runs a case: it fails by a panic, or if it takes a minute.
    pub async fn run(&mut self, name: &str, case: impl Future<Output = ()>) {
        if self.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            return;
        }
        self.ran += 1;
        let mut case = pin!(case);
        let guarded = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| case.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        });
        match tokio::time::timeout(LIMIT, guarded).await {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => self.failed.push(format!("{name}: {}", words(&*panic))),
            Err(_) => self.failed.push(format!("{name}: not over after {LIMIT:?}")),
        }
    }

    /// As [`Cases::run`], for a case that says itself what was wrong.
    pub async fn check(&mut self, name: &str, case: impl Future<Output = Outcome>) {
        self.run(name, async { case.await.unwrap_or_else(|wrong| panic!("{wrong}")) }).await;
    }

    /// Notes how a case ended that is no future, or says what was wrong by itself.
    pub fn add(&mut self, name: impl Display, outcome: Outcome) {
        self.ran += 1;
        if let Err(wrong) = outcome {
            self.failed.push(format!("{name}: {wrong}"));
        }
    }

    /// Notes a case that compares two values.
    pub fn same<T: PartialEq + Debug>(&mut self, name: impl Display, found: T, expected: T) {
        let equal = found == expected;
        self.add(name, if equal { Ok(()) } else { Err(format!("{found:?}, not {expected:?}").into()) });
    }

    /// The end: a panic that names what failed.
    ///
    /// # Panics
    /// If a case failed, or none was run.
    pub fn finish(self) {
        assert!(self.ran > 0, "no case has {:?} in its name", self.only);
        let (failed, ran) = (self.failed.len(), self.ran);
        assert!(self.failed.is_empty(), "{failed} of {ran} cases failed:\n- {}", self.failed.join("\n- "));
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
