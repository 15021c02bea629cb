//! A checker that can't fail is worth nothing.

use std::collections::HashMap;

use localpg::Lsn;

use super::*;

fn refused() -> Outcome {
    Outcome::Refused(ServerError { code: "40001".to_owned(), ..ServerError::default() })
}

fn unknown() -> Outcome {
    Outcome::Unknown("08007".to_owned())
}

/// One operation of two rows, that ended so, and the numbers of its rows that are there.
fn violations(outcome: Option<Outcome>, rows: &[u32]) -> Vec<What> {
    let history = History::new();
    let token = history.begin(0, 2);
    if let Some(outcome) = outcome {
        history.end(token, outcome);
    }
    let found: Vec<_> = rows.iter().map(|row| (token, *row)).collect();
    history.check(&found, None).violations.into_iter().map(|violation| violation.what).collect()
}

#[test]
fn what_agrees_is_clean() {
    for (outcome, rows) in
        [(Outcome::Ok, &[0, 1][..]), (refused(), &[]), (unknown(), &[]), (unknown(), &[1, 0])]
    {
        assert_eq!(violations(Some(outcome.clone()), rows), [], "{outcome:?} {rows:?}");
    }
}

#[test]
fn what_contradicts_is_found() {
    for (outcome, rows, expected) in [
        (Some(Outcome::Ok), &[][..], What::Missing),
        (Some(Outcome::Ok), &[0], What::InPart),
        (Some(Outcome::Ok), &[0, 1, 1], What::Twice),
        (Some(Outcome::Ok), &[0, 1, 2], What::InPart),
        (Some(refused()), &[0, 1], What::There),
        (Some(refused()), &[1], What::InPart),
        (Some(unknown()), &[0], What::InPart),
        (Some(unknown()), &[0, 1, 0, 1], What::Twice),
        (None, &[], What::Unanswered),
        (None, &[0, 1], What::Unanswered),
    ] {
        assert_eq!(violations(outcome.clone(), rows), [expected], "{outcome:?} {rows:?}");
    }
    let strange = History::new().check(&[(Token(7), 0)], None);
    assert_eq!(
        strange.violations,
        [Violation { token: Token(7), told: "nothing".to_owned(), what: What::Strange }]
    );
    assert!(strange.to_string().contains("token 7"), "{strange}");
}

/// Only where its commit is known and lies at or above the promoted position of the server that took it.
#[test]
fn a_loss_is_forgiven_only_above_the_promoted_position() {
    let lost_at = |place: Option<Place>, losses: Option<&Losses>| {
        let history = History::new();
        let token = history.begin(0, 1);
        if let Some(place) = place {
            history.wrote(token, place);
        }
        history.end(token, Outcome::Ok);
        let report = history.check(&[], losses);
        assert_eq!(report.lost.len() + report.violations.len(), 1, "{report}");
        report.is_clean()
    };
    let commits = HashMap::from([(10, Lsn(99)), (11, Lsn(100)), (12, Lsn(101))]);
    let losses = Losses::new().of(5001, commits, Lsn(100));
    let at = |port, xid| Some(Place { port, xid });
    assert!(!lost_at(at(5001, 10), Some(&losses)), "below");
    assert!(lost_at(at(5001, 11), Some(&losses)) && lost_at(at(5001, 12), Some(&losses)), "above");
    assert!(!lost_at(at(5001, 13), Some(&losses)), "never committed there");
    assert!(!lost_at(at(5002, 12), Some(&losses)), "another server");
    assert!(!lost_at(None, Some(&losses)), "not known where");
    assert!(!lost_at(at(5001, 12), None), "synchronous replication loses nothing");
}

#[test]
fn only_some_errors_leave_it_open() {
    let told = |code: &str| {
        let body = format!("SERROR\0VERROR\0C{code}\0Mno\0\0").into_bytes();
        Outcome::of(&Ok(vec![Frame { tag: b'E', body }, Frame { tag: b'Z', body: b"I".to_vec() }]))
    };
    for code in ["57P01", "40001", "08006", "57P03", "25006"] {
        assert!(matches!(told(code), Outcome::Refused(_)), "{code}");
    }
    assert!(matches!(told("08007"), Outcome::Unknown(_)));
    let lost = Error::Closed { what: "ReadyForQuery", so_far: Vec::new() };
    assert!(matches!(Outcome::of(&Err(lost)), Outcome::Unknown(_)));
    assert_eq!(Outcome::of(&Ok(vec![Frame { tag: b'Z', body: b"I".to_vec() }])), Outcome::Ok);
}

#[test]
fn a_report_counts() {
    let history = History::new();
    let tokens: Vec<_> = (0..4).map(|client| history.begin(client, 1)).collect();
    for (token, outcome) in tokens.iter().zip([Outcome::Ok, refused(), unknown(), unknown()]) {
        history.end(*token, outcome);
    }
    let report = history.check(&[(tokens[0], 0), (tokens[2], 0)], None);
    assert_eq!((report.ok, report.refused, report.unknown), (1, 1, (2, 1)));
    assert!(report.is_clean() && history.confirmed() == 1, "{report}");
}
