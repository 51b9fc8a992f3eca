//! Rights, and who has them.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use quiver_api::query::{LookupFrom, LookupRecords, Prefetches, QueryGroupsRequest, QueryRequest};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{ApiError, Result};

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Nothing: for probes, and the files of the dashboard.
    Free,
    /// Any key or token. The answer tells of those collections alone that it may see.
    Listed,
    /// To read what concerns the whole node.
    GlobalRead,
    /// To change what concerns the whole node, and which collections there are.
    GlobalManage,
    /// To read points and settings of the collection in the path.
    Read,
    /// To read its snapshots and its place in the cluster too.
    ReadExtras,
    /// To change its points.
    WritePoints,
    /// To change its payload indexes, vectors and snapshots too.
    Write,
    /// To change its shards. No token for collections has it.
    Manage,
}

impl Right {
    /// Whether the route changes nothing.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Free | Self::Listed | Self::GlobalRead | Self::Read | Self::ReadExtras)
    }

    /// Whether it is about more of a collection than its points.
    fn is_extra(self) -> bool {
        matches!(self, Self::ReadExtras | Self::Write | Self::Manage)
    }
}

/// What a request may do, in the form of the claim `access`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Access {
    Global(Global),
    Collections(Arc<[Grant]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Global {
    #[serde(rename = "r")]
    Read,
    #[serde(rename = "m")]
    Manage,
}

/// What may be done with one collection.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Grant {
    /// As requests name it: the grant for a collection is none for its aliases.
    pub collection: String,
    pub access: Mode,
    /// Only to refuse it: tokens made for servers that looked at it must not allow more than they did.
    payload: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Mode {
    #[serde(rename = "r")]
    Read,
    #[serde(rename = "rw")]
    ReadWrite,
    /// Reads and changes points, and nothing else of the collection.
    #[serde(rename = "prw")]
    PointsReadWrite,
}

/// Nothing, so that what was not decided allows nothing.
impl Default for Access {
    fn default() -> Self {
        Self::Collections(Arc::default())
    }
}

impl Access {
    pub const FULL: Self = Self::Global(Global::Manage);
    pub const READ_ONLY: Self = Self::Global(Global::Read);

    /// What is wrong with the claim, if anything.
    pub fn validate(&self) -> std::result::Result<(), String> {
        let Self::Collections(grants) = self else { return Ok(()) };
        let mut wrong = Vec::new();
        for (i, grant) in grants.iter().enumerate() {
            if grants[..i].iter().any(|g| g.collection == grant.collection) {
                wrong.push(format!("access[{i}].collection: Collection name should be unique"));
            }
            if grant.payload.is_some() {
                let text = "The 'payload' constraint is deprecated and should not be used";
                wrong.push(format!("access[{i}].payload: {text}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// Whether it has a right; `collection` is the one in the path. The error is a 403.
    pub fn check(&self, right: Right, collection: Option<&str>) -> Result<()> {
        match self {
            Self::Global(Global::Manage) => Ok(()),
            Self::Global(Global::Read) if right.is_read() => Ok(()),
            Self::Global(Global::Read) => Err(ApiError::forbidden("Global manage access is required")),
            Self::Collections(_) => match right {
                Right::Free | Right::Listed => Ok(()),
                Right::GlobalRead | Right::GlobalManage => {
                    Err(ApiError::forbidden("Global access is required"))
                }
                _ => self.check_collection(right, collection.unwrap_or_default()),
            },
        }
    }

    fn check_collection(&self, right: Right, name: &str) -> Result<()> {
        let Some(mode) = self.mode(name) else {
            return Err(ApiError::forbidden(format!("Access to collection {name} is required")));
        };
        if right.is_extra() && mode == Mode::PointsReadWrite {
            let text = format!("Only points access is allowed for collection {name}");
            return Err(ApiError::forbidden(text));
        }
        if !right.is_read() && mode == Mode::Read {
            return Err(ApiError::forbidden(format!("Write access to collection {name} is required")));
        }
        if right == Right::Manage {
            return Err(ApiError::forbidden("Manage access for this operation is required"));
        }
        Ok(())
    }

    fn mode(&self, name: &str) -> Option<Mode> {
        match self {
            Self::Global(_) => None,
            Self::Collections(grants) => grants.iter().find(|g| g.collection == name).map(|g| g.access),
        }
    }

    /// Whether it is bound to no collection.
    pub fn is_global(&self) -> bool {
        matches!(self, Self::Global(_))
    }

    /// Whether lists may tell of a collection.
    pub fn may_see(&self, collection: &str) -> bool {
        self.check(Right::Read, Some(collection)).is_ok()
    }

    /// Whether a query reads only collections that may be read: it can name others than the one in the path.
    pub fn check_query(&self, r: &QueryRequest) -> Result<()> {
        self.check_lookup(r.lookup_from.as_ref())?;
        self.check_prefetches(r.prefetch.as_ref())
    }

    /// The same of a query for groups.
    pub fn check_groups(&self, r: &QueryGroupsRequest) -> Result<()> {
        self.check_lookup(r.lookup_from.as_ref())?;
        self.check_prefetches(r.prefetch.as_ref())?;
        match &r.with_lookup {
            None => Ok(()),
            Some(LookupRecords::Collection(name) | LookupRecords::Parts { collection: name, .. }) => {
                self.check(Right::Read, Some(name))
            }
        }
    }

    fn check_prefetches(&self, prefetches: Option<&Prefetches>) -> Result<()> {
        for prefetch in prefetches.iter().flat_map(|p| &p.0) {
            self.check_lookup(prefetch.lookup_from.as_ref())?;
            self.check_prefetches(prefetch.prefetch.as_ref())?;
        }
        Ok(())
    }

    fn check_lookup(&self, lookup: Option<&LookupFrom>) -> Result<()> {
        lookup.map_or(Ok(()), |l| self.check(Right::Read, Some(&l.collection)))
    }
}

/// What the layer decided; nothing where it did not stand before the handler.
impl<S: Sync> FromRequestParts<S> for Access {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(claim: &str) -> Access {
        serde_json::from_str(claim).expect("a claim")
    }

    fn check(claim: &str, right: Right, collection: &str, expected: Option<&str>) {
        let found = access(claim).check(right, Some(collection)).err().map(|e| e.text);
        let expected = expected.map(|text| format!("Forbidden: {text}"));
        assert_eq!(found, expected, "{claim} {right:?} {collection}");
    }

    #[test]
    fn what_is_missing_is_named() {
        const R: &str = r#"[{"collection": "c", "access": "r"}]"#;
        const RW: &str = r#"[{"collection": "c", "access": "rw"}]"#;
        const PRW: &str = r#"[{"collection": "c", "access": "prw"}]"#;
        check(r#""m""#, Right::Manage, "c", None);
        check(r#""r""#, Right::ReadExtras, "c", None);
        check(r#""r""#, Right::WritePoints, "c", Some("Global manage access is required"));
        check(R, Right::ReadExtras, "c", None);
        check(R, Right::Read, "d", Some("Access to collection d is required"));
        check(R, Right::WritePoints, "c", Some("Write access to collection c is required"));
        check(R, Right::Manage, "c", Some("Write access to collection c is required"));
        check(R, Right::GlobalRead, "c", Some("Global access is required"));
        check(RW, Right::Write, "c", None);
        check(RW, Right::Manage, "c", Some("Manage access for this operation is required"));
        check(PRW, Right::WritePoints, "c", None);
        check(PRW, Right::ReadExtras, "c", Some("Only points access is allowed for collection c"));
        check("[]", Right::Listed, "c", None);
        assert_eq!(Access::default(), access("[]"));
    }

    #[test]
    fn claims_that_say_too_much_are_refused() {
        let twice =
            r#"[{"collection": "c", "access": "r"}, {"collection": "c", "access": "rw", "payload": {}}]"#;
        let text = "access[1].collection: Collection name should be unique\n\
                    access[1].payload: The 'payload' constraint is deprecated and should not be used";
        assert_eq!(access(twice).validate(), Err(text.to_owned()));
        assert_eq!(
            access(r#"[{"collection": "c", "access": "r", "payload": null, "more": 1}]"#).validate(),
            Ok(())
        );
        for wrong in
            [r#""rw""#, "{}", "null", r#"[{"collection": "c", "access": "m"}]"#, r#"[{"access": "r"}]"#]
        {
            assert!(serde_json::from_str::<Access>(wrong).is_err(), "{wrong}");
        }
    }
}
