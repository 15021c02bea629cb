//! Which tables a statement touches besides those that it names: through views, partitions, inheritance and foreign
//! keys that cascade; and where code runs that nobody knows.

use std::collections::{HashMap, HashSet};

use sql::facts::{Access, Because, Facts, Kind, Name, Relation, Statement};
use sql::{Verdict, built_in};

use super::rows::CatalogRows;
use crate::consistency::Slots;
use crate::reason::is_session_kind;

/// What reading and writing by each name means.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Those that are just themselves.
    plain: HashSet<Name>,
    others: HashMap<Name, Reach>,
    /// Reading these may write: code that does so runs then.
    writing: HashSet<Name>,
}

/// What is touched by way of one name.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    reads: Slots,
    writes: Slots,
}

impl Tables {
    pub(super) fn of(rows: &CatalogRows) -> Tables {
        let finder = Finder::new(rows);
        let mut reaches: HashMap<&str, Reach> = HashMap::new();
        for table in &rows.tables {
            let reads = finder.follow(table.oid, Way::Reads);
            let writes = finder.follow(table.oid, Way::Writes);
            let reach = reaches.entry(&table.name).or_default();
            *reach = Reach { reads: reach.reads.and(reads), writes: reach.writes.and(writes) };
        }
        let writing = rows.tables.iter().filter(|table| finder.may_write(table.oid));
        let writing = writing.map(|table| table.name.as_str().into()).collect();
        let mut tables = Tables { writing, ..Tables::default() };
        for (name, reach) in reaches {
            let own = Slots::of(name);
            if reach.reads == own && reach.writes == own {
                tables.plain.insert(name.into());
            } else {
                tables.others.insert(name.into(), reach);
            }
        }
        tables
    }

    /// The tables that a text reads.
    pub(super) fn read_by(&self, facts: &Facts) -> Slots {
        facts.statements.iter().map(|statement| self.read_by_one(statement)).collect()
    }

    fn read_by_one(&self, statement: &Statement) -> Slots {
        if is_session_kind(statement.kind) {
            return Slots::NONE;
        }
        if !statement.relations_complete {
            return Slots::ANY;
        }
        let of = |relation: &Relation| match self.reach(&relation.name) {
            Some(reach) => reach.reads,
            // Whatever changes a system catalog is written down as a write to all.
            None if is_of_the_system(relation) => Slots::NONE,
            None => Slots::ANY,
        };
        statement.relations.iter().map(of).collect()
    }

    /// Whether a statement may write by no more than reading its tables and views.
    pub(super) fn may_write(&self, statement: &Statement) -> bool {
        statement.relations.iter().any(|relation| self.writing.contains(&relation.name))
    }

    /// The tables that a text may write. `clear`: the catalog knows its functions, and all of them only read.
    pub(super) fn written_by(&self, facts: &Facts, clear: bool) -> Slots {
        facts.statements.iter().map(|statement| self.written_by_one(statement, clear)).collect()
    }

    fn written_by_one(&self, statement: &Statement, clear: bool) -> Slots {
        match statement.access {
            _ if is_session_kind(statement.kind) => return Slots::NONE,
            Access::Read => return Slots::NONE,
            Access::Unknown if clear && statement.calls.complete => return Slots::NONE,
            Access::Unknown => return Slots::ANY,
            Access::Write => {}
        }
        let queries = matches!(
            statement.kind,
            Kind::Select
                | Kind::Insert
                | Kind::Update
                | Kind::Delete
                | Kind::Merge
                | Kind::CopyIn
                | Kind::Explain
        );
        if !queries || !statement.relations_complete || statement.because == Some(Because::Into) {
            return Slots::ANY;
        }
        let written = statement.relations.iter().filter(|relation| relation.written);
        written.map(|relation| self.reach(&relation.name).map_or(Slots::ANY, |reach| reach.writes)).collect()
    }

