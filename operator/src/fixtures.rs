//! Worlds to plan in.
