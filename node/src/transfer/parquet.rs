//! Parquet: a column for the id, the payload as JSON, and each vector; the schema of the collection in the metadata.
//!
//! Columns: `id` (digits, or a UUID), `payload` (a JSON object or null), `shard_key` (JSON, if the collection has them), and for
//! each vector `vector` (the unnamed one) or `vector:<name>`: a list of floats, a list of such lists for multivectors, a struct of
//! `indices` and `values` for sparse ones. Null where a point has no such vector.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use arrow_array::builder::{
    ArrayBuilder, Float32Builder, ListBuilder, StringBuilder, StructBuilder, UInt32Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt32Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Fields, SchemaRef};
use futures::{Stream, TryStreamExt};
use parquet::arrow::async_writer::AsyncArrowWriter;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use quiver_api::point::{PointId, Vector, Vectors};
use serde_json::value::{RawValue, to_raw_value};
use tokio::fs::File;

use super::files;
use super::point::Point;
use super::schema::Schema;
use super::upload::Piece;

/// Where the schema of the collection is, in the metadata of the file.
const KEY: &str = "quiver_dump";
/// What is gathered in memory before it is written as a row group.
const GROUP_BYTES: usize = 64 << 20;
/// Rows of one piece of a file that is read.
const BATCH_ROWS: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Dense,
    Multi,
    Sparse,
}

/// A vector's name and what it is made of.
type Column = (String, Kind);

fn columns(schema: &Schema) -> Vec<Column> {
    let kind = |params: &serde_json::Value| match params["multivector_config"].is_null() {
        true => Kind::Dense,
        false => Kind::Multi,
    };
    let dense = schema.vectors().into_iter().map(|(name, params)| (name, kind(&params)));
    dense.chain(schema.sparse().into_iter().map(|name| (name, Kind::Sparse))).collect()
}

fn column_name(vector: &str) -> String {
    if vector.is_empty() { "vector".into() } else { format!("vector:{vector}") }
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn sparse_fields() -> Fields {
    vec![
        Field::new("indices", list(DataType::UInt32), true),
        Field::new("values", list(DataType::Float32), true),
    ]
    .into()
}

fn arrow_schema(schema: &Schema) -> SchemaRef {
    let mut fields =
        vec![Field::new("id", DataType::Utf8, false), Field::new("payload", DataType::Utf8, true)];
    if !schema.shard_keys.is_empty() {
        fields.push(Field::new("shard_key", DataType::Utf8, true));
    }
    for (name, kind) in columns(schema) {
        let data = match kind {
            Kind::Dense => list(DataType::Float32),
            Kind::Multi => list(list(DataType::Float32)),
            Kind::Sparse => DataType::Struct(sparse_fields()),
        };
        fields.push(Field::new(column_name(&name), data, true));
    }
    Arc::new(arrow_schema::Schema::new(fields))
}

/// A file that is being written.
pub struct Writer {
    rows: AsyncArrowWriter<File>,
    arrow: SchemaRef,
    columns: Vec<Column>,
}

impl Writer {
    pub async fn new(path: &Path, schema: &Schema) -> Result<Self> {
        let making = files::making(path);
        let file = File::create(&making).await.with_context(|| format!("creating {}", making.display()))?;
        let about = KeyValue::new(KEY.to_owned(), serde_json::to_string(schema)?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(vec![about]))
            .build();
        let arrow = arrow_schema(schema);
        let rows = AsyncArrowWriter::try_new(file, arrow.clone(), Some(properties))?;
        Ok(Self { rows, arrow, columns: columns(schema) })
    }

    pub async fn write(&mut self, points: &[Point]) -> Result<()> {
        if points.is_empty() {
            return Ok(());
        }
        let batch = batch(points, &self.arrow, &self.columns)?;
        self.rows.write(&batch).await.context("writing the dump")?;
        if self.rows.in_progress_size() > GROUP_BYTES {
            self.rows.flush().await.context("writing the dump")?;
        }
        Ok(())
    }

    /// Gives the file its name.
    pub async fn finish(mut self, path: &Path) -> Result<()> {
        self.rows.finish().await.context("writing the dump")?;
        files::finish(self.rows.into_inner(), path).await
    }
}

fn batch(points: &[Point], arrow: &SchemaRef, columns: &[Column]) -> Result<RecordBatch> {
    let text = |raw: &Option<Box<RawValue>>| raw.as_ref().map(|r| r.get().to_owned());
    let texts = |values: Vec<Option<String>>| -> ArrayRef {
        let mut column = StringBuilder::new();
        column.extend(values);
        Arc::new(column.finish())
    };
    let mut arrays = vec![
        texts(points.iter().map(|p| Some(p.id.to_string())).collect()),
        texts(points.iter().map(|p| text(&p.payload)).collect()),
    ];
    if arrow.field_with_name("shard_key").is_ok() {
        arrays.push(texts(points.iter().map(|p| text(&p.shard_key)).collect()));
    }
    let mut vectors = Vec::with_capacity(points.len());
    for point in points {
        let parsed = point.vector.as_ref().map(|raw| serde_json::from_str::<Vectors>(raw.get())).transpose();
        vectors.push(parsed.with_context(|| format!("the vectors of point {}", point.id))?);
    }
    for (name, kind) in columns {
        let each = vectors.iter().map(|v| match v {
            Some(Vectors::Unnamed(one)) => Some(one).filter(|_| name.is_empty()),
            Some(Vectors::Named(map)) => map.get(name),
            None => None,
        });
        let made = match kind {
            Kind::Dense => dense(each),
            Kind::Multi => multi(each),
            Kind::Sparse => sparse(each),
        };
        arrays.push(made.with_context(|| format!("the vector `{name}`"))?);
    }
    Ok(RecordBatch::try_new(arrow.clone(), arrays)?)
}

fn other_kind() -> anyhow::Error {
    anyhow!("a point has another kind of vector than the schema says")
}

fn dense<'a>(vectors: impl Iterator<Item = Option<&'a Vector>>) -> Result<ArrayRef> {
    let mut column = ListBuilder::new(Float32Builder::new());
    for vector in vectors {
        match vector {
            None => column.append_null(),
            Some(Vector::Dense(v)) => {
                column.values().append_slice(v);
                column.append(true);
            }
            Some(_) => return Err(other_kind()),
        }
    }
    Ok(Arc::new(column.finish()))
}

