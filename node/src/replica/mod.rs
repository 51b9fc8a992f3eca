//! A copy of a replicated shard on this node: the protocol of `quiver-replica` with a real log, a real disk and real time.
//!
//! Each copy has one thread of its own ([`driver`]), which alone touches the protocol's state; whoever wants something puts
//! an [`Input`] into its [`Inbox`]. What leaves the node goes through [`Outside`]. So no pool can run out of threads
//! because two nodes wait for each other's disks. `cluster::transport` is that outside in a cluster.

mod driver;
mod lead;
mod recent;
mod standing;
mod stored;
#[cfg(test)]
mod tests;
pub mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use quiver_engine::file::Disk;
use quiver_engine::shard::Shard;
use quiver_engine::shard::replicated::NotCommitted;
use quiver_engine::wal;
use quiver_replica::log::Position;
use quiver_replica::message::Envelope;
use quiver_replica::record::{Boot, CopyId, Record};
use quiver_replica::{Copy, Settings};

use parking_lot::Mutex;

use crate::clock;
use driver::Driver;
pub use standing::{Part, Standing};
pub use stored::FILE as STORED;

/// What goes from a copy to the world around it. Nothing here waits: answers come back as an [`Input`], or never.
pub trait Outside: Send + 'static {
    /// Sends a message, with the entries that an `Append` is about. It may be lost.
    fn send(&mut self, envelope: Envelope, entries: Vec<wal::Record>);
    /// Asks the store to put a record in the place of the one of version `base`.
    fn swap(&mut self, base: u64, next: Arc<Record>, asked: Asked);
    /// Asks the store for the record as it is.
    fn fetch(&mut self, asked: Asked);
    /// Asks for the files of a snapshot of another copy, at least as new as `up_to`. The answer is [`Input::Installed`].
    fn install(&mut self, from: CopyId, up_to: Position);
    /// Says where the copy stands, whenever that has changed.
    fn stands(&mut self, standing: Standing);
}

/// What a copy is told.
pub enum Input {
    Message {
        envelope: Envelope,
        entries: Vec<wal::Record>,
    },
    /// The record as a watch told it, or as the store answered.
    Record {
        record: Arc<Record>,
        asked: Option<Asked>,
    },
    /// Nobody knows what became of a request to change the record.
    Unanswered,
    /// So many copies have to be in sync for writes to be taken.
    MinInSync(usize),
    /// Which term is written in here?
    Term(SyncSender<Result<u64, String>>),
    /// May a strong read be answered from here now?
    Confirm(SyncSender<Result<(), String>>),
    /// These entries are durable here.
    Commit {
        entries: Vec<wal::Record>,
        reply: SyncSender<Result<(), NotCommitted>>,
    },
    /// A shard that was made of another copy's snapshot, to take the place of this one's; `up_to` is the last entry in it.
    Installed {
        shard: Arc<Shard>,
        up_to: Position,
        adopt: Adopt,
    },
    /// The files of a snapshot could not be had: they are asked for again.
    NotInstalled,
    /// This copy is to go: let that process of another copy lead.
    HandOver {
        to: CopyId,
        boot: Boot,
    },
    /// The process of that copy is about to end: nothing has to wait for it.
    Leaves(CopyId),
    /// A question about the protocol's state.
    Ask(Question),
    Stop,
}

/// Version of the newest record that the copy had seen when it asked the store. An answer that is older than what a watch told
/// meanwhile, and not older than this, is merely late; an older one says that the store was set back.
#[derive(Clone, Copy, Debug)]
pub struct Asked(pub u64);

/// Makes it durable that the next start opens the new shard. Called only if it is still wanted: the log may have grown
/// since its files were asked for, and been acknowledged.
pub type Adopt = Box<dyn FnOnce() -> anyhow::Result<()> + Send>;

/// Is asked in the copy's own thread, with its state and its time.
pub type Question = Box<dyn FnOnce(&Copy, quiver_replica::Time) + Send>;

/// Bytes of entries that may wait in an inbox; a message that goes beyond them is lost, and sent again by its sender.
const WAITING_BYTES: usize = 64 << 20;

/// Where a copy's inputs go. Those of a copy that has ended are lost.
#[derive(Clone)]
pub struct Inbox {
    sender: Sender<Input>,
    waiting: Arc<AtomicUsize>,
}

