//! The commands that read a configuration, as a person runs them: what they say, and how they exit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pgweir_tests::{Cases, Outcome};
use tempfile::TempDir;
use testkit::Pgweir;

const PASSWORD: &str = "s3same-0pen";
const GOOD: &str = "\
users:
  app: {password: s3same-0pen}
clusters:
  us: {nodes: {us-1: {host: 10.0.1.1}, us-2: {host: 10.0.1.2}}}
  eu: {nodes: {eu-1: {host: 10.0.2.1}}}
databases:
  app: {cluster: us, dbname: app_production}
  saas:
    shards: {us: {cluster: us}, eu: {cluster: eu}}
    sharding:
      schemes:
        by_region: {type: list, of: text, values: {us: [US], eu: [DE]}}
      tables:
        customers: {key: region, scheme: by_region}
      reference_tables: [countries]
";

/// A folder in which the binary runs, with nothing of ours in its environment.
struct Room(TempDir);

impl Room {
    fn new() -> std::io::Result<Room> {
        tempfile::tempdir().map(Room)
    }

    fn write(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let path = self.0.path().join(name);
        fs::write(&path, text).map(|()| path)
    }

    fn run(&self, arguments: &[&str]) -> Result<Ran, Box<dyn std::error::Error>> {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> Result<Ran, Box<dyn std::error::Error>> {
        let mut command = Command::new(Pgweir::binary()?);
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null()).env_clear();
        command.envs(env.iter().copied());
        Ok(Ran::new(arguments, command.output()?))
    }
}