fn multi<'a>(vectors: impl Iterator<Item = Option<&'a Vector>>) -> Result<ArrayRef> {
    let mut column = ListBuilder::new(ListBuilder::new(Float32Builder::new()));
    for vector in vectors {
        match vector {
            None => column.append_null(),
            Some(Vector::Multi(rows)) => {
                for row in rows {
                    column.values().values().append_slice(row);
                    column.values().append(true);
                }
                column.append(true);
            }
            // An empty list may be of either kind.
            Some(Vector::Dense(v)) if v.is_empty() => column.append(true),
            Some(_) => return Err(other_kind()),
        }
    }
    Ok(Arc::new(column.finish()))
}

fn sparse<'a>(vectors: impl Iterator<Item = Option<&'a Vector>>) -> Result<ArrayRef> {
    let (indices, values) = (ListBuilder::new(UInt32Builder::new()), ListBuilder::new(Float32Builder::new()));
    let parts: Vec<Box<dyn ArrayBuilder>> = vec![Box::new(indices), Box::new(values)];
    let mut column = StructBuilder::new(sparse_fields(), parts);
    for vector in vectors {
        let present = match vector {
            None => None,
            Some(Vector::Sparse { indices, values }) => Some((indices, values)),
            Some(_) => return Err(other_kind()),
        };
        let lists = "the builders were made of these types";
        let indices: &mut ListBuilder<UInt32Builder> = column.field_builder(0).expect(lists);
        indices.values().append_slice(present.map_or(&[], |p| p.0));
        indices.append(present.is_some());
        let values: &mut ListBuilder<Float32Builder> = column.field_builder(1).expect(lists);
        values.values().append_slice(present.map_or(&[], |p| p.1));
        values.append(present.is_some());
        column.append(present.is_some());
    }
    Ok(Arc::new(column.finish()))
}

/// A file that is being read.
pub struct Reader {
    rows: ParquetRecordBatchStreamBuilder<File>,
    columns: Vec<Column>,
    shown: String,
}

impl Reader {
    /// Opens it and reads the schema of the collection.
    pub async fn open(path: &Path) -> Result<(Schema, Self)> {
        let shown = path.display().to_string();
        let file = File::open(path).await.with_context(|| format!("opening {shown}"))?;
        let rows = ParquetRecordBatchStreamBuilder::new(file)
            .await
            .with_context(|| format!("{shown} can't be read as Parquet"))?;
        let metadata = rows.metadata().file_metadata().key_value_metadata();
        let about = metadata.and_then(|all| all.iter().find(|kv| kv.key == KEY)?.value.as_deref());
        let schema: Schema =
            serde_json::from_str(about.with_context(|| format!("{shown} has no schema of a collection"))?)
                .with_context(|| format!("the schema in {shown}"))?;
        let columns = columns(&schema);
        Ok((schema, Self { rows, columns, shown }))
    }

    /// Points after the first `skip`. A piece's mark is the number of points up to its end.
    pub fn pieces(self, skip: u64) -> Result<impl Stream<Item = Result<Piece<u64>>>> {
        let Self { rows, columns, shown } = self;
        let everything = ProjectionMask::all();
        let batches = rows
            .with_projection(everything)
            .with_offset(usize::try_from(skip)?)
            .with_batch_size(BATCH_ROWS)
            .build()
            .with_context(|| format!("reading {shown}"))?;
        let mut done = skip;
        let read = move |batch: RecordBatch| {
            let points = points(&batch, &columns);
            done += batch.num_rows() as u64;
            futures::future::ready(points.map(|points| Piece { points, mark: done }))
        };
        Ok(batches.map_err(anyhow::Error::from).and_then(read))
    }
}

