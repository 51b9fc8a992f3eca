//! Quantization of a collection or a vector: four kinds, each kept and shown as it was set.

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::collections::Memory;
use crate::validate::Invalid;

/// Quantization of a collection or a vector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuantizationConfig {
    Scalar(ScalarQuantization),
    Product(ProductQuantization),
    Binary(BinaryQuantization),
    Turbo(TurboQuantization),
}

/// Their names, in the order in which they are looked for.
const KINDS: [&str; 4] = ["scalar", "product", "binary", "turbo"];

impl<'de> Deserialize<'de> for QuantizationConfig {
    /// The first kind that is there. Whatever stands beside it is passed over, as other fields that nobody knows.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let Value::Object(mut given) = Value::deserialize(d)? else {
            return Err(de::Error::custom(
                "data did not match any variant of untagged enum QuantizationConfig",
            ));
        };
        let Some(kind) = KINDS.into_iter().find(|kind| given.contains_key(*kind)) else {
            return Err(match given.keys().next() {
                Some(other) => de::Error::unknown_variant(other, &KINDS),
                None => {
                    de::Error::custom("data did not match any variant of untagged enum QuantizationConfig")
                }
            });
        };
        let given = given.remove(kind).unwrap_or_default();
        let read = match kind {
            "scalar" => serde_json::from_value(given).map(Self::Scalar),
            "product" => serde_json::from_value(given).map(Self::Product),
            "binary" => serde_json::from_value(given).map(Self::Binary),
            _ => serde_json::from_value(given).map(Self::Turbo),
        };
        read.map_err(de::Error::custom)
    }
}

/// One byte a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScalarQuantization {
    #[serde(rename = "type")]
    pub kind: ScalarType,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "as_written")]
    pub quantile: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
    /// Says more than `always_ram`, and wins over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// 0.99 as 0.99 and not as the nearest number that 32 bits have, in whatever it is printed by.
fn as_written<S: serde::Serializer>(value: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
    let shown = value.map(|v| v.to_string().parse::<f64>().unwrap_or(f64::from(v)));
    shown.serialize(serializer)
}

/// The only scalar type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScalarType {
    Int8,
}

/// Codes of a size that is given as a ratio to four bytes a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductQuantization {
    pub compression: CompressionRatio,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
    /// Says more than `always_ram`, and wins over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// How much smaller than the vectors their codes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompressionRatio {
    X4,
    X8,
    X16,
    X32,
    X64,
}

/// One or two bits a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BinaryQuantization {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<BinaryEncoding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_encoding: Option<BinaryQueryEncoding>,
    /// Says more than `always_ram`, and wins over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Bits a dimension of a stored vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BinaryEncoding {
    OneBit,
    TwoBits,
    OneAndHalfBits,
}

/// Bits a dimension of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BinaryQueryEncoding {
    Default,
    Binary,
    Scalar4Bits,
    Scalar8Bits,
}

/// One to four bits a dimension of a rotated vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurboQuantization {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<TurboBits>,
    /// Says more than `always_ram`, and wins over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Bits a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TurboBits {
    Bits1,
    Bits1_5,
    Bits2,
    Bits4,
}

impl QuantizationConfig {
    pub(crate) fn validate(&self, path: &str, invalid: &mut Invalid) {
        if let QuantizationConfig::Scalar(s) = self
            && let Some(q) = s.quantile.filter(|q| !(0.5..=1.0).contains(q))
        {
            invalid.add(
                format!("{path}.scalar.quantile"),
                format!("value {q:?} invalid, must be from 0.5 to 1.0"),
            );
        }
    }
}

/// Quantization in an update: a configuration, or `"Disabled"`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum QuantizationUpdate {
    Disabled,
    Set(QuantizationConfig),
}

impl<'de> Deserialize<'de> for QuantizationUpdate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match Value::deserialize(d)? {
            Value::String(s) if s == "Disabled" => Ok(QuantizationUpdate::Disabled),
            other => serde_json::from_value(other).map(QuantizationUpdate::Set).map_err(|_| {
                de::Error::custom("data did not match any variant of untagged enum QuantizationConfigDiff")
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check_shown(given: Value) {
        let read: QuantizationConfig = serde_json::from_value(given.clone()).expect("a kind of quantization");
        assert_eq!(serde_json::to_value(read).expect("it prints"), given);
    }

    #[test]
    fn every_kind_is_shown_as_it_was_set() {
        check_shown(json!({"scalar": {"type": "int8", "quantile": 0.99, "always_ram": true}}));
        for compression in ["x4", "x8", "x16", "x32", "x64"] {
            check_shown(json!({"product": {"compression": compression}}));
        }
        check_shown(json!({"product": {"compression": "x4", "always_ram": false}}));
        check_shown(json!({"binary": {}}));
        check_shown(json!({"binary": {"always_ram": true}}));
        for encoding in ["one_bit", "two_bits", "one_and_half_bits"] {
            check_shown(json!({"binary": {"encoding": encoding}}));
        }
        for query in ["default", "binary", "scalar4bits", "scalar8bits"] {
            check_shown(json!({"binary": {"query_encoding": query}}));
        }
        check_shown(json!({"turbo": {"always_ram": true}}));
        for bits in ["bits1", "bits1_5", "bits2", "bits4"] {
            check_shown(json!({"turbo": {"bits": bits}}));
        }
    }

    #[test]
    fn values_that_there_are_none_of_are_refused_by_name() {
        for (given, text) in [
            (json!({"scalar": {"type": "int4"}}), "unknown variant `int4`, expected `int8`"),
            (json!({"product": {}}), "missing field `compression`"),
            (
                json!({"product": {"compression": "x128"}}),
                "unknown variant `x128`, expected one of `x4`, `x8`, `x16`, `x32`, `x64`",
            ),
            (
                json!({"binary": {"encoding": "three_bits"}}),
                "unknown variant `three_bits`, expected one of `one_bit`, `two_bits`, `one_and_half_bits`",
            ),
            (
                json!({"binary": {"query_encoding": "scalar2bits"}}),
                "unknown variant `scalar2bits`, expected one of `default`, `binary`, `scalar4bits`, `scalar8bits`",
            ),
            (
                json!({"turbo": {"bits": "bits3"}}),
                "unknown variant `bits3`, expected one of `bits1`, `bits1_5`, `bits2`, `bits4`",
            ),
            (
                json!({"rotational": {}}),
                "unknown variant `rotational`, expected one of `scalar`, `product`, `binary`, `turbo`",
            ),
        ] {
            let refused = serde_json::from_value::<QuantizationConfig>(given).expect_err("no such value");
            assert_eq!(refused.to_string(), text);
        }
    }
}