    fn reach(&self, name: &Name) -> Option<Reach> {
        if self.plain.contains(name) {
            let own = Slots::of(name);
            return Some(Reach { reads: own, writes: own });
        }
        self.others.get(name).copied()
    }
}

fn is_of_the_system(relation: &Relation) -> bool {
    match relation.schema.as_deref() {
        Some(schema) => schema == "pg_catalog" || schema == "information_schema",
        None => relation.name.starts_with("pg_"),
    }
}

/// What is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Reads,
    Writes,
}

/// Follows a catalog's rows from table to table.
struct Finder<'a> {
    names: HashMap<u32, &'a str>,
    /// The tree of parents and children that a table belongs to, by the first of them, and its members.
    trees: HashMap<u32, u32>,
    members: HashMap<u32, Vec<u32>>,
    /// Views and policies, and what they read; a write to a view is one to what it reads.
    reads: HashMap<u32, Vec<u32>>,
    /// Tables, and those that a foreign key's action changes with them.
    cascades: HashMap<u32, Vec<u32>>,
    /// Code runs when they are read, or written, that may touch anything.
    read_code: HashSet<u32>,
    write_code: HashSet<u32>,
    /// … and that may write when they are read.
    writing_code: HashSet<u32>,
}

impl<'a> Finder<'a> {
    fn new(rows: &'a CatalogRows) -> Finder<'a> {
        let mut trees: HashMap<u32, u32> = HashMap::new();
        for (parent, child) in &rows.inherits {
            let (parent, child) = (root(&trees, *parent), root(&trees, *child));
            trees.insert(parent.max(child), parent.min(child));
        }
        let in_trees: HashSet<u32> =
            rows.inherits.iter().flat_map(|(parent, child)| [*parent, *child]).collect();
        let mut members: HashMap<u32, Vec<u32>> = HashMap::new();
        for table in in_trees {
            members.entry(root(&trees, table)).or_default().push(table);
        }
        let unknown = |schema: &str, name: &str| {
            schema != "pg_catalog" || !matches!(built_in(name), Verdict::Reads | Verdict::Primary)
        };
        Finder {
            names: rows.tables.iter().map(|table| (table.oid, table.name.as_str())).collect(),
            trees,
            members,
            reads: by_first(&rows.reads),
            cascades: by_first(&rows.cascades),
            read_code: rows
                .calls
                .iter()
                .filter(|call| unknown(&call.schema, &call.name))
                .map(|call| call.relation)
                .chain(rows.row_functions.iter().map(|(table, _)| *table))
                .collect(),
            writing_code: rows
                .calls
                .iter()
                .filter(|call| call.volatile && call.schema != "pg_catalog")
                .map(|call| call.relation)
                .chain(rows.row_functions.iter().filter(|(_, volatile)| *volatile).map(|(table, _)| *table))
                .collect(),
            write_code: rows.tables.iter().filter(|table| table.code).map(|table| table.oid).collect(),
        }
    }

    /// Whether reading this runs code that may write.
    fn may_write(&self, from: u32) -> bool {
        let mut seen = HashSet::from([root(&self.trees, from)]);
        let mut left = vec![root(&self.trees, from)];
        while let Some(tree) = left.pop() {
            let alone = [tree];
            let members = self.members.get(&tree).map_or(&alone[..], Vec::as_slice);
            if members.iter().any(|table| self.writing_code.contains(table)) {
                return true;
            }
            let read = members.iter().filter_map(|table| self.reads.get(table)).flatten();
            left.extend(read.map(|table| root(&self.trees, *table)).filter(|table| seen.insert(*table)));
        }
        false
    }

    fn follow(&self, from: u32, way: Way) -> Slots {
        let mut slots = Slots::NONE;
        let mut seen = HashSet::from([root(&self.trees, from)]);
        let mut left = vec![root(&self.trees, from)];
        while let Some(tree) = left.pop() {
            let alone = [tree];
            let members = self.members.get(&tree).map_or(&alone[..], Vec::as_slice);
            let code = if way == Way::Reads { &self.read_code } else { &self.write_code };
            let known = self.names.get(&tree);
            let (Some(name), false) = (known, members.iter().any(|table| code.contains(table))) else {
                // A system view, or one that can't be looked into.
                return Slots::ANY;
            };
            slots = slots.and(Slots::of(name));
            if slots == Slots::ANY {
                return slots;
            }
            let further = members.iter().flat_map(|table| {
                let read = self.reads.get(table).into_iter().flatten();
                let cascades = self.cascades.get(table).filter(|_| way == Way::Writes).into_iter().flatten();
                read.chain(cascades)
            });
            left.extend(further.map(|table| root(&self.trees, *table)).filter(|table| seen.insert(*table)));
        }
        slots
    }
}

/// The first table of the tree that a table belongs to; itself if it is alone.
fn root(trees: &HashMap<u32, u32>, mut table: u32) -> u32 {
    while let Some(next) = trees.get(&table).filter(|next| **next != table) {
        table = *next;
    }
    table
}

fn by_first(pairs: &[(u32, u32)]) -> HashMap<u32, Vec<u32>> {
    let mut by_first: HashMap<u32, Vec<u32>> = HashMap::new();
    for (first, second) in pairs {
        by_first.entry(*first).or_default().push(*second);
    }
    by_first
}

#[cfg(test)]
mod tests {
    use sql::{Analyzer, LexSettings};

