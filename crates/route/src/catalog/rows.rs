//! The rows that a catalog is made of, as they come out of `pg_proc`, `pg_class` and their kind.

/// All that is read of one database.
#[derive(Debug, Default)]
pub struct CatalogRows {
    /// Functions and aggregates, by schema and name; built-in ones too.
    pub functions: Vec<FunctionRow>,
    /// Relations that may be guarded: sequences, foreign and unlogged tables, views, tables with row security or with
    /// children.
    pub relations: Vec<RelationRow>,
    /// A view or parent, by oid, and a relation that is read with it.
    pub reads: Vec<(u32, u32)>,
    /// What views and policies call.
    pub calls: Vec<CalledRow>,
    /// Views, by oid, that lock rows.
    pub locks: Vec<u32>,
    /// Operators of the database's own.
    pub operators: Vec<OperatorRow>,
    /// An explicit cast, or the check of a domain, calls a volatile function.
    pub volatile_casts: bool,
    /// An implicit cast does.
    pub volatile_implicit_casts: bool,
    /// An explicit cast, or the check of a domain, calls a function that may read or write tables.
    pub code_casts: bool,
    /// An implicit cast does.
    pub code_implicit_casts: bool,
    /// Tables, by oid, that have a function of a row as if it were a column, and whether one of those is VOLATILE.
    pub row_functions: Vec<(u32, bool)>,
    /// Tables and views of the database's own, all of them; none: they are too many to be known.
    pub tables: Vec<TableRow>,
    /// Parents and children, partitions too.
    pub inherits: Vec<(u32, u32)>,
    /// Tables, and those that refer to them and are changed with them (ON DELETE CASCADE and the like).
    pub cascades: Vec<(u32, u32)>,
}

/// A table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRow {
    /// Its oid.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Writing to it runs code that may touch other tables: triggers, rules, defaults.
    pub code: bool,
}

/// All overloads of a function in one schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionRow {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whether one of them is VOLATILE, or an aggregate over a function that is.
    pub volatile: bool,
    /// Whether one of them is of the database's own and not written in C: it may read or write tables.
    pub code: bool,
}

/// An operator of the database's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRow {
    /// Its name.
    pub name: String,
    /// It calls a volatile function.
    pub volatile: bool,
    /// It calls a function that may read or write tables.
    pub code: bool,
}

/// A relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationRow {
    /// Its oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
}

/// What a relation is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// A sequence.
    Sequence,
    /// A foreign table.
    Foreign,
    /// An unlogged table.
    Unlogged,
    /// A view of the database's own, or a table: what it reads and calls decides.
    Plain,
    /// A view or table of `pg_catalog` or `information_schema`: its name decides.
    System,
}

/// A function that a view's rule or a policy calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalledRow {
    /// The view or table, by oid.
    pub relation: u32,
    /// The function's schema.
    pub schema: String,
    /// The function's name.
    pub name: String,
    /// Whether this overload is VOLATILE.
    pub volatile: bool,
}
