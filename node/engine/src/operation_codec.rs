//! How a [`LogOp`] becomes the body of a log record, and back (docs/storage-format.md, "Operations").
//!
//! Little-endian. The record's kind byte says which operation; the body begins with the version of its
//! layout. Vectors are raw `f32`, payloads the client's JSON bytes. Decoding checks every length against
//! what is there before it allocates, and answers garbage with [`Error::Corrupt`]; it never panics.

use uuid::Uuid;

use crate::error::{Error, Result};
use crate::json_path::JsonPath;
use crate::operation::{LogOp, PointWrite};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::shard::Hashes;
use crate::vector::{MultiVector, NamedVectors, SparseVector, Vector};

/// Version of every body's layout; the first byte of the body.
const LAYOUT: u8 = 1;

const KIND_NOOP: u8 = 0;
const KIND_UPSERT: u8 = 1;
const KIND_DELETE: u8 = 2;
const KIND_UPDATE_VECTORS: u8 = 3;
const KIND_DELETE_VECTORS: u8 = 4;
const KIND_SET_PAYLOAD: u8 = 5;
const KIND_OVERWRITE_PAYLOAD: u8 = 6;
const KIND_DELETE_PAYLOAD: u8 = 7;
const KIND_CLEAR_PAYLOAD: u8 = 8;
const KIND_CREATE_INDEX: u8 = 9;
const KIND_DROP_INDEX: u8 = 10;
const KIND_CREATE_VECTOR: u8 = 11;
const KIND_DROP_VECTOR: u8 = 12;
const KIND_CREATE_SPARSE_VECTOR: u8 = 13;
const KIND_FREEZE: u8 = 14;
const KIND_KEEP: u8 = 15;

const ID_NUM: u8 = 0;
const ID_UUID: u8 = 1;

const VECTOR_DENSE: u8 = 1;
const VECTOR_SPARSE: u8 = 2;
const VECTOR_MULTI: u8 = 3;

/// The kind byte and the body of an operation.
pub fn encode(op: &LogOp) -> (u8, Vec<u8>) {
    let mut out = vec![LAYOUT];
    let kind = match op {
        LogOp::Noop => KIND_NOOP,
        LogOp::Upsert(points) => {
            put_points(&mut out, points);
            KIND_UPSERT
        }
        LogOp::Delete(ids) => {
            put_ids(&mut out, ids);
            KIND_DELETE
        }
        LogOp::UpdateVectors(points) => {
            put_len(&mut out, points.len());
            for (id, vectors) in points {
                put_id(&mut out, *id);
                put_vectors(&mut out, vectors);
            }
            KIND_UPDATE_VECTORS
        }
        LogOp::DeleteVectors { ids, names } => {
            put_ids(&mut out, ids);
            put_len(&mut out, names.len());
            names.iter().for_each(|n| put_bytes(&mut out, n.as_bytes()));
            KIND_DELETE_VECTORS
        }
        LogOp::SetPayload { ids, payload, key } => {
            put_ids(&mut out, ids);
            put_bytes(&mut out, payload.as_bytes());
            put_bytes(&mut out, key.as_ref().map_or(&[], |k| k.as_str().as_bytes()));
            KIND_SET_PAYLOAD
        }
        LogOp::OverwritePayload { ids, payload } => {
            put_ids(&mut out, ids);
            put_bytes(&mut out, payload.as_bytes());
            KIND_OVERWRITE_PAYLOAD
        }
        LogOp::DeletePayload { ids, keys } => {
            put_ids(&mut out, ids);
            put_len(&mut out, keys.len());
            keys.iter().for_each(|k| put_bytes(&mut out, k.as_str().as_bytes()));
            KIND_DELETE_PAYLOAD
        }
        LogOp::ClearPayload { ids } => {
            put_ids(&mut out, ids);
            KIND_CLEAR_PAYLOAD
        }
        LogOp::CreateIndex { field, schema } => {
            put_bytes(&mut out, field.as_str().as_bytes());
            put_json(&mut out, schema);
            KIND_CREATE_INDEX
        }
        LogOp::DropIndex { field } => {
            put_bytes(&mut out, field.as_str().as_bytes());
            KIND_DROP_INDEX
        }
        LogOp::CreateVector { name, params } => put_created(&mut out, name, params, KIND_CREATE_VECTOR),
        LogOp::CreateSparseVector { name, params } => {
            put_created(&mut out, name, params, KIND_CREATE_SPARSE_VECTOR)
        }
        LogOp::DropVector { name } => {
            put_bytes(&mut out, name.as_bytes());
            KIND_DROP_VECTOR
        }
        LogOp::Freeze { keep, give } => put_hashes(&mut out, &[*keep, *give], KIND_FREEZE),
        LogOp::Keep(range) => put_hashes(&mut out, &[*range], KIND_KEEP),
    };
    (kind, out)
}

