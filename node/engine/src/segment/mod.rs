//! Segments: mutable ones in memory, sealed ones mapped from files.
