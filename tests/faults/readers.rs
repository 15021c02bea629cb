//! Clients that read all the time, and log every error.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::{Client, ConnectOptions, Script, first_error, rows};
use tokio::task::JoinHandle;

/// Between two reads of a client.
const THINK: Duration = Duration::from_millis(20);
/// A while of work, so that there is always some under way; it gives a single row, at its end.
const READ: &str = "select inet_server_port(), count(*) from generate_series(1, 20000)";

/// Clients that read until they are told to stop.
pub(crate) struct Readers {
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Log {
    /// Reads by the server's port.
    answered: HashMap<u16, usize>,
    wrong: Vec<String>,
}

impl Readers {
    pub(crate) async fn start(connect: ConnectOptions, count: usize) -> Readers {
        let (log, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut tasks = Vec::new();
        for number in 0..count {
            let client = connect.clone().connect().await.unwrap();
            tasks.push(tokio::spawn(read(number, client, Arc::clone(&log), Arc::clone(&stop))));
        }
        Readers { log, stop, tasks }
    }

    /// Waits until each of these servers has answered so many more reads.
    pub(crate) async fn answered_by(&self, ports: &[u16], more: usize) {
        let counts = || {
            let log = self.log.lock().unwrap();
            ports.iter().map(|port| log.answered.get(port).copied().unwrap_or(0)).collect::<Vec<_>>()
        };
        let before = counts();
        let answered = async || counts().iter().zip(&before).map(|(now, before)| now - before).min();
        let enough = |least: &Option<usize>| least.is_some_and(|least| least >= more);
        pgweir_tests::eventually("each of the servers answers", answered, enough).await.unwrap();
    }

    /// What went wrong, in words.
    pub(crate) async fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut self.log.lock().unwrap().wrong)
    }
}

async fn read(number: usize, mut client: Client, log: Arc<Mutex<Log>>, stop: Arc<AtomicBool>) {
    if number.is_multiple_of(2) {
        // Its servers must be told so before they read for it.
        client.rows("set work_mem = '7MB'").await.unwrap();
    }
    while !stop.load(Ordering::SeqCst) {
        let script = match number % 3 {
            0 => Script::new().query(READ),
            1 => Script::new().run(READ, &[]).sync(),
            _ => {
                let named = Script::new().parse("s", READ, &[]).bind("", "s", &[]).describe_portal("");
                named.execute("", 0).close_statement("s").sync()
            }
        };
        match client.run(&script).await {
            Ok(frames) => {
                let row = rows(&frames).into_iter().next().unwrap_or_default();
                let mut log = log.lock().unwrap();
                match (first_error(&frames), &row[..]) {
                    (None, [Some(port), Some(count)]) if count == "20000" => {
                        *log.answered.entry(port.parse().unwrap()).or_default() += 1;
                    }
                    (error, _) => log.wrong.push(format!("reader {number}: {error:?} of {frames:?}")),
                }
            }
            Err(error) => {
                log.lock().unwrap().wrong.push(format!("reader {number} was lost: {error}"));
                return;
            }
        }
        tokio::time::sleep(THINK).await;
    }
}