/// The operation of a record.
pub fn decode(kind: u8, body: &[u8]) -> Result<LogOp> {
    let mut input = Input(body);
    let layout = input.byte()?;
    if layout != LAYOUT {
        return Err(bad(format!(
            "operation of kind {kind} has layout {layout}, this version reads {LAYOUT}"
        )));
    }
    let op = match kind {
        KIND_NOOP => LogOp::Noop,
        KIND_UPSERT => LogOp::Upsert(input.list(MIN_POINT, |i| {
            Ok(PointWrite { id: i.id()?, vectors: i.vectors()?, payload: i.payload()? })
        })?),
        KIND_DELETE => LogOp::Delete(input.ids()?),
        KIND_UPDATE_VECTORS => LogOp::UpdateVectors(input.list(MIN_ID + 4, |i| Ok((i.id()?, i.vectors()?)))?),
        KIND_DELETE_VECTORS => {
            LogOp::DeleteVectors { ids: input.ids()?, names: input.list(4, |i| Ok(i.text()?.to_owned()))? }
        }
        KIND_SET_PAYLOAD => LogOp::SetPayload {
            ids: input.ids()?,
            payload: input.payload()?,
            key: match input.text()? {
                "" => None,
                text => Some(path(text)?),
            },
        },
        KIND_OVERWRITE_PAYLOAD => LogOp::OverwritePayload { ids: input.ids()?, payload: input.payload()? },
        KIND_DELETE_PAYLOAD => {
            LogOp::DeletePayload { ids: input.ids()?, keys: input.list(4, |i| path(i.text()?))? }
        }
        KIND_CLEAR_PAYLOAD => LogOp::ClearPayload { ids: input.ids()? },
        KIND_CREATE_INDEX => LogOp::CreateIndex { field: path(input.text()?)?, schema: input.json()? },
        KIND_DROP_INDEX => LogOp::DropIndex { field: path(input.text()?)? },
        KIND_CREATE_VECTOR => LogOp::CreateVector { name: input.text()?.to_owned(), params: input.json()? },
        KIND_CREATE_SPARSE_VECTOR => {
            LogOp::CreateSparseVector { name: input.text()?.to_owned(), params: input.json()? }
        }
        KIND_DROP_VECTOR => LogOp::DropVector { name: input.text()?.to_owned() },
        KIND_FREEZE => LogOp::Freeze { keep: input.hashes()?, give: input.hashes()? },
        KIND_KEEP => LogOp::Keep(input.hashes()?),
        other => return Err(bad(format!("operation of unknown kind {other}"))),
    };
    if !input.0.is_empty() {
        return Err(bad(format!("{} bytes after an operation of kind {kind}", input.0.len())));
    }
    Ok(op)
}

/// Bytes that the shortest id takes, and the shortest point: what bounds a count before anything is allocated.
const MIN_ID: usize = 9;
const MIN_POINT: usize = MIN_ID + 4 + 4;

fn bad(what: String) -> Error {
    Error::corrupt("wal", what)
}

fn path(text: &str) -> Result<JsonPath> {
    JsonPath::parse(text).map_err(bad)
}

fn point_size(point: &PointWrite) -> usize {
    let vectors: usize = point.vectors.iter().map(|(n, v)| n.len() + 13 + v.bytes()).sum();
    17 + 4 + vectors + 4 + point.payload.as_bytes().len()
}

