//! The reasons by name alone, for who counts them: each routing reason is one of these.

/// Why a statement went where it went, short of its particulars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the words are beside each in the table")]
#[repr(u8)]
pub enum Why {
    Reads,
    Learned,
    Empty,
    Writes,
    Locks,
    Function,
    UnknownFunction,
    PrimaryRelation,
    NotUnderstood,
    CatalogUnsettled,
    GuardedRelation,
    VolatileFunction,
    VolatileOperator,
    VolatileCast,
    VolatileAnywhere,
    Session,
    Behind,
    InTransaction,
    Transaction,
    UntilWrite,
    SaidTooMuch,
    Opens,
    ReadOnlyTransaction,
    SerializableTransaction,
    Hint,
    Setting,
    PipelineReads,
    PipelineWrites,
    PipelineGoesOn,
}

/// Each with its label in metrics and its words.
const TABLE: [(Why, &str, &str); 29] = [
    (Why::Reads, "reads", "reads only"),
    (Why::Learned, "learned", "a replica has refused it as a write"),
    (Why::Empty, "empty", "empty, reads nothing"),
    (Why::Writes, "writes", "writes"),
    (Why::Locks, "locks", "locks rows or tables"),
    (Why::Function, "function", "calls a function that must have the primary"),
    (Why::UnknownFunction, "unknown_function", "calls a function of which nothing is known"),
    (Why::PrimaryRelation, "primary_relation", "reads what only the primary has right"),
    (Why::NotUnderstood, "not_understood", "not understood"),
    (Why::CatalogUnsettled, "catalog_unsettled", "the database's catalog was being read"),
    (Why::GuardedRelation, "guarded_relation", "reads a relation that is the primary's"),
    (Why::VolatileFunction, "volatile_function", "calls a function that may write"),
    (Why::VolatileOperator, "volatile_operator", "an operator of the database may write"),
    (Why::VolatileCast, "volatile_cast", "a cast or domain of the database may write"),
    (Why::VolatileAnywhere, "volatile_anywhere", "an operator or cast of the database may write unasked"),
    (Why::Session, "session", "concerns the session"),
    (Why::Behind, "behind", "reads only, but no replica has caught up with what it must see"),
    (Why::InTransaction, "in_transaction", "in a transaction that is open there"),
    (Why::Transaction, "transaction", "begins a transaction that may write"),
    (Why::UntilWrite, "until_write", "reads in a transaction that has not written"),
    (Why::SaidTooMuch, "said_too_much", "its transaction has set or saved too much to go on elsewhere later"),
    (Why::Opens, "opens", "opens a cursor or portal, which can't move"),
    (Why::ReadOnlyTransaction, "read_only_transaction", "begins a READ ONLY transaction"),
    (Why::SerializableTransaction, "serializable_transaction", "SERIALIZABLE, which a replica can't give"),
    (Why::Hint, "hint", "told by a hint"),
    (Why::Setting, "setting", "told by a setting"),
    (Why::PipelineReads, "pipeline_reads", "in a pipeline that only reads"),
    (Why::PipelineWrites, "pipeline_writes", "in a pipeline that doesn't only read"),
    (Why::PipelineGoesOn, "pipeline_goes_on", "in a pipeline that goes on, and may write yet"),
];

impl Why {
    /// How many there are.
    pub const COUNT: usize = TABLE.len();

    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Why> {
        TABLE.iter().map(|(why, _, _)| *why)
    }

    /// Its number, below [`Why::COUNT`].
    #[inline]
    pub fn number(self) -> usize {
        usize::from(self as u8)
    }

    /// The reason of this number.
    pub fn numbered(number: usize) -> Option<Why> {
        TABLE.get(number).map(|(why, _, _)| *why)
    }

    /// Its label in metrics.
    pub fn as_label(self) -> &'static str {
        TABLE[self.number()].1
    }

    /// It in words.
    pub fn in_words(self) -> &'static str {
        TABLE[self.number()].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_at_its_number() {
        for (number, why) in Why::all().enumerate() {
            assert_eq!((why.number(), Why::numbered(number)), (number, Some(why)));
        }
        let mut labels: Vec<_> = Why::all().map(Why::as_label).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Why::COUNT);
    }
}