/// How a command ended.
#[derive(Debug)]
struct Ran {
    what: String,
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn new(arguments: &[&str], output: Output) -> Ran {
        Ran {
            what: arguments.join(" "),
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It exits so, its words have all of these, and never a password.
    fn expect(&self, code: i32, words: &[&str]) -> Outcome {
        if self.code != Some(code) {
            return Err(format!(
                "`{}` exits with {:?}, not {code}:\n{}{}",
                self.what, self.code, self.out, self.err
            )
            .into());
        }
        let said = if code == 0 { &self.out } else { &self.err };
        if let Some(missing) = words.iter().find(|word| !said.contains(**word)) {
            return Err(format!("`{}` doesn't say {missing:?}:\n{said}", self.what).into());
        }
        self.keeps_secret(PASSWORD)
    }

    fn keeps_secret(&self, secret: &str) -> Outcome {
        match self.out.contains(secret) || self.err.contains(secret) {
            true => Err(format!("`{}` tells a secret:\n{}{}", self.what, self.out, self.err).into()),
            false => Ok(()),
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_file_line_column_and_key() {
    let mut cases = Cases::new();
    let broken = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replacen(from, to, 1)
    };
    let table = [
        (
            "unknown key",
            broken("{host: 10.0.2.1}", "{hots: 10.0.2.1}"),
            &["wrong.yaml:5:23: clusters.eu.nodes.eu-1.hots: ", "did you mean `host`?"][..],
        ),
        (
            "unknown section",
            format!("{GOOD}pooll: {{}}\n"),
            &["wrong.yaml:16:1: pooll: ", "did you mean `pool`?"],
        ),
        ("duplicate key", format!("{GOOD}users:\n  b: {{password: x}}\n"), &["wrong.yaml:16:1: users: "]),
        ("duplicate name", broken("  eu: {nodes", "  us: {nodes"), &["wrong.yaml:5:3: clusters.us: "]),
        (
            "wrong type",
            format!("{GOOD}pool: {{size: many}}\n"),
            &["wrong.yaml:16:14: pool.size: ", "`many`", "expected auto"],
        ),
        (
            "wrong shape",
            broken("{host: 10.0.2.1}", "[10.0.2.1]"),
            &["wrong.yaml:5:22: clusters.eu.nodes.eu-1: "],
        ),
        (
            "wrong unit",
            format!("{GOOD}health: {{interval: 5 bananas}}\n"),
            &["wrong.yaml:16:20: health.interval: "],
        ),
        (
            "dangling cluster",
            broken("app: {cluster: us,", "app: {cluster: moon,"),
            &["wrong.yaml:7:18: databases.app.cluster: ", "`moon`"],
        ),
        (
            "dangling scheme",
            broken("scheme: by_region", "scheme: by_moon"),
            &["wrong.yaml:14:42: databases.saas.sharding.tables.customers.scheme: ", "`by_moon`"],
        ),
        (
            "dangling shard",
            broken("eu: [DE]}}", "apac: [DE]}}"),
            &["wrong.yaml:12:", "databases.saas.sharding.schemes.by_region.values", "`apac`"],
        ),
        (
            "variable that isn't set",
            broken(PASSWORD, "\"${NOWHERE}\""),
            &["wrong.yaml:2:19: users.app.password: ", "NOWHERE"],
        ),
        ("no YAML", "users: {app: [\n".to_owned(), &["wrong.yaml:"]),
    ];
    for (name, text, words) in table {
        let outcome = (|| {
            let room = Room::new()?;
            room.write("wrong.yaml", &text)?;
            for command in ["check", "run"] {
                room.run(&[command, "-c", "wrong.yaml"])?.expect(1, words)?;
            }
            room.run(&["explain", "-c", "wrong.yaml", "-d", "app", "SELECT 1"])?.expect(1, words)
        })();
        cases.add(name, outcome);
    }
    cases.finish();
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let outcome = (|| {
        let room = Room::new()?;
        room.write(
            "wrong.yaml",
            &format!("{GOOD}pool: {{size: many, mod: x}}\nhealth: {{failures: none}}\n"),
        )?;
        let found = room.run(&["check", "-c", "wrong.yaml"])?;
        found.expect(
            1,
            &[
                "wrong.yaml:16:14: pool.size",
                "wrong.yaml:16:20: pool.mod",
                "wrong.yaml:17:20: health.failures",
            ],
        )
    })();
    let mut cases = Cases::new();
    cases.add("three errors", outcome);
    cases.finish();
}

#[test]
fn a_secret_is_in_no_message() {
    let mut cases = Cases::new();
    let secret = "hunter2hunter2";
    let table = [
        (
            "where a value of another kind is expected",
            format!("users: {{app: {{password: {{value: {secret}}}}}}}\n"),
        ),
        ("as the name of a file", format!("users: {{app: {{password: [{secret}]}}}}\n")),
        ("next to an error", format!("users: {{app: {{password: {secret}, pool: {{size: x}}}}}}\n")),
        ("in a URL of a bad port", format!("databases: {{app: \"postgres://app:{secret}@db:port/app\"}}\n")),
        (
            "in a URL of an unknown option",
            format!("databases: {{app: \"postgres://app:{secret}@db/app?colour=red\"}}\n"),
        ),
        ("in broken YAML", format!("users:\n  app: {{password: {secret}\n  b: [\n")),
        (
            "of the control user",
            format!(
                "clusters: {{us: {{control: {{user: a, password: {secret}, pass: {secret}}}, nodes: {{n: {{host: h}}}}}}}}\n"
            ),
        ),
    ];
    for (name, text) in table {
        let outcome = (|| {
            let room = Room::new()?;
            room.write("wrong.yaml", &text)?;
            for command in ["check", "run"] {
                let ran = room.run(&[command, "-c", "wrong.yaml"])?;
                ran.expect(1, &["wrong.yaml"])?;
                ran.keeps_secret(secret)?;
            }
            let url = room.run(&["run", "--url", &format!("postgres://app:{secret}@db:port/app")])?;
            url.expect(1, &[])?;
            url.keeps_secret(secret)
        })();
        cases.add(name, outcome);
    }
    cases.finish();
}

#[test]
fn a_good_file_is_put_into_words() {
    let mut cases = Cases::new();
    cases.add(
        "check",
        (|| {
            let room = Room::new()?;
            room.write("good.yaml", GOOD)?;
            let words = [
                "good.yaml is a valid configuration",
                "us-1",
                "10.0.2.1",
                "app_production",
                "saas",
                "customers",
                "region",
            ];
            room.run(&["check", "-c", "good.yaml"])?.expect(0, &words)
        })(),
    );
    cases.add(
        "by its whole path",
        (|| {
            let room = Room::new()?;
            let path = room.write("good.yml", GOOD)?;
            let path = path.to_string_lossy().into_owned();
            room.run(&["check", "--config", &path])?.expect(0, &[&path])
        })(),
    );
    cases.add(
        "a file that isn't there",
        (|| Room::new()?.run(&["check", "-c", "nowhere.yaml"])?.expect(1, &["nowhere.yaml"]))(),
    );
    cases.finish();
}

#[test]
fn every_example_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let secret = "only-in-the-environment";
    let mut cases = Cases::new();
    let files = fs::read_dir(&folder).expect("the folder of examples").filter_map(Result::ok);
    let examples = files.map(|file| file.path()).filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "ini")
    });
    let mut found = 0;
    for path in examples {
        found += 1;
        let path = path.to_string_lossy().into_owned();
        let outcome = (|| {
            let text = fs::read_to_string(&path)?;
            let env: Vec<_> = variables(&text)
                .filter(|name| name.ends_with("PASSWORD"))
                .map(|name| (name, secret))
                .collect();
            let ran = Room::new()?.run_with(&["check", "-c", &path], &env)?;
            ran.expect(0, &[&path])?;
            ran.keeps_secret("change-me")?;
            ran.keeps_secret(secret)
        })();
        cases.add(path, outcome);
    }
    cases.same("examples are there", found >= 5, true);
    cases.finish();
}

