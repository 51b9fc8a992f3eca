//! What a copy does in situations that the model doesn't come to.

use std::sync::Arc;

use crate::log::{Log, Position};
use crate::message::{Append, Envelope, Hello, Message, Refusal};
use crate::record::{Boot, Change, CopyId, Record};
use crate::{Action, Copy, Denied, Event, Refused, Settings, Unfit};

const A: CopyId = CopyId(1);
const B: CopyId = CopyId(2);
const BOOT: Boot = Boot(7);

/// `A` leads in term 2, `B` is in sync.
fn record() -> Record {
    let changes =
        [Change::SelfTerm { boot: BOOT }, Change::List { id: B, pod: "p1".into() }, Change::Admit(B)];
    let with = |r: Record, c: &Change| r.with(c).expect("the change is legal");
    changes.iter().fold(Record::genesis(A, "p0".into()), with)
}

fn seen(record: Record, live: bool) -> Event {
    Event::Record { record: Arc::new(record), live }
}

fn said(message: Message) -> Event {
    Event::Received { from: B, message }
}

fn hello(last: u64, commit: u64, damaged: bool) -> Event {
    let last = Position { seq: last, term: 2 };
    said(Message::Hello(Hello { term: 2, session: 1, last, commit, damaged }))
}

fn durable(seq: u64) -> Event {
    Event::Durable(Position { seq, term: 2 })
}

fn ack(matched: u64) -> Event {
    said(Message::Ack { term: 2, session: 1, matched, applied: 0, asked: 0 })
}

/// `A` from an empty disk through `events`, of which the last one has to bring all `expected` actions, or none at all if
/// there are none.
fn check(settings: Settings, events: &[Event], expected: &[Action]) -> Copy {
    let mut copy = Copy::create(settings, A, BOOT, Log::empty());
    let mut actions = Vec::new();
    for event in events {
        actions.clear();
        copy.step(0, event.clone(), &mut actions);
    }
    for action in expected {
        assert!(actions.contains(action), "{action:?} isn't among {actions:?}");
    }
    assert!(!expected.is_empty() || actions.is_empty(), "{actions:?}");
    copy
}

#[test]
fn a_write_is_committed_when_both_disks_have_it() {
    let settings = Settings::default();
    let lead = [seen(record(), true), hello(0, 0, false), Event::Writes(1)];
    let with = |more: &[Event]| [&lead, more].concat();
    check(settings, &lead, &[Action::Accepted(1), Action::Write { cut: None, after: 0, last: 1 }]);
    check(settings, &with(&[ack(1)]), &[]);
    check(settings, &with(&[durable(1)]), &[]);
    let copy = check(settings, &with(&[durable(1), ack(1)]), &[Action::Apply(1)]);
    assert_eq!((copy.strong_read(5_999), copy.strong_read(6_000)), (Ok(1), Err(Denied::NoLease(B))));
}

#[test]
fn a_primary_is_fresh_until_another_may_have_led_for_long() {
    let fresh = |events: &[Event], at| {
        let mut copy = Copy::create(Settings::default(), A, BOOT, Log::empty());
        events.iter().for_each(|event| copy.step(0, event.clone(), &mut Vec::new()));
        copy.fresh(at)
    };
    let lead = [seen(record(), true), hello(0, 0, false), Event::Writes(1), durable(1), ack(1)];
    let with = |more: Event| [&lead[..], &[more]].concat();
    // A lease of 6 s, and 3 s more.
    assert_eq!([fresh(&lead, 8_999), fresh(&lead, 9_000)], [true, false]);
    assert!(!fresh(&lead[..3], 0), "it has no lease yet");
    assert!(!fresh(&with(Event::HandOver { to: B, boot: BOOT }), 0), "the other one may lead already");
    let alone = record().with(&Change::Remove(B)).expect("the removal is legal");
    assert!(fresh(&with(seen(alone, true)), u64::MAX - 1), "nobody else can lead");
}

#[test]
fn writes_are_refused_before_they_reach_the_log() {
    let settings = Settings { min_in_sync: 3, ..Settings::default() };
    check(settings, &[Event::Writes(1)], &[Action::Refused(Refused::NotPrimary)]);
    check(settings, &[seen(record(), true), Event::Writes(1)], &[Action::Refused(Refused::TooFewInSync)]);
    let settings = Settings { waiting: 1, ..Settings::default() };
    let writes = [seen(record(), true), Event::Writes(1), Event::Writes(1)];
    check(settings, &writes, &[Action::Refused(Refused::TooManyWaiting)]);
}

#[test]
fn only_a_primary_whose_own_disk_follows_removes_a_silent_copy() {
    let removed = Arc::new(record().with(&Change::Remove(B)).expect("the removal is legal"));
    let swap = Action::Swap { base: record().config_version, next: removed };
    let waits = [seen(record(), true), Event::Writes(1), Event::Silent(B)];
    check(Settings::default(), &waits, &[]);
    let synced = [seen(record(), true), Event::Writes(1), durable(1), Event::Silent(B)];
    check(Settings::default(), &synced, &[swap]);
    check(Settings { min_in_sync: 2, ..Settings::default() }, &synced, &[]);
    let failed = [seen(record(), true), Event::Writes(1), Event::DiskFailed, Event::Silent(B)];
    check(Settings::default(), &failed, &[]);
}

