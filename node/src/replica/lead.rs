//! What a leading copy lets its shard do.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use quiver_engine::Error;
use quiver_engine::shard::replicated::{Lead, NotCommitted};
use quiver_engine::wal;

use super::{Inbox, Input};

/// Asks the copy's thread, from a thread that may block.
pub struct Leader {
    pub inbox: Inbox,
    /// Longest wait for other copies.
    pub patience: Duration,
}

impl Leader {
    fn ask<T>(
        &self,
        question: fn(SyncSender<Result<T, String>>) -> Input,
    ) -> quiver_engine::error::Result<T> {
        let (reply, told) = sync_channel(1);
        self.inbox.put(question(reply));
        match told.recv_timeout(self.patience) {
            Ok(answer) => answer.map_err(Error::Unavailable),
            Err(_) => {
                Err(Error::Unavailable("this copy of the shard has stopped: ask again in a moment".into()))
            }
        }
    }
}

impl Lead for Leader {
    fn term(&self) -> quiver_engine::error::Result<u64> {
        self.ask(Input::Term)
    }

    fn confirm(&self) -> quiver_engine::error::Result<()> {
        self.ask(Input::Confirm)
    }

    fn commit(&self, entries: Vec<wal::Record>) -> Result<(), NotCommitted> {
        let (reply, told) = sync_channel(1);
        self.inbox.put(Input::Commit { entries, reply });
        told.recv_timeout(self.patience).unwrap_or_else(|e| {
            Err(NotCommitted::Unknown(match e {
                RecvTimeoutError::Timeout => {
                    "the other copies of the shard did not confirm the write in time".into()
                }
                RecvTimeoutError::Disconnected => "this copy of the shard has stopped".into(),
            }))
        })
    }
}
