//! Code of a database's own that statements run without naming it, or by the name of something built in: operators, casts,
//! checks of domains, overloads of built-in functions. It may read and write any table.

use std::collections::HashSet;

use sql::facts::{Name, Statement};
use sql::{Verdict, built_in};

use super::build::BEHIND_KEYWORDS;
use super::rows::CatalogRows;

/// Such code, as far as it isn't written in C.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// Operators.
    operators: HashSet<Name>,
    /// Functions of a built-in's name.
    overloads: HashSet<Name>,
    /// An explicit cast, or the check of a domain.
    casts: bool,
    /// An implicit cast, or an operator that stands behind a keyword.
    anywhere: bool,
    /// Some of it is VOLATILE, and so may write.
    pub(super) writes: bool,
}

impl Hidden {
    pub(super) fn of(rows: &CatalogRows) -> Hidden {
        let operators = || rows.operators.iter().filter(|operator| operator.code);
        let overloads = || {
            let of_built_in =
                |name: &str| matches!(built_in(name), Verdict::Reads | Verdict::ReadsUnknownTables);
            rows.functions.iter().filter(move |function| function.code && of_built_in(&function.name))
        };
        Hidden {
            operators: operators().map(|operator| operator.name.as_str().into()).collect(),
            overloads: overloads().map(|function| function.name.as_str().into()).collect(),
            casts: rows.code_casts,
            anywhere: rows.code_implicit_casts
                || operators().any(|operator| BEHIND_KEYWORDS.contains(&operator.name.as_str())),
            writes: (rows.code_casts && (rows.volatile_casts || rows.volatile_implicit_casts))
                || operators().any(|operator| operator.volatile)
                || overloads().any(|function| function.volatile),
        }
    }

    /// Whether a statement may read tables by it.
    pub(super) fn may_read(&self, statement: &Statement) -> bool {
        let calls = &statement.calls;
        let overloads = |name: &Name, schema: Option<&str>| {
            schema.is_none_or(|schema| schema != "pg_catalog") && self.overloads.contains(name)
        };
        self.anywhere
            || (self.casts && calls.casts)
            || calls.operators.iter().any(|name| self.operators.contains(name))
            || calls.functions.iter().any(|call| overloads(&call.name, call.schema.as_deref()))
    }
}