/// The environment variables that a file asks for.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).filter_map(|rest| rest.split(['}', ':']).next())
}

#[test]
fn a_command_line_that_makes_no_sense_exits_with_2() {
    let mut cases = Cases::new();
    let lines: [&[&str]; 9] = [
        &[],
        &["fly"],
        &["run"],
        &["check"],
        &["check", "-c"],
        &["run", "-c", "good.yaml", "--url", "postgres://a@b/c"],
        &["explain", "-c", "good.yaml", "SELECT 1"],
        &["explain", "-c", "good.yaml", "-d", "app"],
        &["explain", "-c", "good.yaml", "-d", "app", "-f", "x.sql", "SELECT 1"],
    ];
    for line in lines {
        let outcome = (|| {
            let room = Room::new()?;
            room.write("good.yaml", GOOD)?;
            room.run(line)?.expect(2, &["--help"])
        })();
        cases.add(line.join(" "), outcome);
    }
    cases.finish();
}

#[test]
fn explain_tells_where_a_statement_goes() {
    let mut cases = Cases::new();
    let table = [
        (
            "app",
            "SELECT * FROM t",
            &["target: cluster us, database app_production\n", "\nreplica: reads only\n"][..],
        ),
        ("app", "SELECT * FROM t FOR UPDATE", &["\nprimary: locks rows or tables\n"]),
        ("app", "WITH d AS (DELETE FROM t RETURNING 1) SELECT * FROM d", &["\nprimary: its WITH writes\n"]),
        ("app", "/* pgweir: role=replica */ UPDATE t SET a = 1", &["\nreplica: hint role=replica\n"]),
        ("app", "this is no SQL", &["\nprimary: not understood: "]),
        (
            "app",
            "/* pgweir: rule=x */ SELECT 1",
            &["refused: invalid pgweir hint (SQLSTATE 22023)", "DETAIL: \"rule=x\"", "HINT: "],
        ),
        (
            "saas",
            "SELECT * FROM customers WHERE region = 'DE'",
            &[
                "target: cluster eu, database saas\n",
                "shard eu, replica: reads only; customers.region = 'DE'\n",
            ],
        ),
        (
            "saas",
            "INSERT INTO customers (region, id) VALUES ('US', 1)",
            &["target: cluster us, ", "shard us, primary: INSERT writes"],
        ),
        ("saas", "SELECT * FROM customers", &["refused: ", "(SQLSTATE 0A000)", "\nDETAIL: ", "\nHINT: "]),
        (
            "saas",
            "SELECT * FROM customers WHERE region = $1",
            &[
                "(SQLSTATE 0A000)",
                "\nDETAIL: The value of customers.region ($1) is not known before it is bound.",
            ],
        ),
    ];
    for (database, sql, words) in table {
        let outcome = (|| {
            let room = Room::new()?;
            room.write("good.yaml", GOOD)?;
            room.run(&["explain", "-c", "good.yaml", "-d", database, sql])?.expect(0, words)
        })();
        cases.add(sql, outcome);
    }
    cases.add(
        "an unknown database",
        (|| {
            let room = Room::new()?;
            room.write("good.yaml", GOOD)?;
            room.run(&["explain", "-c", "good.yaml", "-d", "nope", "SELECT 1"])?
                .expect(1, &["\"nope\"", "app, saas"])
        })(),
    );
    cases.finish();
}