#[test]
fn a_copy_that_is_to_go_is_not_admitted_however_much_it_has() {
    let mut behind = record().with(&Change::Remove(B)).expect("the removal is legal");
    let admitted = Arc::new(behind.with(&Change::Admit(B)).expect("the admission is legal"));
    let swap = Action::Swap { base: behind.config_version, next: admitted };
    let caught_up = |r: &Record| [seen(r.clone(), true), hello(0, 0, false), ack(0), Event::Admit(B)];
    check(Settings::default(), &caught_up(&behind), &[swap]);
    behind.copies[1].leaving = true;
    check(Settings::default(), &caught_up(&behind), &[]);
}

#[test]
fn a_copy_that_was_removed_says_hello_before_it_is_admitted_again() {
    let removed = record().with(&Change::Remove(B)).expect("the removal is legal");
    let admitted = Arc::new(removed.with(&Change::Admit(B)).expect("the admission is legal"));
    let swap = Action::Swap { base: removed.config_version, next: admitted };
    let gone = [seen(record(), true), hello(0, 0, false), ack(0), Event::Silent(B), seen(removed, true)];
    let with = |more: &[Event]| [&gone, more].concat();
    let copy = check(Settings::default(), &with(&[Event::Admit(B)]), &[]);
    assert_eq!(copy.due(), [Event::Tick, Event::Connected(B)]);
    let told = Hello { term: 2, session: 2, last: Position::default(), commit: 0, damaged: false };
    let back = [Event::Connected(B), said(Message::Hello(told)), Event::Admit(B)];
    check(Settings::default(), &with(&back), &[swap]);
}

#[test]
fn a_primary_that_lacks_what_is_committed_gives_up() {
    let events = [seen(record(), true), hello(3, 2, false)];
    let copy = check(Settings::default(), &events, &[Action::StepDown, Action::Report(Unfit::Damaged)]);
    assert_eq!(copy.strong_read(0), Err(Denied::NotPrimary));
}

#[test]
fn a_damaged_copy_says_so_to_whoever_leads_later() {
    let asked = said(Message::Open { term: 9, session: 4 });
    let events = [seen(record(), true), hello(3, 2, false), asked];
    let last = Position::default();
    let told = Hello { term: 9, session: 4, last, commit: 0, damaged: true };
    let sent = Action::Send(Envelope { from: A, to: B, message: Message::Hello(told) });
    let copy = check(Settings::default(), &events, &[sent]);
    assert_eq!(copy.term(), 2, "it promises nothing");
}

#[test]
fn a_copy_whose_disk_went_back_or_is_damaged_is_removed() {
    let removed = Arc::new(record().with(&Change::Remove(B)).expect("the removal is legal"));
    let swap = Action::Swap { base: record().config_version, next: removed };
    check(Settings::default(), &[seen(record(), true), hello(0, 0, true)], std::slice::from_ref(&swap));
    let session = |n| Hello { term: 2, session: n, last: Position::default(), commit: 0, damaged: false };
    let back = [
        seen(record(), true),
        hello(0, 0, false),
        Event::Writes(1),
        durable(1),
        ack(1),
        said(Message::Refuse { term: 2, session: 1, reason: Refusal::Mismatch }),
        said(Message::Hello(session(2))),
    ];
    check(Settings::default(), &back, &[swap]);
}

#[test]
fn an_older_record_counts_only_if_the_store_itself_says_so() {
    let older = Record::genesis(A, "p0".into());
    check(Settings::default(), &[seen(record(), true), seen(older.clone(), false)], &[]);
    let lost = [Action::StepDown, Action::Report(Unfit::RecordLost)];
    check(Settings::default(), &[seen(record(), true), seen(older, true)], &lost);
}

#[test]
fn messages_that_contradict_themselves_change_nothing() {
    let other = Record { primary: B, primary_boot: Some(Boot(8)), ..record() };
    let append = |last| {
        let previous = Position::default();
        let (runs, commit, asked, config_version) = (Vec::new(), u64::MAX, 0, 4);
        let current = true;
        Message::Append(Append {
            term: 2,
            session: 1,
            config_version,
            previous,
            runs,
            last,
            commit,
            current,
            asked,
        })
    };
    let copy = check(Settings::default(), &[seen(other.clone(), true), said(append(u64::MAX))], &{
        let envelope = crate::message::Envelope {
            from: A,
            to: B,
            message: Message::Refuse { term: 2, session: 1, reason: Refusal::Conflict },
        };
        [Action::Send(envelope)]
    });
    assert_eq!((copy.log().last(), copy.log().commit()), (0, 0));
    let copy = check(Settings::default(), &[seen(record(), true), hello(0, 0, false), ack(u64::MAX)], &[]);
    assert_eq!(copy.log().commit(), 0);
}