/// The rows of a batch. Columns that the schema doesn't name are left alone.
fn points(batch: &RecordBatch, columns: &[Column]) -> Result<Vec<Point>> {
    let texts = |name: &str| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    let ids = texts("id").context("there is no column `id` of text")?;
    let (payloads, keys) = (texts("payload"), texts("shard_key"));
    let json = |column: Option<&arrow_array::StringArray>, row: usize| {
        let text = column.filter(|c| c.is_valid(row)).map(|c| c.value(row).to_owned());
        text.map(RawValue::from_string).transpose()
    };
    let mut found = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let id = PointId::from_path(ids.value(row)).map_err(|e| anyhow!(e))?;
        let mut vectors = std::collections::BTreeMap::new();
        for (name, kind) in columns {
            let column = batch.column_by_name(&column_name(name));
            let column = column.with_context(|| format!("there is no column `{}`", column_name(name)))?;
            if column.is_valid(row) {
                let vector = vector(column, row, *kind);
                let vector = vector.with_context(|| format!("the vector `{name}` of point {id}"))?;
                vectors.insert(name.clone(), vector);
            }
        }
        let vectors = match (vectors.len(), vectors.remove("")) {
            (1, Some(one)) => Vectors::Unnamed(one),
            (_, Some(one)) => {
                vectors.insert(String::new(), one);
                Vectors::Named(vectors)
            }
            (_, None) => Vectors::Named(vectors),
        };
        found.push(Point {
            id,
            vector: Some(to_raw_value(&vectors)?),
            payload: json(payloads, row).with_context(|| format!("the payload of point {id}"))?,
            shard_key: json(keys, row).with_context(|| format!("the shard key of point {id}"))?,
        });
    }
    Ok(found)
}

fn floats(list: ArrayRef) -> Option<Vec<f32>> {
    Some(list.as_primitive_opt::<Float32Type>()?.values().to_vec())
}

fn vector(column: &ArrayRef, row: usize, kind: Kind) -> Result<Vector> {
    let read = || match kind {
        Kind::Dense => Some(Vector::Dense(floats(column.as_list_opt::<i32>()?.value(row))?)),
        Kind::Multi => {
            let rows = column.as_list_opt::<i32>()?.value(row);
            let rows = rows.as_list_opt::<i32>()?;
            let each: Option<Vec<Vec<f32>>> = (0..rows.len()).map(|i| floats(rows.value(i))).collect();
            Some(Vector::Multi(each?))
        }
        Kind::Sparse => {
            let parts = column.as_struct_opt()?;
            let list = |name: &str| Some(parts.column_by_name(name)?.as_list_opt::<i32>()?.value(row));
            let indices = list("indices")?.as_primitive_opt::<UInt32Type>()?.values().to_vec();
            Some(Vector::Sparse { indices, values: floats(list("values")?)? })
        }
    };
    match read() {
        Some(vector) => Ok(vector),
        None => bail!("the column has the type {}", column.data_type()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file gives back of these points, as JSON.
    async fn check(schema: &str, points: &[&str]) {
        let schema: Schema = serde_json::from_str(schema).expect("a schema");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("d.parquet");
        let given: Vec<Point> = points.iter().map(|p| serde_json::from_str(p).expect("a point")).collect();
        let mut writer = Writer::new(&path, &schema).await.expect("a writer");
        for half in given.chunks(2) {
            writer.write(half).await.expect("written");
        }
        writer.finish(&path).await.expect("named");
        for skip in [0, 1] {
            let (read, reader) = Reader::open(&path).await.expect("a file");
            assert_eq!(read.create, schema.create);
            let pieces: Vec<Piece<u64>> =
                reader.pieces(skip).expect("readable").try_collect().await.expect("read");
            assert_eq!(pieces.last().map(|p| p.mark), Some(points.len() as u64));
            let got = pieces.iter().flat_map(|p| &p.points);
            let got: Vec<String> = got.map(|p| serde_json::to_string(p).expect("JSON")).collect();
            assert_eq!(got, points[skip as usize..]);
        }
    }

    #[tokio::test]
    async fn every_kind_of_vector_comes_back() {
        check(
            r#"{"create":{"vectors":{"size":2,"distance":"Dot"}},"shard_keys":["a"]}"#,
            &[
                r#"{"id":1,"vector":[0.1,-3.4028235e+38],"payload":{"ü":[1,null]},"shard_key":"a"}"#,
                r#"{"id":"936da01f-9abd-4d9d-80c7-02af85c822a8","vector":{}}"#,
                r#"{"id":18446744073709551615,"vector":[1.0,2.0],"payload":{}}"#,
            ],
        )
        .await;
        check(
            r#"{"create":{"vectors":{"m":{"size":2,"distance":"Dot","multivector_config":{"comparator":"max_sim"}}},
                "sparse_vectors":{"s":{}}}}"#,
            &[
                r#"{"id":1,"vector":{"m":[[1.0,2.0],[0.5,0.25]],"s":{"indices":[3,1],"values":[0.5,2.0]}}}"#,
                r#"{"id":2,"vector":{"s":{"indices":[],"values":[]}}}"#,
                r#"{"id":3,"vector":{"m":[[7.0,8.0]]}}"#,
            ],
        )
        .await;
    }
}