#[test]
fn explain_of_a_file_adds_up() {
    let script = "\
-- a day
SELECT * FROM customers WHERE region = 'US';
SELECT * FROM customers WHERE region = 'DE';
INSERT INTO customers (region) VALUES ('DE');
BEGIN;
UPDATE customers SET name = 'a;b' WHERE region = 'US';
SELECT * FROM customers WHERE region = 'US';
COMMIT;
SELECT count(*) FROM customers;
";
    let mut cases = Cases::new();
    cases.add(
        "totals",
        (|| {
            let room = Room::new()?;
            room.write("good.yaml", GOOD)?;
            room.write("day.sql", script)?;
            let ran = room.run(&["explain", "-c", "good.yaml", "-d", "saas", "-f", "day.sql"])?;
            ran.expect(
                0,
                &[
                    "line 6: UPDATE customers",
                    "\n8 statements\n",
                    "1  shard eu, replica\n",
                    "1  shard eu, primary\n",
                    "1  shard us, replica\n",
                    "1  refused\n",
                    "to the primary, because of\n",
                ],
            )
        })(),
    );
    cases.add(
        "a file that isn't there",
        (|| {
            let room = Room::new()?;
            room.write("good.yaml", GOOD)?;
            room.run(&["explain", "-c", "good.yaml", "-d", "saas", "-f", "night.sql"])?
                .expect(1, &["night.sql"])
        })(),
    );
    cases.finish();
}

#[test]
fn an_imported_ini_is_a_valid_file() {
    let ini = "\
[databases]
app = host=10.0.1.1,10.0.1.2 dbname=app_production pool_size=15
legacy = host=10.0.2.1 port=5433 user=legacy password='s3same-0pen'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = 6543
auth_type = trust
pool_mode = session
default_pool_size = 7
query_wait_timeout = 11
";
    let mut cases = Cases::new();
    cases.add(
        "import, then check",
        (|| {
            let room = Room::new()?;
            room.write("pgbouncer.ini", ini)?;
            room.run(&["check", "-c", "pgbouncer.ini"])?.expect(0, &["10.0.1.2", "app_production"])?;
            let imported = room.run(&["import", "pgbouncer.ini"])?;
            // Here the secret is the point: the YAML is to be run in the ini's place.
            if imported.code != Some(0) || !imported.out.contains(PASSWORD) {
                return Err(format!("{imported:?}").into());
            }
            room.write("imported.yaml", &imported.out)?;
            room.run(&["check", "-c", "imported.yaml"])?.expect(0, &["10.0.1.2", "app_production", "6543"])
        })(),
    );
    cases.add(
        "what is wrong with an ini",
        (|| {
            let room = Room::new()?;
            room.write("pgbouncer.ini", &format!("{ini}pool_mode = sometimes\n"))?;
            room.run(&["check", "-c", "pgbouncer.ini"])?.expect(1, &["pgbouncer.ini:11:", "pool_mode"])
        })(),
    );
    cases.finish();
}

#[test]
fn the_schema_is_json_that_knows_the_sections() {
    let mut cases = Cases::new();
    cases.add(
        "schema",
        (|| {
            let ran = Room::new()?.run(&["schema"])?;
            ran.expect(0, &[])?;
            let schema: serde_json::Value = serde_json::from_str(&ran.out)?;
            for section in ["listen", "users", "pool", "route", "health", "clusters", "databases"] {
                if schema["properties"].get(section).is_none() {
                    return Err(format!("no {section} in its properties").into());
                }
            }
            Ok(())
        })(),
    );
    cases.finish();
}
