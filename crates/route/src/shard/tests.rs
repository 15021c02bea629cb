use std::sync::Arc;

use sql::LexSettings;
use sql::facts::{Access, Because, Begin, Facts, Hint, Keys, Kind, Relation, Statement, Value};

use crate::decision::{Decision, Request, SessionRouting, ShardIndex, Target, TargetRole};
use crate::testing::{decided, equals, explained, facts, keyed, read, select, sharded, writes, written};

const US: ShardIndex = ShardIndex(0);
const EU: ShardIndex = ShardIndex(1);

fn words(statement: Statement, values: &[Option<&str>]) -> String {
    explained(&sharded(), SessionRouting::default(), facts(vec![statement]), values)
}

/// The refusal's DETAIL.
fn detail(facts: Facts, values: &[Option<&str>]) -> String {
    match decided(&sharded(), SessionRouting::default(), facts, values) {
        Decision::Refuse(refusal) => {
            assert_eq!(refusal.sqlstate, "0A000");
            assert!(refusal.hint.is_some());
            refusal.detail.unwrap()
        }
        Decision::Go { target, .. } => panic!("went to {target:?}"),
    }
}

fn shard(session: SessionRouting, facts: Facts, values: &[Option<&str>]) -> Result<ShardIndex, &'static str> {
    match decided(&sharded(), session, facts, values) {
        Decision::Go { target, .. } => Ok(target.shard),
        Decision::Refuse(refusal) => Err(refusal.sqlstate),
    }
}

fn customers() -> Statement {
    keyed(select(vec![read("customers")]), vec![equals(0, "region", 1)])
}

fn insert(relation: &str, columns: Option<&[&str]>, rows: Vec<Vec<Option<Value>>>) -> Statement {
    let columns = columns.map(|columns| columns.iter().map(|&column| column.into()).collect());
    Statement { keys: Keys::Rows { columns, rows }, ..writes(Kind::Insert, vec![written(relation)]) }
}

fn parameter(number: u16) -> Option<Value> {
    Some(Value::Parameter(number))
}

#[test]
fn a_key_says_the_shard() {
    assert_eq!(words(customers(), &[Some("DE")]), "shard eu, replica: reads only; customers.region = 'DE'");
    let update = keyed(writes(Kind::Update, vec![written("customers")]), vec![equals(0, "region", 1)]);
    assert_eq!(words(update, &[Some("US")]), "shard us, primary: UPDATE writes; customers.region = 'US'");
    let order = keyed(select(vec![read("orders")]), vec![equals(0, "tenant", 1)]);
    assert_eq!(words(order.clone(), &[Some("7")]), "shard us, replica: reads only; orders.tenant = 7");
    assert_eq!(
        words(order, &[Some("8")]),
        "shard eu, replica: reads only; orders.tenant has another value, the default"
    );
    let invoice = Relation { schema: Some("billing".into()), ..read("invoices") };
    let invoice = keyed(select(vec![invoice]), vec![equals(0, "owner", 1)]);
    assert_eq!(
        words(invoice, &[Some("{000000000000000000000000000000FF}")]),
        "shard eu, replica: reads only; billing.invoices.owner = '00000000-0000-0000-0000-0000000000ff'"
    );
    let many = vec![vec![None, parameter(1)], vec![None, parameter(2)]];
    assert_eq!(
        words(insert("customers", Some(&["id", "region"]), many), &[Some("DE"), Some("DE")]),
        "shard eu, primary: UPDATE writes; customers.region = 'DE'"
    );
}

#[test]
fn what_has_no_shard_goes_to_any_and_what_has_one_there() {
    let mut sequence = select(vec![]);
    sequence.worsen(Access::Write, Because::Function("nextval".into()));
    let catalog = Relation { schema: Some("information_schema".into()), ..read("tables") };
    let cases = [
        (select(vec![]), "shard us, replica: reads only; names no table, any shard would do"),
        (
            select(vec![read("countries")]),
            "shard us, replica: reads only; reads reference tables, any shard would do",
        ),
        (select(vec![read("pg_class"), catalog]), "shard us, replica: reads only; reads system catalogs"),
        (
            select(vec![read("flags"), read("countries")]),
            "shard eu, replica: reads only; flags lives there alone",
        ),
        (
            writes(Kind::Update, vec![written("flags")]),
            "shard eu, primary: UPDATE writes; flags lives there alone",
        ),
        (
            sequence,
            "shard us, primary: calls nextval(), which must have the primary; works on what each shard has of its own, always the first shard",
        ),
        (
            Statement::command(Kind::Notify, "LISTEN"),
            "shard us, primary: LISTEN concerns the session; works on what each shard has of its own, always the first shard",
        ),
    ];
    for (statement, expected) in cases {
        assert_eq!(words(statement, &[]), expected);
    }
}