impl Inbox {
    fn new() -> (Self, Receiver<Input>) {
        let (sender, inputs) = channel();
        (Self { sender, waiting: Arc::default() }, inputs)
    }

    pub fn put(&self, input: Input) {
        // The receiving thread has ended with the copy: it is as if the node were gone.
        let _ = self.sender.send(input);
    }

    /// Takes a message of another copy, unless too much waits already.
    pub fn deliver(&self, envelope: Envelope, entries: Vec<wal::Record>) {
        let bytes = size_of(&entries);
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_BYTES {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            return tracing::debug!("a message of {bytes} bytes is lost: this copy doesn't keep up");
        }
        self.put(Input::Message { envelope, entries });
    }

    fn taken(&self, entries: &[wal::Record]) {
        self.waiting.fetch_sub(size_of(entries), Ordering::Relaxed);
    }
}

fn size_of(entries: &[wal::Record]) -> usize {
    entries.iter().map(|e| e.body.len()).sum()
}

/// What a copy is made of.
pub struct Parts<O> {
    pub settings: Settings,
    /// Names this life of the process.
    pub boot: Boot,
    pub id: CopyId,
    /// Opened as a replicated one.
    pub shard: Arc<Shard>,
    pub disk: Arc<dyn Disk>,
    /// A folder of the copy's own, beside the shard's.
    pub dir: PathBuf,
    pub outside: O,
    pub pace: Pace,
}

/// How often things happen, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub heartbeat: u64,
    /// A copy that something waits for and that says nothing for so long is removed from those that count.
    pub silence: u64,
    /// When the store hasn't taken its removal for so long, this node may be the one that is cut off: writes are refused.
    pub stuck: u64,
    /// A writer that waited so long is told that nobody knows.
    pub commit: u64,
    /// A hand-over that takes longer is given up.
    pub hand_over: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { heartbeat: 1000, silence: 5000, stuck: 2000, commit: 60_000, hand_over: 5000 }
    }
}

/// Until when ordinary reads of a copy are fresh. Read without asking its thread, which may be at the disk.
#[derive(Clone, Default)]
pub struct Fresh(Arc<Mutex<Option<Instant>>>);

impl Fresh {
    /// Whether what the copy has is at most [`Timing::fresh`] old.
    ///
    /// [`Timing::fresh`]: quiver_replica::lease::Timing::fresh
    pub fn is_now(&self) -> bool {
        self.0.lock().is_some_and(|until| clock::now() < until)
    }
}

/// A running copy; it stops when this is dropped.
pub struct Replica {
    id: CopyId,
    inbox: Inbox,
    fresh: Fresh,
    thread: Option<JoinHandle<()>>,
}

impl Replica {
    /// Starts the thread of a copy.
    ///
    /// # Errors
    /// What the copy keeps can't be read, or the thread can't be started.
    pub fn start<O: Outside>(parts: Parts<O>) -> anyhow::Result<Self> {
        let (inbox, inputs) = Inbox::new();
        let id = parts.id;
        let fresh = Fresh::default();
        let driver = Driver::new(parts, inbox.clone(), fresh.clone())?;
        let thread = std::thread::Builder::new().name("replica".into()).spawn(move || driver.run(&inputs))?;
        Ok(Self { id, inbox, fresh, thread: Some(thread) })
    }

    /// Of the copy.
    pub fn id(&self) -> CopyId {
        self.id
    }

    pub fn fresh(&self) -> &Fresh {
        &self.fresh
    }

    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// What `question` says of the state now; `None` if the copy has ended.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Copy, quiver_replica::Time) -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        self.inbox.put(Input::Ask(Box::new(move |copy, now| drop(tell.send(question(copy, now))))));
        told.recv().ok()
    }
}

/// Drops what holds copies, on a thread of its own: theirs may be at the disk, and those of the pools may wait for them.
pub async fn end<T: Send + 'static>(held: T) {
    let (tell, told) = tokio::sync::oneshot::channel();
    let ending = move || {
        drop(held);
        // Whoever waited may have given up.
        let _ = tell.send(());
    };
    match std::thread::Builder::new().name("ending".into()).spawn(ending) {
        Ok(_) => drop(told.await),
        Err(e) => tracing::error!("no thread to end copies of shards on: {e}"),
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.inbox.put(Input::Stop);
        // The last one who knows of it may be its own thread, which can't wait for itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
