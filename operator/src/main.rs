//! The operator: observe, validate, plan (pure), apply, status.
fn main() {}