#[test]
fn names_match_as_listed() {
    let named = |schema: Option<&str>, name: &str| {
        let relation = Relation { schema: schema.map(Into::into), ..read(name) };
        let key = if name == "invoices" { "owner" } else { "region" };
        let value = if name == "invoices" { "00000000-0000-0000-0000-0000000000ff" } else { "DE" };
        let statement = keyed(select(vec![relation]), vec![equals(0, key, 1)]);
        shard(SessionRouting::default(), facts(vec![statement]), &[Some(value)])
    };
    assert_eq!(named(None, "customers"), Ok(EU));
    assert_eq!(named(Some("public"), "customers"), Ok(EU));
    assert_eq!(named(Some("old"), "customers"), Err("0A000"));
    assert_eq!(named(None, "Customers"), Err("0A000"));
    assert_eq!(named(Some("billing"), "invoices"), Ok(EU));
    assert_eq!(named(None, "invoices"), Err("0A000"));
    assert_eq!(named(Some("public"), "invoices"), Err("0A000"));
}

#[test]
fn what_is_not_proved_is_refused() {
    let two = |equalities| keyed(select(vec![read("customers"), read("customers")]), equalities);
    let mut user_function = customers();
    user_function.worsen(Access::Unknown, Because::UnknownFunction("total".into()));
    let incomplete = Statement { relations_complete: false, ..customers() };
    let assigns = Statement {
        assigned: vec!["name".into(), "region".into()],
        ..keyed(writes(Kind::Update, vec![written("customers")]), vec![equals(0, "region", 1)])
    };
    let conflict = Statement {
        assigned: vec!["region".into()],
        ..insert("customers", Some(&["region"]), vec![vec![parameter(1)]])
    };
    let from_query = keyed(
        writes(Kind::Insert, vec![written("customers"), read("customers")]),
        vec![equals(0, "region", 1), equals(1, "region", 1)],
    );
    let copy = |kind| writes(kind, vec![written("customers")]);
    let cases = [
        (select(vec![read("customers")]), "doesn't say its value"),
        (keyed(select(vec![read("customers")]), vec![equals(0, "name", 1)]), "doesn't say its value"),
        (two(vec![equals(0, "region", 1)]), "doesn't say its value"),
        (select(vec![read("a_view")]), "\"a_view\" is not listed"),
        (select(vec![read("pg_orders")]), "\"pg_orders\" is not listed"),
        (writes(Kind::Update, vec![written("pg_class")]), "\"pg_class\" is not listed"),
        (writes(Kind::Update, vec![written("countries")]), "reference table"),
        (user_function, "calls total()"),
        (incomplete, "Not all the tables"),
        (Statement::unknown("odd token"), "not understood: odd token"),
        (assigns, "assigns customers.region"),
        (conflict, "assigns customers.region"),
        (from_query, "come from a query"),
        (insert("customers", None, vec![vec![parameter(1)]]), "doesn't name its columns"),
        (insert("customers", Some(&["id"]), vec![vec![parameter(1)]]), "gives no value for customers.region"),
        (insert("customers", Some(&["region"]), vec![]), "gives no value for customers.region"),
        (insert("customers", Some(&["region"]), vec![vec![None]]), "expression or DEFAULT"),
        (
            insert("customers", Some(&["region"]), vec![vec![parameter(1)], vec![parameter(2)]]),
            "one row belongs",
        ),
        (copy(Kind::CopyIn), "COPY of \"customers\""),
        (Statement { keys: Keys::None, ..copy(Kind::CopyOut) }, "COPY of \"customers\""),
        (keyed(writes(Kind::Merge, vec![written("customers")]), vec![equals(0, "region", 1)]), "MERGE"),
        (
            Statement::command(Kind::Utility, "CREATE TABLE"),
            "CREATE TABLE would have to be run on every shard",
        ),
        (Statement::command(Kind::Procedure, "DO"), "may use any table"),
        (Statement::command(Kind::Execute, "EXECUTE"), "PREPARE and EXECUTE"),
        (
            keyed(select(vec![read("customers")]), vec![equals(0, "region", 9)]),
            "not known before it is bound",
        ),
        (keyed(select(vec![read("customers")]), vec![equals(0, "region", 3)]), "($3) is NULL"),
        (keyed(select(vec![read("customers")]), vec![equals(0, "region", 4)]), "'XX' belongs to no shard"),
        (keyed(select(vec![read("orders")]), vec![equals(0, "tenant", 4)]), "not surely an integer"),
    ];
    for (statement, expected) in cases {
        let detail = detail(facts(vec![statement]), &[Some("DE"), Some("US"), None, Some("XX")]);
        assert!(detail.contains(expected), "{detail}: should say {expected}");
    }
}

#[test]
fn every_part_has_to_agree() {
    let join = |second: u16| {
        keyed(
            select(vec![read("customers"), read("customers"), read("countries")]),
            vec![equals(0, "region", 1), equals(1, "region", second)],
        )
    };
    assert_eq!(shard(SessionRouting::default(), facts(vec![join(1)]), &[Some("DE")]), Ok(EU));
    assert_eq!(
        shard(SessionRouting::default(), facts(vec![join(2)]), &[Some("DE"), Some("US")]),
        Err("0A000")
    );
    let text = |statements| shard(SessionRouting::default(), facts(statements), &[Some("DE")]);
    assert_eq!(text(vec![select(vec![]), customers(), select(vec![read("pg_class")])]), Ok(EU));
    assert_eq!(text(vec![Statement::command(Kind::Notify, "NOTIFY"), customers()]), Err("0A000"));
    let mut notify = customers();
    notify.worsen(Access::Write, Because::Function("pg_notify".into()));
    assert_eq!(text(vec![notify.clone()]), Err("0A000"), "its listeners are on the first shard");
    assert_eq!(shard(SessionRouting::default(), facts(vec![notify]), &[Some("US")]), Ok(US));
}

