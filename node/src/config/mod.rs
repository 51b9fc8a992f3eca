//! Settings: built-in defaults, then a YAML file, then the environment (`QUIVER__SECTION__KEY`), then flags.
//!
//! A key that nobody knows is refused by its name, wherever it comes from. Keys that exist in the protocol's
//! own configuration and mean nothing here are accepted and reported, so that an existing file keeps working.
//! This file never touches the data.

mod load;
mod sections;

pub use load::{Flags, Loaded, load};
pub use sections::*;
