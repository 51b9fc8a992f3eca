//! Payload indexes: keyword, integer, float, bool, datetime, uuid.