    use super::*;
    use crate::catalog::{CalledRow, Catalog, FunctionRow, OperatorRow, TableRow};

    fn table(oid: u32, name: &str) -> TableRow {
        TableRow { oid, name: name.into(), code: false }
    }

    fn catalog() -> Catalog {
        let called = |relation, name: &str| CalledRow {
            relation,
            schema: "public".into(),
            name: name.into(),
            volatile: false,
        };
        Catalog::of(CatalogRows {
            tables: vec![
                table(1, "a"),
                table(2, "b"),
                table(3, "orders"),
                table(4, "lines"),
                table(5, "p"),
                table(6, "p_old"),
                table(7, "p_new"),
                table(8, "both"),
                table(9, "counted"),
                TableRow { code: true, ..table(10, "audited") },
                table(11, "twice"),
                table(12, "twice"),
                table(13, "secret"),
                table(14, "computed"),
                table(15, "jotted"),
            ],
            inherits: vec![(5, 6), (5, 7)],
            cascades: vec![(3, 4), (11, 1)],
            reads: vec![(8, 1), (8, 2), (8, 8), (9, 1)],
            calls: vec![called(9, "counts"), called(13, "may_see")],
            operators: vec![OperatorRow { name: "<?>".into(), volatile: false, code: true }],
            functions: vec![FunctionRow {
                schema: "public".into(),
                name: "upper".into(),
                volatile: false,
                code: true,
            }],
            row_functions: vec![(14, false), (15, true)],
            ..CatalogRows::default()
        })
    }

    fn analyzed<T>(sql: &str, look: impl FnOnce(&Facts) -> T) -> T {
        look(Analyzer::new(10).analyze(sql.as_bytes(), LexSettings::default()).facts)
    }

    fn slots(names: &[&str]) -> Slots {
        names.iter().copied().map(Slots::of).collect()
    }