fn put_len(out: &mut Vec<u8>, n: usize) {
    let n = u32::try_from(n).expect("requests are bounded far below 4 GiB");
    out.extend_from_slice(&n.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// A name and parameters; gives the kind back.
fn put_created(out: &mut Vec<u8>, name: &str, params: &impl serde::Serialize, kind: u8) -> u8 {
    put_bytes(out, name.as_bytes());
    put_json(out, params);
    kind
}

fn put_json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    put_bytes(out, &serde_json::to_vec(value).expect("configuration types always print as JSON"));
}

fn put_id(out: &mut Vec<u8>, id: PointId) {
    match id {
        PointId::Num(n) => {
            out.push(ID_NUM);
            out.extend_from_slice(&n.to_le_bytes());
        }
        PointId::Uuid(u) => {
            out.push(ID_UUID);
            out.extend_from_slice(u.as_bytes());
        }
    }
}

fn put_ids(out: &mut Vec<u8>, ids: &[PointId]) {
    out.reserve(ids.len() * 17 + 4);
    put_len(out, ids.len());
    ids.iter().for_each(|id| put_id(out, *id));
}

fn put_points(out: &mut Vec<u8>, points: &[PointWrite]) {
    out.reserve(points.iter().map(point_size).sum::<usize>() + 4);
    put_len(out, points.len());
    for point in points {
        put_id(out, point.id);
        put_vectors(out, &point.vectors);
        put_bytes(out, point.payload.as_bytes());
    }
}

fn put_vectors(out: &mut Vec<u8>, vectors: &NamedVectors) {
    put_len(out, vectors.len());
    for (name, vector) in vectors.iter() {
        put_bytes(out, name.as_bytes());
        match vector {
            Vector::Dense(v) => {
                out.push(VECTOR_DENSE);
                put_len(out, v.len());
                put_numbers(out, v.iter().map(|x| x.to_le_bytes()));
            }
            Vector::Sparse(v) => {
                let row = v.row();
                out.push(VECTOR_SPARSE);
                put_len(out, row.indices.len());
                put_numbers(out, row.indices.iter().map(|i| i.to_le_bytes()));
                put_numbers(out, row.values.iter().map(|x| x.to_le_bytes()));
            }
            Vector::Multi(v) => {
                let row = v.row();
                out.push(VECTOR_MULTI);
                put_len(out, row.dim);
                put_len(out, row.numbers.len());
                put_numbers(out, row.numbers.iter().map(|x| x.to_le_bytes()));
            }
        }
    }
}

fn put_numbers(out: &mut Vec<u8>, numbers: impl ExactSizeIterator<Item = [u8; 4]>) {
    let start = out.len();
    out.resize(start + numbers.len() * 4, 0);
    for (bytes, number) in out[start..].chunks_exact_mut(4).zip(numbers) {
        bytes.copy_from_slice(&number);
    }
}

/// Ranges; gives the kind back.
fn put_hashes(out: &mut Vec<u8>, ranges: &[Hashes], kind: u8) -> u8 {
    for range in ranges {
        out.extend_from_slice(&range.first.to_le_bytes());
        out.extend_from_slice(&range.last.to_le_bytes());
    }
    kind
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        if n > self.0.len() {
            return Err(bad(format!("operation ends {} bytes early", n - self.0.len())));
        }
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take gives exactly N bytes"))
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn len(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let n = self.len()?;
        self.take(n)
    }

    fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| bad("text is not UTF-8".into()))
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        serde_json::from_slice(self.bytes()?).map_err(|e| bad(e.to_string()))
    }

    /// A counted list whose items take at least `min` bytes each.
    fn list<T>(&mut self, min: usize, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let n = self.len()?;
        if n > self.0.len() / min {
            return Err(bad(format!("a list of {n} items in {} bytes", self.0.len())));
        }
        (0..n).map(|_| item(self)).collect()
    }

    fn id(&mut self) -> Result<PointId> {
        match self.byte()? {
            ID_NUM => Ok(PointId::Num(u64::from_le_bytes(self.array()?))),
            ID_UUID => Ok(PointId::Uuid(Uuid::from_bytes(self.array()?))),
            other => Err(bad(format!("id of unknown kind {other}"))),
        }
    }

    fn hashes(&mut self) -> Result<Hashes> {
        let (first, last) = (u64::from_le_bytes(self.array()?), u64::from_le_bytes(self.array()?));
        Ok(Hashes { first, last })
    }

    fn ids(&mut self) -> Result<Vec<PointId>> {
        self.list(MIN_ID, Self::id)
    }

    fn payload(&mut self) -> Result<RawPayload> {
        Ok(RawPayload::from_json_bytes(self.bytes()?))
    }

    fn numbers<T>(&mut self, n: usize, read: impl Fn([u8; 4]) -> T) -> Result<Vec<T>> {
        let bytes = self.take(n.checked_mul(4).ok_or_else(|| bad("vector too long".into()))?)?;
        let number = |b: &[u8]| read(b.try_into().expect("chunks of four bytes"));
        Ok(bytes.chunks_exact(4).map(number).collect())
    }

    fn vectors(&mut self) -> Result<NamedVectors> {
        let named = self.list(9, |i| {
            let name = i.text()?.to_owned();
            match i.byte()? {
                VECTOR_DENSE => {
                    let n = i.len()?;
                    Ok((name, Vector::Dense(i.numbers(n, f32::from_le_bytes)?)))
                }
                VECTOR_SPARSE => {
                    let n = i.len()?;
                    let indices = i.numbers(n, u32::from_le_bytes)?;
                    let values = i.numbers(n, f32::from_le_bytes)?;
                    let vector = SparseVector::new(indices, values).map_err(|e| bad(e.to_string()))?;
                    Ok((name, Vector::Sparse(vector)))
                }
                VECTOR_MULTI => {
                    let (dim, n) = (i.len()?, i.len()?);
                    let numbers = i.numbers(n, f32::from_le_bytes)?;
                    let vector = MultiVector::of_numbers(dim, numbers).map_err(|e| bad(e.to_string()))?;
                    Ok((name, Vector::Multi(vector)))
                }
                other => Err(bad(format!("vector of kind {other}, which this version does not know"))),
            }
        })?;
        Ok(named.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Datatype, Distance, FieldSchema, FieldType, Modifier, SparseParams, VectorParams};

    fn check(op: LogOp) {
        let (kind, body) = encode(&op);
        assert_eq!(decode(kind, &body).expect("decodes"), op);
        for cut in 0..body.len() {
            decode(kind, &body[..cut]).expect_err("a cut operation is refused");
        }
        let mut longer = body;
        longer.push(0);
        decode(kind, &longer).expect_err("bytes after the end are refused");
    }

    #[test]
    fn every_operation_comes_back_as_it_was() {
        let id = PointId::Num(7);
        let uuid = PointId::Uuid(Uuid::from_u64_pair(1, 2));
        let path = |t: &str| JsonPath::parse(t).expect("a path");
        let payload = RawPayload::from_json_bytes(br#"{"a":[1,null,"x"]}"#);
        let vectors: NamedVectors = [
            (String::new(), Vector::Dense(vec![1.0, -0.0, f32::MIN_POSITIVE])),
            ("image".to_owned(), Vector::Dense(vec![])),
            (
                "words".to_owned(),
                Vector::Sparse(
                    SparseVector::new(vec![7, u32::MAX, 0], vec![1.5, -0.0, 3.0]).expect("sparse"),
                ),
            ),
            ("nothing".to_owned(), Vector::Sparse(SparseVector::default())),
            (
                "tokens".to_owned(),
                Vector::Multi(
                    MultiVector::new(vec![vec![0.5, -0.0], vec![f32::MAX, 1.0]]).expect("a multivector"),
                ),
            ),
        ]
        .into_iter()
        .collect();
        let params = VectorParams {
            size: 4,
            distance: Distance::Dot,
            hnsw: None,
            quantization: None,
            on_disk: Some(true),
            multivector: true,
            datatype: Datatype::Float16,
        };
        check(LogOp::Noop);
        check(LogOp::Upsert(vec![
            PointWrite { id, vectors: vectors.clone(), payload: payload.clone() },
            PointWrite { id: uuid, vectors: NamedVectors::new(), payload: RawPayload::empty() },
        ]));
        check(LogOp::Delete(vec![id, uuid]));
        check(LogOp::UpdateVectors(vec![(uuid, vectors)]));
        check(LogOp::DeleteVectors { ids: vec![id], names: vec![String::new(), "image".into()] });
        check(LogOp::SetPayload { ids: vec![id], payload: payload.clone(), key: None });
        check(LogOp::SetPayload { ids: vec![id], payload: payload.clone(), key: Some(path("a.b")) });
        check(LogOp::OverwritePayload { ids: vec![], payload });
        check(LogOp::DeletePayload { ids: vec![id], keys: vec![path("a"), path("b[0]")] });
        check(LogOp::ClearPayload { ids: vec![id] });
        check(LogOp::CreateIndex { field: path("k"), schema: FieldSchema::plain(FieldType::Keyword) });
        check(LogOp::DropIndex { field: path("k") });
        check(LogOp::CreateVector { name: "v".into(), params });
        let sparse = SparseParams { modifier: Modifier::Idf, full_scan_threshold: Some(7) };
        check(LogOp::CreateSparseVector { name: "s".into(), params: sparse });
        check(LogOp::DropVector { name: "v".into() });
        let (keep, give) = (Hashes { first: 0, last: 7 }, Hashes { first: 8, last: u64::MAX });
        check(LogOp::Freeze { keep, give });
        check(LogOp::Keep(keep));
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_panic(kind in 0u8..16, mut body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = body.first_mut() {
                *first = LAYOUT;
            }
            let _ = decode(kind, &body);
        }
    }
}
