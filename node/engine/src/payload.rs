//! Payloads: the JSON object of a point, kept as the client's own bytes.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// A JSON object as bytes. Cheap to clone; empty means that the point has no payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawPayload(Option<Arc<[u8]>>);

/// A parsed payload; keys stay in the client's order.
pub type PayloadMap = Map<String, Value>;

impl RawPayload {
    /// No payload.
    pub fn empty() -> Self {
        Self(None)
    }

    /// Bytes that the caller knows to be one JSON object.
    pub fn from_json_bytes(bytes: &[u8]) -> Self {
        if bytes.is_empty() || bytes == b"{}" { Self(None) } else { Self(Some(bytes.into())) }
    }

    /// Prints a map.
    pub fn from_map(map: &PayloadMap) -> Self {
        if map.is_empty() {
            return Self(None);
        }
        Self(Some(serde_json::to_vec(map).expect("a map of JSON values always prints").into()))
    }

    /// The bytes; none if there is no payload.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The bytes as JSON text, `{}` if there is no payload.
    pub fn as_json(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(b"{}")
    }

    /// Whether there is no payload.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Parses the bytes.
    pub fn parse(&self) -> Result<PayloadMap> {
        match &self.0 {
            None => Ok(PayloadMap::new()),
            Some(bytes) => {
                serde_json::from_slice(bytes).map_err(|e| Error::corrupt("payload", e.to_string()))
            }
        }
    }
}
