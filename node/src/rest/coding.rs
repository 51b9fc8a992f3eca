//! Bodies that clients compress. It never decides by the bytes what they are: the header says it.

use std::io::Read;

use axum::http::{HeaderMap, header};
use flate2::read::{GzDecoder, ZlibDecoder};
use zstd::stream::read::Decoder as ZstdDecoder;

use crate::error::{ApiError, Result};

/// Memory of a decoder, as a power of two: what a coding's standard asks every decoder for (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;
const BROTLI_BUFFER_BYTES: usize = 4 << 10;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// What the head of a request says. A coding that is not known is none: the body will say whether it is JSON.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let name = headers.get(header::CONTENT_ENCODING)?.to_str().ok()?.trim();
        match name {
            _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => Some(Self::Gzip),
            _ if name.eq_ignore_ascii_case("deflate") => Some(Self::Deflate),
            _ if name.eq_ignore_ascii_case("br") => Some(Self::Brotli),
            _ if name.eq_ignore_ascii_case("zstd") => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The body as it was, up to `limit` bytes; `None` if it is longer.
    pub fn decoded(self, bytes: &[u8], limit: usize) -> Result<Option<Vec<u8>>> {
        let most = limit as u64 + 1;
        let mut plain = Vec::new();
        let read = match self {
            Self::Gzip => GzDecoder::new(bytes).take(most).read_to_end(&mut plain),
            Self::Deflate => ZlibDecoder::new(bytes).take(most).read_to_end(&mut plain),
            Self::Brotli => {
                brotli::Decompressor::new(bytes, BROTLI_BUFFER_BYTES).take(most).read_to_end(&mut plain)
            }
            Self::Zstd => ZstdDecoder::new(bytes).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                decoder.take(most).read_to_end(&mut plain)
            }),
        };
        read.map_err(|e| ApiError::format(format!("the body is not compressed as its head says: {e}")))?;
        Ok((plain.len() <= limit).then_some(plain))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn check(coding: Coding, bytes: &[u8], limit: usize, expected: Option<Option<&[u8]>>) {
        let decoded = coding.decoded(bytes, limit);
        assert_eq!(decoded.as_ref().ok().map(Option::as_deref), expected, "{coding:?} {decoded:?}");
    }

    #[test]
    fn a_body_is_decoded_up_to_the_limit() {
        let body = [b'x'; 1000];
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&body).expect("memory");
        let gzip = gzip.finish().expect("memory");
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&body).expect("memory");
        let zlib = zlib.finish().expect("memory");
        let mut brotli = Vec::new();
        let plain = &mut &body[..];
        brotli::BrotliCompress(plain, &mut brotli, &brotli::enc::BrotliEncoderParams::default())
            .expect("memory");
        let zstd = zstd::encode_all(&body[..], 0).expect("memory");
        for (coding, bytes, other) in [
            (Coding::Gzip, &gzip, &zlib),
            (Coding::Deflate, &zlib, &gzip),
            (Coding::Brotli, &brotli, &zstd),
            (Coding::Zstd, &zstd, &brotli),
        ] {
            check(coding, bytes, 1000, Some(Some(&body)));
            check(coding, bytes, 999, Some(None));
            check(coding, other, 1000, None);
            check(coding, &bytes[..bytes.len() / 2], 1000, None);
            check(coding, b"", 1000, None);
        }
    }

    #[test]
    fn the_head_says_how_a_body_is_compressed() {
        for (value, expected) in [
            ("gzip", Some(Coding::Gzip)),
            ("X-GZIP", Some(Coding::Gzip)),
            ("deflate", Some(Coding::Deflate)),
            ("br", Some(Coding::Brotli)),
            ("ZSTD", Some(Coding::Zstd)),
            ("identity", None),
            ("", None),
        ] {
            let headers = [(header::CONTENT_ENCODING, value.parse().expect("a value"))].into_iter().collect();
            assert_eq!(Coding::of(&headers), expected, "{value}");
        }
        assert_eq!(Coding::of(&HeaderMap::new()), None);
    }
}
