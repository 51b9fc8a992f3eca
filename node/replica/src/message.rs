//! What copies of a shard say to each other. Bytes of operations travel beside an `Append`, bytes of files beside a
//! `Snapshot`: the protocol knows positions only.

use serde::{Deserialize, Serialize};

use crate::log::{Position, Run};
use crate::record::CopyId;
use crate::{Seq, Term, Time};

/// A message; every one carries the term in which its sender speaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// The primary begins a session and asks what the copy has. Answers to earlier sessions count no more.
    Open { term: Term, session: u64 },
    /// The answer: what is durable there.
    Hello(Hello),
    /// Entries behind `previous`, or none: a heartbeat.
    Append(Append),
    /// The copy's disk has everything up to `matched`, equal to the primary's log.
    Ack { term: Term, session: u64, matched: Seq, applied: Seq, asked: Time },
    /// Definite: nothing of what was asked was done.
    Refuse { term: Term, session: u64, reason: Refusal },
    /// The log doesn't reach back far enough: take the files as of `up_to` instead.
    Snapshot { term: Term, session: u64, up_to: Position, asked: Time },
    /// The primary of this term serves no more and has asked the store to promote the receiver.
    TakeOver { term: Term, config_version: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hello {
    pub term: Term,
    pub session: u64,
    /// Durable; what comes after it may be lost.
    pub last: Position,
    /// Known as committed; at most `last`.
    pub commit: Seq,
    /// The copy found damage in its data and has to be made anew.
    pub damaged: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Append {
    pub term: Term,
    pub session: u64,
    /// Version of the record that the primary acts on: a copy that knows less may read it.
    pub config_version: u64,
    /// The entry before the first one here.
    pub previous: Position,
    /// Terms of the entries `previous.seq + 1 ..= last`.
    pub runs: Vec<Run>,
    pub last: Seq,
    pub commit: Seq,
    /// The primary could serve a strong read when it sent this: all that was acknowledged is within `commit`.
    #[serde(default)]
    pub current: bool,
    /// The primary's clock when it sent this; comes back in the answer and means nothing to anybody else.
    pub asked: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// The copy promised the term of the refusal, which is higher.
    OldTerm,
    /// The copy lacks `previous`, or has another entry there.
    Mismatch,
    /// An entry contradicts one that the copy knows as committed, or the message contradicts itself.
    Conflict,
    NoSpace,
    IoError,
}

impl Message {
    pub fn term(&self) -> Term {
        match self {
            Self::Hello(hello) => hello.term,
            Self::Append(append) => append.term,
            Self::Open { term, .. }
            | Self::Ack { term, .. }
            | Self::Refuse { term, .. }
            | Self::Snapshot { term, .. }
            | Self::TakeOver { term, .. } => *term,
        }
    }
}

/// A message and whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Envelope {
    pub from: CopyId,
    pub to: CopyId,
    pub message: Message,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Through JSON and back.
    fn check(message: Message, term: Term) {
        let envelope = Envelope { from: CopyId(1), to: CopyId(u128::MAX), message };
        let text = serde_json::to_string(&envelope).expect("messages are written");
        assert_eq!(serde_json::from_str::<Envelope>(&text).expect("messages are read"), envelope);
        assert_eq!(envelope.message.term(), term);
    }

    #[test]
    fn messages_survive_the_wire_and_tell_their_term() {
        let at = |seq, term| Position { seq, term };
        check(Message::Open { term: 3, session: 1 }, 3);
        check(Message::Hello(Hello { term: 3, session: 1, last: at(9, 2), commit: 7, damaged: false }), 3);
        let runs = vec![Run { first: 10, term: 2 }, Run { first: 12, term: 4 }];
        let (previous, last, commit) = (at(9, 2), 13, 7);
        check(
            Message::Append(Append {
                term: 4,
                session: 1,
                config_version: 8,
                previous,
                runs,
                last,
                commit,
                current: true,
                asked: 5,
            }),
            4,
        );
        check(Message::Ack { term: 4, session: 1, matched: 13, applied: 7, asked: 5 }, 4);
        check(Message::Refuse { term: 5, session: 1, reason: Refusal::OldTerm }, 5);
        check(Message::Snapshot { term: 4, session: 2, up_to: at(7, 2), asked: 5 }, 4);
        check(Message::TakeOver { term: 4, config_version: 8 }, 4);
    }
}
