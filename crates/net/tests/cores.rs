//! Cores: a state each, on a thread of its own, that outlives the mistakes of single tasks.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use pgweir_net::{CoreGone, CoreOptions, Cores};
use tokio::sync::oneshot;

#[test]
fn each_core_has_its_own_state_and_thread() {
    let cores = Cores::start(3, |index| (index, Cell::new(0))).unwrap();
    let door = pgweir_net::slow_runtime().unwrap();
    for round in 1..=2 {
        for (expected, handle) in cores.handles().iter().enumerate() {
            let (index, count, thread) = door
                .block_on(handle.ask(|state| {
                    state.1.set(state.1.get() + 1);
                    (state.0, state.1.get(), std::thread::current().name().map(str::to_owned))
                }))
                .unwrap();
            assert_eq!((index.0, count), (expected, round));
            assert_eq!(thread.as_deref(), Some(format!("pgweir-core-{expected}").as_str()));
        }
    }
    cores.shutdown();
}

#[test]
fn local_tasks_share_the_state_and_may_wait() {
    let cores = Cores::start(1, |_| RefCell::new(Vec::new())).unwrap();
    let (first, second) = (oneshot::channel::<()>(), oneshot::channel());
    cores.handles()[0]
        .run(|state| {
            let state = Rc::clone(state);
            tokio::task::spawn_local(async move {
                first.1.await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
                state.borrow_mut().push("task");
                second.0.send(state.borrow().clone()).unwrap();
            });
        })
        .unwrap();
    cores.handles()[0].run(|state| state.borrow_mut().push("job")).unwrap();
    first.0.send(()).unwrap();
    assert_eq!(second.1.blocking_recv().unwrap(), ["job", "task"]);
}

#[test]
fn a_panic_harms_only_its_own_job() {
    let cores = Cores::start(1, |_| ()).unwrap();
    let door = pgweir_net::slow_runtime().unwrap();
    let handle = &cores.handles()[0];
    assert_eq!(door.block_on(handle.ask(|_| panic!("a bug in a job"))), Err(CoreGone(0)));
    handle.run(|_| drop(tokio::task::spawn_local(async { panic!("a bug in a task") }))).unwrap();
    assert_eq!(door.block_on(handle.ask(|_| 42)), Ok(42));
}

#[test]
fn cores_know_each_other_from_the_start() {
    let cores = Cores::start_with(2, CoreOptions::default(), |index, all| {
        let (reply, answer) = oneshot::channel();
        all[1 - index.0].run(move |_| reply.send(index).unwrap()).unwrap();
        RefCell::new(Some(answer))
    })
    .unwrap();
    let door = pgweir_net::slow_runtime().unwrap();
    for handle in cores.handles().iter() {
        let answer = door.block_on(handle.ask(|state| state.take())).unwrap().unwrap();
        assert_eq!(answer.blocking_recv().unwrap(), handle.index());
    }
}

#[test]
fn shutdown_drops_what_waits_and_closes_the_queue() {
    struct Witness(mpsc::Sender<&'static str>);
    impl Drop for Witness {
        fn drop(&mut self) {
            self.0.send("dropped").unwrap();
        }
    }
    let (sender, seen) = mpsc::channel();
    let cores = Cores::start(1, |_| ()).unwrap();
    let handle = cores.handles()[0].clone();
    let witness = Witness(sender);
    let task = async move {
        std::future::pending::<()>().await;
        drop(witness);
    };
    handle.run(move |_| drop(tokio::task::spawn_local(task))).unwrap();
    cores.shutdown();
    assert_eq!(seen.recv(), Ok("dropped"));
    assert_eq!(handle.run(|_| ()), Err(CoreGone(0)));
}

#[test]
fn a_state_that_cannot_be_made_is_an_error() {
    let started = Cores::start(2, |index| assert_eq!(index.0, 0, "no state for the second core"));
    assert!(started.is_err());
}
