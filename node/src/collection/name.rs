//! What collections may be called, and asked for.

use quiver_api::validate::Invalid;

use crate::error::{ApiError, Result};

/// As long as a name of a file may be.
const NAME_BYTES_MAX: usize = 255;

/// Why a new collection or alias can't be called so.
pub fn wrong_name(name: &str) -> Option<String> {
    const REFUSED: [char; 9] = ['<', '>', ':', '"', '/', '\\', '|', '?', '*'];
    wrong_in(name, |c| c.is_control() || REFUSED.contains(&c))
}

/// What a collection may be called.
pub fn check_name(name: &str) -> Result<()> {
    in_path(wrong_name(name))
}

/// What may be asked for as a collection: names that are refused for new ones only are let through.
pub fn check_asked_name(name: &str) -> Result<()> {
    in_path(wrong_in(name, |c| c == '/' || c.is_control()))
}

fn in_path(wrong: Option<String>) -> Result<()> {
    let refuse = |text| Err(ApiError::invalid_in("path parameters", &Invalid::one("name", text)));
    wrong.map_or(Ok(()), refuse)
}

fn wrong_in(name: &str, refused: impl Fn(char) -> bool) -> Option<String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Some(format!("must be from 1 to {NAME_BYTES_MAX} characters"));
    }
    let found = name.chars().find(|c| refused(*c))?;
    Some(format!("collection name cannot contain \"{found}\" char"))
}
