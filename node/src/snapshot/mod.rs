//! Snapshots: of a collection, a shard or the whole storage for REST, a folder that is sent as one tar, and of a node set
//! in an object store.
//!
//! All have the same content: immutable files of shards, and a [`quiver_api::internal::SnapshotManifest`] that
//! names each with its length and SHA-256. Nothing read from a snapshot is believed before that is checked.

pub mod archive;
pub mod catalog;
pub mod checksums;
pub mod contents;
pub mod fetch;
pub mod folder;
pub mod hash;
pub mod layout;
pub mod name;
pub mod reserved;
pub mod storage;
pub mod store;
#[cfg(test)]
mod testing;

use thiserror::Error;

/// What can go wrong with a snapshot.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The request names something that can't be.
    #[error("{0}")]
    BadInput(String),
    #[error("{0}")]
    NotFound(String),
    /// The request names a place that it may not.
    #[error("{0}")]
    Forbidden(String),
    /// What was given is not a snapshot, or not one that this version reads, or damaged.
    #[error("{0}")]
    Malformed(String),
    #[error("Checksum mismatch: expected {expected}, actual {actual}")]
    Checksum { expected: String, actual: String },
    /// An address that a client named doesn't give a snapshot.
    #[error("{0}")]
    Remote(String),
    /// The object store doesn't do what it is asked to.
    #[error("the object store: {0}")]
    Store(String),
    #[error(transparent)]
    Engine(#[from] quiver_engine::Error),
    #[error("{what}: {source}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Pool(#[from] crate::pool::PoolError),
}

/// The module's result.
pub type Result<T> = std::result::Result<T, SnapshotError>;

/// A closure for `map_err` that says what was being done.
pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> SnapshotError {
    let what = what.into();
    move |source| SnapshotError::Io { what, source }
}