    #[test]
    fn what_a_text_reads() {
        let catalog = catalog();
        let any = Slots::ANY;
        for (sql, expected) in [
            ("SELECT 1", Slots::NONE),
            ("SAVEPOINT a", Slots::NONE),
            ("SELECT * FROM a", slots(&["a"])),
            ("SELECT * FROM other.a", slots(&["a"])),
            ("WITH x AS (TABLE a) SELECT * FROM x JOIN b USING (id)", slots(&["a", "b"])),
            ("SELECT * FROM a; SELECT * FROM b", slots(&["a", "b"])),
            ("COPY b TO STDOUT", slots(&["b"])),
            ("SELECT * FROM p_old", slots(&["p"])),
            ("SELECT * FROM p", slots(&["p"])),
            ("SELECT * FROM both", slots(&["both", "a", "b"])),
            ("SELECT * FROM counted", any),
            ("SELECT * FROM secret", any),
            ("SELECT * FROM orders", slots(&["orders"])),
            ("SELECT * FROM unheard_of", any),
            ("SELECT * FROM pg_class", Slots::NONE),
            ("SELECT counts()", any),
            ("SELECT c.lines FROM computed c", any),
            ("SELECT 1 <?> id FROM a", any),
            ("SELECT upper(a) FROM a", any),
            ("SELECT pg_catalog.upper('x') FROM a", slots(&["a"])),
            ("SELECT 1::int + id FROM a", slots(&["a"])),
            ("SELECT query_to_xml('TABLE a', true, true, '')", any),
        ] {
            assert_eq!(analyzed(sql, |facts| catalog.tables_read(facts)), expected, "{sql}");
        }
    }

    #[test]
    fn what_a_text_writes() {
        let catalog = catalog();
        let any = Slots::ANY;
        for (sql, expected) in [
            ("SELECT * FROM a", Slots::NONE),
            ("SELECT * FROM a FOR UPDATE", Slots::NONE),
            ("SELECT j.jot FROM jotted j", any),
            ("SELECT c.lines FROM computed c", Slots::NONE),
            ("SELECT 1 <?> id FROM a", Slots::NONE),
            ("BEGIN", Slots::NONE),
            ("COMMIT", Slots::NONE),
            ("SET work_mem = '1MB'", Slots::NONE),
            ("SELECT nextval('s')", Slots::NONE),
            ("INSERT INTO a VALUES (1)", slots(&["a"])),
            ("INSERT INTO a SELECT * FROM b", slots(&["a"])),
            ("UPDATE b SET x = 1 WHERE id IN (SELECT id FROM a)", slots(&["b"])),
            ("WITH gone AS (DELETE FROM a RETURNING *) SELECT * FROM gone", slots(&["a"])),
            ("DELETE FROM orders", slots(&["orders", "lines"])),
            ("INSERT INTO p_new VALUES (1)", slots(&["p"])),
            ("COPY a FROM STDIN", slots(&["a"])),
            ("EXPLAIN ANALYZE DELETE FROM b", slots(&["b"])),
            ("UPDATE both SET x = 1", slots(&["both", "a", "b"])),
            ("UPDATE twice SET x = 1", slots(&["twice", "a"])),
            ("INSERT INTO audited VALUES (1)", any),
            ("INSERT INTO unheard_of VALUES (1)", any),
            ("INSERT INTO a VALUES (unheard())", any),
            ("SELECT unheard()", any),
            ("SELECT * INTO c FROM a", any),
            ("TRUNCATE a", any),
            ("CREATE TABLE c (x int)", any),
            ("COMMIT PREPARED 'x'", any),
            ("DO 'BEGIN END'", any),
            ("EXECUTE something", any),
            ("INSERT INTO a VALUES (1); INSERT INTO b VALUES (2)", slots(&["a", "b"])),
        ] {
            assert_eq!(analyzed(sql, |facts| catalog.tables_written(facts)), expected, "{sql}");
        }
    }

    #[test]
    fn without_a_catalog_any_table_may_be_meant() {
        for catalog in [Catalog::unsettled(), Catalog::of(CatalogRows::default())] {
            assert_eq!(analyzed("TABLE a", |facts| catalog.tables_read(facts)), Slots::ANY);
            assert_eq!(analyzed("DELETE FROM a", |facts| catalog.tables_written(facts)), Slots::ANY);
        }
        let none = Catalog::unavailable();
        assert_eq!(analyzed("TABLE a", |facts| none.tables_read(facts)), Slots::ANY);
        assert_eq!(analyzed("SELECT 1", |facts| none.tables_read(facts)), Slots::NONE);
        assert_eq!(analyzed("DELETE FROM a", |facts| none.tables_written(facts)), Slots::ANY);
    }
}