#[test]
fn hints_and_settings_are_believed() {
    let hinted = |hint| Facts { hint, ..facts(vec![select(vec![read("a_view")])]) };
    let name = |name: &str| Hint { shard: Some(name.into()), ..Hint::default() };
    let key = |key: &str| Hint { key: Some(key.into()), ..Hint::default() };
    let session = SessionRouting { shard: Some(EU), ..SessionRouting::default() };
    assert_eq!(shard(SessionRouting::default(), hinted(name("eu")), &[]), Ok(EU));
    assert_eq!(shard(session, hinted(name("us")), &[]), Ok(US), "the hint before the setting");
    assert_eq!(shard(session, hinted(Hint::default()), &[]), Ok(EU));
    assert_eq!(shard(session, hinted(name("moon")), &[]), Err("22023"));
    assert_eq!(shard(session, hinted(key("7")), &[]), Err("22023"), "three schemes: ambiguous");
    let invalid = Hint { invalid: Some("colour".into()), ..Hint::default() };
    assert_eq!(shard(session, hinted(invalid), &[]), Err("22023"));
}

#[test]
fn a_transaction_stays_on_its_shard() {
    let open = SessionRouting {
        transaction: Some(Target { shard: EU, role: TargetRole::Primary }),
        ..SessionRouting::default()
    };
    let one = |session, statement, value| shard(session, facts(vec![statement]), &[Some(value)]);
    assert_eq!(one(open, customers(), "DE"), Ok(EU));
    assert_eq!(one(open, customers(), "US"), Err("0A000"));
    assert_eq!(one(open, select(vec![read("countries")]), ""), Ok(EU));
    assert_eq!(one(open, Statement::command(Kind::Notify, "NOTIFY"), ""), Err("0A000"));
    let told = SessionRouting { shard: Some(US), ..open };
    assert_eq!(one(told, select(vec![]), ""), Err("0A000"), "the setting says another shard");
    assert_eq!(one(told, Statement::command(Kind::Commit, "COMMIT"), ""), Ok(EU), "it can always be ended");
    let begun = SessionRouting { begin: Some(Begin::default()), ..SessionRouting::default() };
    assert_eq!(one(begun, customers(), "DE"), Ok(EU), "its first statement decides");
    let hint = Hint { shard: Some("eu".into()), ..Hint::default() };
    assert_eq!(one(begun.with_begin_hint(&sharded(), &hint), select(vec![]), ""), Ok(EU));
}

#[test]
fn to_describe_no_value_is_needed() {
    let describe = |statement: Statement| {
        let facts = Arc::new(facts(vec![statement]));
        let request = Request {
            facts: &facts,
            sql: b"",
            literals: &[],
            parameters: None,
            lex: LexSettings::default(),
            catalogs: &[],
        };
        crate::describe(&sharded(), &SessionRouting::default(), &request).target().map(|target| target.shard)
    };
    assert_eq!(describe(customers()), Some(US));
    let with_single = keyed(select(vec![read("customers"), read("flags")]), vec![equals(0, "region", 1)]);
    assert_eq!(describe(with_single), Some(EU), "only there is the table known");
    assert_eq!(describe(select(vec![read("customers")])), None, "it could never be run");
}

#[test]
fn what_any_shard_can_answer_is_answered_in_this_region() {
    let map = |instance: &str| {
        let text = format!(
            "instance: {{{instance}}}\nusers: {{u: {{password: x}}}}\nclusters:\n  \
             us: {{region: us, nodes: {{a: {{host: a}}}}}}\n  eu: {{region: eu, nodes: {{b: {{host: b}}}}}}\n\
             databases: {{d: {{shards: {{us: {{cluster: us}}, eu: {{cluster: eu}}}}, sharding: {{\
             schemes: {{s: {{type: list, of: text, values: {{us: [US], eu: [DE]}}}}}}, \
             tables: {{customers: {{key: region, scheme: s}}}}, reference_tables: [countries]}}}}}}\n"
        );
        let config = config::parse_yaml(&text, "f.yaml", &|_| None, std::path::Path::new("")).unwrap();
        crate::DatabaseMap::from_config(&config, config.database("d").unwrap())
    };
    for (instance, nearest) in [("", US), ("region: us", US), ("region: eu", EU), ("region: apac", US)] {
        let map = map(instance);
        let placed = |statement| {
            decided(&map, SessionRouting::default(), facts(vec![statement]), &[]).target().unwrap().shard
        };
        assert_eq!(placed(select(vec![])), nearest, "{instance}");
        assert_eq!(placed(select(vec![read("countries")])), nearest, "{instance}");
        assert_eq!(placed(select(vec![read("pg_class")])), US, "each shard has its own");
    }
}
