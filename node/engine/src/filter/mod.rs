//! Filters: what may be asked ([`expr`]) and how a bitmap of passing points is made ([`evaluate`]).

pub mod expr;

pub use expr::{Condition, FieldCondition, FieldTest, Filter, MinShould};
