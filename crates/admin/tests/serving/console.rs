//! The console as its clients meet it: a login, both protocols, who may do what, and its end.

use std::sync::atomic::Ordering;

use crate::world::World;
use session::Stop;
use testkit::{DEADLINE, Frame, Script, first_error, rows, tags};

fn codes(frames: &[Frame]) -> Vec<String> {
    frames.iter().filter(|frame| frame.tag == b'E').map(|frame| frame.server_error().unwrap().code).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_welcomed_as_by_a_server() {
    let world = World::start().await;
    let mut client = world.console("ops").await;
    let welcome: Vec<u8> = client.startup().iter().map(|frame| frame.tag).collect();
    assert_eq!((welcome.first(), welcome.last()), (Some(&b'R'), Some(&b'Z')));
    assert!(client.parameter("server_version").unwrap().starts_with("15.0 (pgweir "));
    assert_eq!(client.parameter("client_encoding").as_deref(), Some("UTF8"));
    assert_eq!(client.parameter("standard_conforming_strings").as_deref(), Some("on"));
    assert!(client.backend_key().is_some());

    let (version, state) =
        (client.value("show version").await.unwrap(), client.rows("SHOW STATE;").await.unwrap());
    assert!(version.starts_with("pgweir "));
    assert_eq!(state[0], [Some("active".to_owned()), Some("yes".to_owned())]);
    client.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_commands_run_up_to_the_first_that_fails() {
    let world = World::start().await;
    let mut client = world.console("ops").await;
    let frames =
        client.query("SHOW VERSION; -- one\nshow databases; SHOW NONSENSE; SHOW VERSION").await.unwrap();
    assert_eq!(tags(&frames), "TDCTDCEZ");
    assert_eq!(codes(&frames), ["42601"]);
    assert!(first_error(&frames).unwrap().hint.unwrap().contains("SHOW HELP"));
    assert_eq!(tags(&client.query(" ; /* nothing */ ;").await.unwrap()), "IZ");
    assert_eq!(codes(&client.query("SHOW 'POOLS").await.unwrap()), ["42601"]);
    let mut help = client.rows("SHOW HELP").await.unwrap();
    assert!(help.iter_mut().any(|row| row[0].as_deref() == Some("RELOAD")));
    // What it lists can be run.
    for row in help {
        let name = row[0].clone().unwrap();
        if name.starts_with("SHOW") {
            client.rows(&name).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_use_the_extended_protocol_and_binary_results() {
    let world = World::start().await;
    let mut client = world.console("monitor").await;
    let show = client.run(&Script::new().run("SHOW DATABASES", &[]).sync()).await.unwrap();
    assert_eq!(tags(&show), "12TDCZ");

    // Described before it is bound, all results in binary: what asyncpg and pgx do.
    let prepare = Script::new().parse("s", "show lists", &[]).describe_statement("s").sync();
    assert_eq!(tags(&client.run(&prepare).await.unwrap()), "1tTZ");
    let bind = Script::new().bind_as("", "s", &[], &[], &[1]).execute("", 0).sync();
    let frames = client.run(&bind).await.unwrap();
    let databases = frames[1].values().unwrap();
    assert_eq!(databases, [Some(&b"databases"[..]), Some(&[0, 0, 0, 1])]);

    // A few rows at a time, and an end.
    let limited = Script::new().bind("", "s", &[]).execute("", 2).execute("", 0).execute("", 0).sync();
    let frames = client.run(&limited).await.unwrap();
    assert_eq!(tags(&frames), format!("2DDs{}CCZ", "D".repeat(9)));
    let empty = Script::new().run("", &[]).sync();
    assert_eq!(tags(&client.run(&empty).await.unwrap()), "12nIZ");
    let closed = Script::new().close_statement("s").describe_statement("s").sync();
    assert_eq!(codes(&client.run(&closed).await.unwrap()), ["26000"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_in_a_pipeline_skip_to_its_sync() {
    let world = World::start().await;
    let mut client = world.console("ops").await;
    for (script, code) in [
        (Script::new().run("SELECT 1", &[]), "42601"),
        (Script::new().run("SHOW STATE; SHOW STATE", &[]), "42601"),
        (Script::new().run("SHOW STATE", &[Some("1")]), "08P01"),
        (Script::new().bind("", "nobody", &[]), "26000"),
        (Script::new().execute("nobody", 0), "34000"),
        (Script::new().parse("", "SHOW STATE", &[]).bind_as("", "", &[], &[], &[0, 1, 0]), "08P01"),
        (Script::new().parse("", "SHOW STATE", &[]).bind_as("", "", &[], &[], &[7]), "22023"),
        (Script::new().parse("a", "SHOW STATE", &[]).parse("a", "SHOW STATE", &[]), "42P05"),
        (Script::new().parse("", "RELOAD", &[]).bind("", "", &[]).execute("", 0).execute("", 0), "55000"),
    ] {
        // What follows the error in its pipeline is passed over; the next pipeline isn't.
        let script = script.execute("", 0).query("SHOW STATE").sync().query("SHOW VERSION");
        client.send(script.bytes()).await.unwrap();
        let frames = client.read_until_ready().await.unwrap();
        assert_eq!(codes(&frames), [code], "{frames:?}");
        assert_eq!(frames.iter().filter(|frame| frame.tag == b'Z').count(), 1);
        assert_eq!(rows(&client.read_until_ready().await.unwrap()).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_that_drivers_open_are_kept_track_of() {
    let world = World::start().await;
    let mut client = world.console("monitor").await;
    let status = |frames: &[Frame]| frames.last().and_then(Frame::status);
    assert_eq!(status(&client.query("BEGIN").await.unwrap()), Some('T'));
    assert_eq!(status(&client.query("SHOW POOLS").await.unwrap()), Some('T'));
    assert_eq!(status(&client.query("nonsense").await.unwrap()), Some('E'));
    assert_eq!(codes(&client.query("SHOW POOLS").await.unwrap()), ["25P02"]);
    let ended = client.query("COMMIT").await.unwrap();
    assert_eq!((ended[0].command_tag().as_deref(), status(&ended)), (Some("ROLLBACK"), Some('I')));
    assert_eq!(tags(&client.query("SET extra_float_digits = 3").await.unwrap()), "CZ");
    assert_eq!(codes(&client.query("SET max_client_conn = 3").await.unwrap()), ["0A000"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_administrators_change_anything() {
    let world = World::start().await;
    let mut monitor = world.console("monitor").await;
    for command in ["RELOAD", "SHUTDOWN", "PAUSE app", "KILL app"] {
        assert_eq!(codes(&monitor.query(command).await.unwrap()), ["42501"], "{command}");
        let extended = Script::new().run(command, &[]).sync();
        assert_eq!(codes(&monitor.run(&extended).await.unwrap()), ["42501"], "{command}");
    }
    assert_eq!(world.reloads.load(Ordering::SeqCst), 0);

    let mut ops = world.console("ops").await;
    assert_eq!(codes(&ops.query("PAUSE app").await.unwrap()), ["0A000"]);
    let reloaded = ops.query("reload;").await.unwrap();
    assert_eq!(tags(&reloaded), "NCZ");
    assert_eq!(reloaded[0].server_error().unwrap().message, "one thing is unwise");
    let refused = ops.query("RELOAD").await.unwrap();
    let error = first_error(&refused).unwrap();
    assert_eq!((error.code.as_str(), error.detail.as_deref()), ("F0000", Some("line 3: nonsense")));
    assert_eq!((world.reloads.load(Ordering::SeqCst), world.shutdowns.load(Ordering::SeqCst)), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_at_the_console_is_shown_there() {
    let world = World::start().await;
    let mut ops = world.console("ops").await;
    let monitor = world.console("monitor").await;
    let users = |rows: Vec<Vec<Option<String>>>| {
        rows.into_iter().map(|row| (row[1].clone().unwrap(), row[4].clone().unwrap())).collect::<Vec<_>>()
    };
    let both = users(ops.rows("SHOW CLIENTS").await.unwrap());
    let pair = |user: &str, state: &str| (user.to_owned(), state.to_owned());
    assert_eq!(both, [pair("ops", "active"), pair("monitor", "idle")]);
    monitor.close().await.unwrap();
    // Its place is given up a moment after its socket.
    let left = async {
        loop {
            let left = users(ops.rows("SHOW CLIENTS").await.unwrap());
            if left != both {
                return left;
            }
        }
    };
    assert_eq!(tokio::time::timeout(DEADLINE, left).await, Ok(vec![pair("ops", "active")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_messages_end_the_connection_with_a_reason() {
    let world = World::start().await;
    for (bytes, code) in [
        (&b"z\0\0\0\x04"[..], "08P01"),
        (b"Q\0\0\0\x03", "08P01"),
        (b"Q\x7f\xff\xff\xff", "08P01"),
        (b"Q\0\0\0\x08show", "08P01"),
        (b"B\0\0\0\x04", "08P01"),
        (b"E\0\0\0\x05\0", "08P01"),
        (b"p\0\0\0\x05\0", "08P01"),
    ] {
        let mut client = world.console("ops").await;
        client.send(bytes).await.unwrap();
        let frames = client.read_until_closed().await.unwrap();
        let error = first_error(&frames).unwrap();
        assert_eq!(
            (error.severity.as_str(), error.code.as_str()),
            ("FATAL", code),
            "{}",
            bytes.escape_ascii()
        );
    }
    let mut client = world.console("ops").await;
    assert_eq!(codes(&client.run(&Script::new().message(b'Q', b"\xff\0")).await.unwrap()), ["22021"]);
    let function = Script::new().message(b'F', &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    client.send(function.bytes()).await.unwrap();
    assert_eq!(codes(&client.read_until_ready().await.unwrap()), ["0A000"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_sends_the_idle_away_and_answers_who_asked_for_it() {
    let world = World::start().await;
    let (mut ops, idle) = (world.console("ops").await, world.console("monitor").await);
    assert_eq!(tags(&ops.query("SHUTDOWN").await.unwrap()), "CZ");
    assert_eq!(world.shutdowns.load(Ordering::SeqCst), 1);
    session::stop(&world.context, Stop::Graceful);
    for mut client in [ops, idle] {
        assert_eq!(codes(&client.read_until_closed().await.unwrap()), ["57P01"]);
    }
    let everybody_gone = async {
        while world.context.seats.clients() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, everybody_gone).await.unwrap();
}
