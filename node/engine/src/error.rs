//! What can go wrong in the engine, by what the caller can do about it.

use crate::point_id::PointId;

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of the engine. The texts follow the protocol; the REST layer puts the prefix in front.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can't be served as it is written.
    #[error("{0}")]
    BadInput(String),
    /// A vector has the wrong number of dimensions.
    #[error("Vector dimension error: expected dim: {expected}, got {got}")]
    Dimension {
        /// What the collection is configured for.
        expected: usize,
        /// What the request carries.
        got: usize,
    },
    /// The collection has no vector of that name.
    #[error("Not existing vector name error: {0}")]
    VectorName(String),
    /// No such point.
    #[error("No point with id {0} found")]
    PointNotFound(PointId),
    /// The point exists, and has no vector of that name.
    #[error("Vector with name \"{0}\" for point not found")]
    VectorNotFound(String),
    /// The disk is full, or too nearly full to accept this write. Reads go on.
    #[error("{0}")]
    NoSpace(String),
    /// Nothing was changed, and the same request may succeed later: too much waits already.
    #[error("{0}")]
    Unavailable(String),
    /// Nothing was changed or read: another shard has some of the points, or will have them in a moment.
    #[error("{0}")]
    Moved(String),
    /// The write is in the log, and may take effect or not: it wasn't committed in time, or this copy stopped leading.
    #[error("{0}")]
    Unknown(String),
    /// The caller's [`crate::Cancel`] was set.
    #[error("cancelled")]
    Cancelled,
    /// A file does not hold what its checksum says; never served as an answer.
    #[error("{file}: {what}")]
    Corrupt {
        /// File name relative to the shard's folder.
        file: String,
        /// What was found.
        what: String,
    },
    /// An I/O error on the write path happened earlier: the shard answers reads and refuses writes.
    #[error("the shard stopped accepting writes after an I/O error: {0}")]
    Poisoned(String),
    /// An I/O error.
    #[error("{what}: {source}")]
    Io {
        /// The call and the file.
        what: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// A closure for `map_err` that says what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    /// A [`Error::Corrupt`].
    pub fn corrupt(file: impl Into<String>, what: impl Into<String>) -> Error {
        Error::Corrupt { file: file.into(), what: what.into() }
    }

    /// Whether this is the system's "no space left on device" or a quota.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::NoSpace(_))
            || matches!(self, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull
                || source.kind() == std::io::ErrorKind::QuotaExceeded)
    }
}
