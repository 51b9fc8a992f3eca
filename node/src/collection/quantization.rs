//! Kinds of quantization from wire types to the engine's, and back.

use quiver_api::collections::Memory;
use quiver_api::quantization as wire;
use quiver_engine::config::{BinaryEncoding, BinaryQueryEncoding, Compression, Quantization, TurboBits};

/// Whether codes are kept in memory; `memory` says it if it is given.
fn in_ram(memory: Option<Memory>, always_ram: Option<bool>) -> Option<bool> {
    memory.map(|m| m != Memory::Cold).or(always_ram)
}

/// For the engine.
pub fn to_engine(q: wire::QuantizationConfig) -> Quantization {
    match q {
        wire::QuantizationConfig::Scalar(s) => {
            Quantization::Scalar { quantile: s.quantile, always_ram: in_ram(s.memory, s.always_ram) }
        }
        wire::QuantizationConfig::Product(p) => Quantization::Product {
            compression: match p.compression {
                wire::CompressionRatio::X4 => Compression::X4,
                wire::CompressionRatio::X8 => Compression::X8,
                wire::CompressionRatio::X16 => Compression::X16,
                wire::CompressionRatio::X32 => Compression::X32,
                wire::CompressionRatio::X64 => Compression::X64,
            },
            always_ram: in_ram(p.memory, p.always_ram),
        },
        wire::QuantizationConfig::Binary(b) => Quantization::Binary {
            encoding: b.encoding.map(|e| match e {
                wire::BinaryEncoding::OneBit => BinaryEncoding::OneBit,
                wire::BinaryEncoding::TwoBits => BinaryEncoding::TwoBits,
                wire::BinaryEncoding::OneAndHalfBits => BinaryEncoding::OneAndHalfBits,
            }),
            query_encoding: b.query_encoding.map(|e| match e {
                wire::BinaryQueryEncoding::Default => BinaryQueryEncoding::Default,
                wire::BinaryQueryEncoding::Binary => BinaryQueryEncoding::Binary,
                wire::BinaryQueryEncoding::Scalar4Bits => BinaryQueryEncoding::Scalar4Bits,
                wire::BinaryQueryEncoding::Scalar8Bits => BinaryQueryEncoding::Scalar8Bits,
            }),
            always_ram: in_ram(b.memory, b.always_ram),
        },
        wire::QuantizationConfig::Turbo(t) => Quantization::Turbo {
            bits: t.bits.map(|b| match b {
                wire::TurboBits::Bits1 => TurboBits::Bits1,
                wire::TurboBits::Bits1_5 => TurboBits::Bits1_5,
                wire::TurboBits::Bits2 => TurboBits::Bits2,
                wire::TurboBits::Bits4 => TurboBits::Bits4,
            }),
            always_ram: in_ram(t.memory, t.always_ram),
        },
    }
}

/// For the wire.
pub fn to_wire(q: Quantization) -> wire::QuantizationConfig {
    match q {
        Quantization::Scalar { quantile, always_ram } => {
            let kind = wire::ScalarType::Int8;
            wire::QuantizationConfig::Scalar(wire::ScalarQuantization {
                kind,
                quantile,
                always_ram,
                memory: None,
            })
        }
        Quantization::Product { compression, always_ram } => {
            let compression = match compression {
                Compression::X4 => wire::CompressionRatio::X4,
                Compression::X8 => wire::CompressionRatio::X8,
                Compression::X16 => wire::CompressionRatio::X16,
                Compression::X32 => wire::CompressionRatio::X32,
                Compression::X64 => wire::CompressionRatio::X64,
            };
            wire::QuantizationConfig::Product(wire::ProductQuantization {
                compression,
                always_ram,
                memory: None,
            })
        }
        Quantization::Binary { encoding, query_encoding, always_ram } => {
            let encoding = encoding.map(|e| match e {
                BinaryEncoding::OneBit => wire::BinaryEncoding::OneBit,
                BinaryEncoding::TwoBits => wire::BinaryEncoding::TwoBits,
                BinaryEncoding::OneAndHalfBits => wire::BinaryEncoding::OneAndHalfBits,
            });
            let query_encoding = query_encoding.map(|e| match e {
                BinaryQueryEncoding::Default => wire::BinaryQueryEncoding::Default,
                BinaryQueryEncoding::Binary => wire::BinaryQueryEncoding::Binary,
                BinaryQueryEncoding::Scalar4Bits => wire::BinaryQueryEncoding::Scalar4Bits,
                BinaryQueryEncoding::Scalar8Bits => wire::BinaryQueryEncoding::Scalar8Bits,
            });
            wire::QuantizationConfig::Binary(wire::BinaryQuantization {
                always_ram,
                encoding,
                query_encoding,
                memory: None,
            })
        }
        Quantization::Turbo { bits, always_ram } => {
            let bits = bits.map(|b| match b {
                TurboBits::Bits1 => wire::TurboBits::Bits1,
                TurboBits::Bits1_5 => wire::TurboBits::Bits1_5,
                TurboBits::Bits2 => wire::TurboBits::Bits2,
                TurboBits::Bits4 => wire::TurboBits::Bits4,
            });
            wire::QuantizationConfig::Turbo(wire::TurboQuantization { always_ram, bits, memory: None })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(given: Value) {
        let wire: wire::QuantizationConfig = serde_json::from_value(given).expect("a kind of quantization");
        assert_eq!(to_wire(to_engine(wire)), wire);
    }

    #[test]
    fn the_engine_gives_back_every_kind_that_it_was_given() {
        check(json!({"scalar": {"type": "int8", "quantile": 0.99}}));
        for compression in ["x4", "x8", "x16", "x32", "x64"] {
            check(json!({"product": {"compression": compression, "always_ram": true}}));
        }
        for encoding in ["one_bit", "two_bits", "one_and_half_bits"] {
            check(json!({"binary": {"encoding": encoding}}));
        }
        for query in ["default", "binary", "scalar4bits", "scalar8bits"] {
            check(json!({"binary": {"query_encoding": query, "always_ram": false}}));
        }
        for bits in ["bits1", "bits1_5", "bits2", "bits4"] {
            check(json!({"turbo": {"bits": bits}}));
        }
        check(json!({"turbo": {"always_ram": true}}));
    }
}
