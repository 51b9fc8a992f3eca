//! Names that become parts of paths and keys. Whatever comes from outside passes here first.

use std::fmt;

use super::SnapshotError;

/// One part of a path: letters, digits, `.`, `_`, `-`; no dot in front; at most 255 of them. Never a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SafeName(String);

impl SafeName {
    /// Refuses everything that could mean another place.
    pub fn parse(text: &str) -> Result<Self, SnapshotError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > 255 || text.starts_with('.') || !text.chars().all(fits) {
            return Err(SnapshotError::BadInput(format!(
                "`{}` can't be a name here: use up to 255 letters, digits, `.`, `_` and `-`, no dot in front",
                text.escape_debug()
            )));
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SafeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A few [`SafeName`]s with `/` between them: a file below a folder. At most 8 deep.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SafePath(String);

impl SafePath {
    pub fn parse(text: &str) -> Result<Self, SnapshotError> {
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() > 8 {
            return Err(SnapshotError::BadInput(format!("`{}` is too deep", text.escape_debug())));
        }
        for part in parts {
            SafeName::parse(part)?;
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where it is below a folder.
    pub fn below(&self, folder: &std::path::Path) -> std::path::PathBuf {
        self.0.split('/').fold(folder.to_path_buf(), |at, part| at.join(part))
    }
}

impl fmt::Display for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, name: bool, path: bool) {
        assert_eq!(SafeName::parse(text).is_ok(), name, "as a name: {text:?}");
        assert_eq!(SafePath::parse(text).is_ok(), path, "as a path: {text:?}");
    }

    #[test]
    fn nothing_that_means_another_place_gets_through() {
        check("docs-2026-11-24.snapshot", true, true);
        check("a/b/c", false, true);
        for bad in [
            "",
            ".",
            "..",
            "../a",
            "a/../b",
            "/a",
            "a/",
            "a//b",
            ".hidden",
            "a/.b",
            "a\0b",
            "a\\b",
            "C:a",
            "a b",
            "ä",
            "..%2F",
            "a/b/c/d/e/f/g/h/i",
            "~",
            "a\n",
        ] {
            check(bad, false, false);
        }
        check(&"a".repeat(256), false, false);
    }
}
