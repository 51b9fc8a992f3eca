//! What is fuzzed. The programs in `bin/` need a nightly compiler; the functions don't, and a test of the unit tier replays the corpus by them.

pub mod targets;
