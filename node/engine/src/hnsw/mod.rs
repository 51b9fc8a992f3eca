//! Hierarchical navigable small world graphs (Malkov, Yashunin 2018), searched on codes or raw vectors.
//!
//! [`graph`] is the finished graph and its file, [`search`] walks, [`search_scan`] scans, [`build`] makes graphs and grows old
//! ones. Which of the points found are answered, and on what evidence they are ordered, is the segment's business.

pub(crate) mod build;
mod build_far;
mod build_link;
mod build_select;
mod context;
#[cfg(test)]
mod far_tests;
pub mod graph;
pub(crate) mod inline;
pub(crate) mod multi;
pub(crate) mod search;
mod search_beam;
mod search_entry;
pub(crate) mod search_inline;
pub(crate) mod search_rescore;
pub(crate) mod search_scan;
mod search_space;
mod search_visited;
#[cfg(test)]
pub(crate) mod tests;

pub use context::SearchContext;
pub use graph::Graph;
pub(crate) use search_space::Space;
