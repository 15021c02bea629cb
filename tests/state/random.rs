//! Conversations by chance: statements that change a session's state, transactions, savepoints and errors in any order.

use testkit::Script;

use crate::dice::Dice;
use crate::kind::Kind;
use crate::situation::{Talk, Turn};

/// What changes the state, or tries to.
const CHANGES: &[&str] = &[
    "SET work_mem = '5MB'",
    "SET work_mem = '6MB'",
    "SET LOCAL work_mem = '7MB'",
    "SET work_mem = 'nonsense'",
    "RESET work_mem",
    "SELECT set_config('work_mem', '8MB', false)",
    "SELECT set_config('work_mem', '9MB', true)",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET LOCAL TimeZone = 'Europe/Paris'",
    "RESET ALL",
    "SET ROLE clerk",
    "RESET ROLE",
    "SET search_path = s1, public",
    "SET app.tenant = '1'",
    "SELECT set_config('app.tenant', '2', false)",
    "PREPARE p (int) AS SELECT $1 + 1",
    "DEALLOCATE p",
    "LISTEN news",
    "LISTEN \"other news\"",
    "UNLISTEN news",
    "UNLISTEN *",
    "NOTIFY news, 'fresh'",
];
const BLOCKS: &[&str] = &[
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "SAVEPOINT b",
    "ROLLBACK TO a",
    "ROLLBACK TO b",
    "RELEASE a",
    "SELECT 1/0",
];
const LOOKS: &[&str] = &[
    "SHOW work_mem",
    "SHOW TimeZone",
    "SELECT current_user",
    "SELECT to_regclass('here')",
    "SELECT nullif(current_setting('app.tenant', true), '')",
    "EXECUTE p (1)",
];
/// Turns of a conversation.
const LENGTH: usize = 14;

/// What such a session is: where several statements of one request failed together it may stay where it is.
pub(crate) fn kind() -> Kind {
    Kind::new("by chance").pins("doubt")
}

/// A conversation; the same throws give the same one.
pub(crate) fn talk(dice: &mut Dice) -> Talk {
    let mut turns = Vec::from_iter((0..LENGTH).map(|_| turn(dice)));
    turns.push(ask(Script::new().query("ROLLBACK"), "ROLLBACK".to_owned()));
    for sql in LOOKS {
        turns.push(ask(Script::new().query(sql), (*sql).to_owned()));
    }
    Talk { turns, free: false }
}

fn turn(dice: &mut Dice) -> Turn {
    match dice.below(6) {
        0 => {
            let sql = several(dice).join("; ");
            ask(Script::new().query(&sql), sql)
        }
        1 => {
            let all = several(dice);
            let script = all.iter().fold(Script::new(), |script, sql| script.run(sql, &[])).sync();
            ask(script, all.join(" | "))
        }
        2 => {
            let sql = one(dice);
            ask(Script::new().run(sql, &[]).sync(), format!("{sql} |"))
        }
        _ => {
            let sql = one(dice);
            ask(Script::new().query(sql), sql.to_owned())
        }
    }
}

fn ask(script: Script, words: String) -> Turn {
    Turn::Ask { words, script }
}

fn several(dice: &mut Dice) -> Vec<&'static str> {
    (0..2 + dice.below(2)).map(|_| one(dice)).collect()
}

fn one(dice: &mut Dice) -> &'static str {
    let list = [CHANGES, BLOCKS, LOOKS][dice.below(3)];
    list[dice.below(list.len())]
}
