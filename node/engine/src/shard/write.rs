//! Writing to a shard: one queue, whoever finds it idle writes for all (group commit).
//!
//! Filters, conditions and update modes are resolved to ids before anything is logged. A batch is logged, made
//! durable by one `fdatasync`, applied in its order and published as one new view; then every writer is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::needs::{adds_data, needs_memory, needs_state};
use super::queue::{BATCH_BYTES, Pending};
use super::{Done, Hashes, Shard, Writer};
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, VectorParams};
use crate::error::{Error, Result};
use crate::filter::{self, Filter};
use crate::json_path::JsonPath;
use crate::operation::{Applied, LogOp, Operation, PointWrite, Selection, UpdateMode};
use crate::operation_codec;
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::vector::{MultiVector, NamedVectors, Vector, named};
use crate::wal::Record;

/// Levels of a payload; the JSON parser stops at 128.
const PAYLOAD_DEPTH: usize = 120;

/// The operations of one commit.
#[derive(Default)]
pub(super) struct Group {
    ops: Vec<Logged>,
    /// What the other copies get, if there may be some.
    records: Vec<Record>,
    /// Told with the group: they needed no change, or were refused.
    other: Vec<(Done, Result<Applied>)>,
    bytes: usize,
    /// Ids that the first `known` operations write (true) or delete (false).
    overlay: HashMap<PointId, bool>,
    known: usize,
    /// The first id of the operation in hand that does not exist.
    missing: Option<PointId>,
}

/// An operation in the log that is not applied yet.
pub(super) struct Logged {
    pub seq: u64,
    pub term: u64,
    pub op: LogOp,
    pub done: Option<Done>,
}

/// Writers to be told once the lock is released.
pub(super) type Told = Vec<(Done, Result<Applied>)>;

impl Shard {
    /// Queues a write. Names and dimensions are checked here, and a full queue refuses at once with
    /// [`Error::Unavailable`]; `done` may run before this returns.
    /// True: nobody is writing, the caller must run [`Self::drain`] on a thread that may block.
    pub fn enqueue(&self, op: Operation, done: Done) -> bool {
        self.enqueue_for(None, op, done)
    }

    /// The same of a write that was sent for the hashes `asked`: it is [`Error::Moved`] if the shard owns others by the time
    /// it is written.
    pub fn enqueue_for(&self, asked: Option<Hashes>, mut op: Operation, done: Done) -> bool {
        let config = self.whole().shared_config().clone();
        if let Err(e) = check(&mut op, &config) {
            done(Err(e));
            return false;
        }
        let pushed = self.queue.lock().push(Pending::new(op, config, asked, done), &self.options.limits);
        pushed.unwrap_or_else(|(done, full)| {
            done(Err(full));
            false
        })
    }

    /// Writes what is queued until nothing is left.
    pub fn drain(&self) {
        let _guard = PanicGuard(self);
        loop {
            // Not in the condition of a loop: the lock would be held as long as its body runs.
            let next = self.queue.lock().next_batch();
            let Some(batch) = next else { break };
            let mut told = Told::new();
            self.write_batch(batch.operations, &mut told);
            self.queue.lock().written(batch.bytes);
            told.into_iter().for_each(|(done, result)| done(result));
            self.relieve();
        }
        self.settle_indexes();
    }

    /// [`Self::enqueue`], [`Self::drain`] and waiting, in one.
    pub fn write(&self, op: Operation) -> Result<Applied> {
        self.write_for(None, op)
    }

    /// The same of a write that was sent for the hashes `asked`.
    pub fn write_for(&self, asked: Option<Hashes>, op: Operation) -> Result<Applied> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let done: Done = Box::new(move |result| drop(tell.send(result)));
        if self.enqueue_for(asked, op, done) {
            self.drain();
        }
        told.recv().unwrap_or_else(|_| Err(Error::Poisoned("the writing thread ended".into())))
    }

    fn write_batch(&self, batch: Vec<Pending>, told: &mut Told) {
        let term = match self.writing_term() {
            Ok(term) => term,
            Err(why) => {
                let why = why.to_string();
                told.extend(batch.into_iter().map(|p| (p.done, Err(Error::Unavailable(why.clone())))));
                return;
            }
        };
        let mut writer = self.writer.lock();
        writer.term = term.unwrap_or(writer.state.term);
        let full = self.volume_full(&mut writer);
        let swollen = self.swollen(&writer).is_some();
        let mut group = Group::default();
        for Pending { op, config, done, asked, .. } in batch {
            if let Some(why) = &writer.poisoned {
                group.other.push((done, Err(Error::Poisoned(why.clone()))));
                continue;
            }
            if full && adds_data(&op) {
                group.other.push((done, Err(no_space())));
                continue;
            }
            if swollen
                && needs_memory(&op)
                && let Some(why) = self.swollen(&writer)
            {
                group.other.push((done, Err(why)));
                continue;
            }
            if needs_state(&op) || group.bytes > BATCH_BYTES {
                self.commit(&mut writer, &mut group, told);
            }
            if let Err(e) = self.admit_here(&writer, &op, asked) {
                group.other.push((done, Err(e)));
                continue;
            }
            let moves = matches!(op, Operation::Freeze { .. } | Operation::Keep(_));
            group.missing = None;
            match (self.resolve(&writer, &mut group, op, &config), group.missing) {
                (Ok(None), None) => group.other.push((done, Ok(Applied { seq: 0 }))),
                (Ok(None), Some(id)) => group.other.push((done, Err(Error::PointNotFound(id)))),
                (Ok(Some(op)), None) => self.append_in_steps(&mut writer, &mut group, op, done, told),
                (Ok(Some(op)), Some(id)) => {
                    // The points that exist are written all the same.
                    let done: Done = Box::new(move |r| done(r.and(Err(Error::PointNotFound(id)))));
                    self.append_in_steps(&mut writer, &mut group, op, done, told);
                }
                (Err(e), _) => group.other.push((done, Err(e))),
            }
            if moves {
                // What follows is admitted by what it made of the shard.
                self.commit(&mut writer, &mut group, told);
            }
        }
        self.commit(&mut writer, &mut group, told);
    }

    pub(super) fn append(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        group: &mut Group,
        op: LogOp,
        done: Done,
        told: &mut Told,
    ) {
        let (kind, body) = operation_codec::encode(&op);
        if !writer.wal.has_room(body.len()) {
            self.commit(writer, group, told);
        }
        let seq = writer.next_seq + group.ops.len() as u64;
        let bytes = body.len();
        let term = writer.term;
        let record = Record { seq, term, kind, body };
        match writer.wal.append(&record) {
            Ok(()) => {
                group.bytes += bytes;
                group.ops.push(Logged { seq, term, op, done: Some(done) });
                if self.options.replicated {
                    group.records.push(record);
                }
            }
            Err(e) => group.other.push((done, Err(e))),
        }
    }

    /// Makes the group durable, applies and publishes it.
    pub(super) fn commit(&self, writer: &mut MutexGuard<'_, Writer>, group: &mut Group, told: &mut Told) {
        let Group { ops, records, other, .. } = std::mem::take(group);
        if !ops.is_empty() {
            match writer.wal.commit() {
                Ok(last) => {
                    debug_assert_eq!(last, writer.next_seq + ops.len() as u64 - 1);
                    writer.next_seq = last + 1;
                    if self.options.replicated {
                        self.replicate(writer, ops, records, told);
                    } else {
                        self.apply(writer, ops, told);
                    }
                }
                Err(e) => refuse(writer, ops, &e, told),
            }
        }
        told.extend(other);
    }

    /// Applies what is committed, in its order, and publishes it.
    pub(super) fn apply(&self, writer: &mut MutexGuard<'_, Writer>, ops: Vec<Logged>, told: &mut Told) {
        let mut failed: Option<String> = None;
        for Logged { seq, term, op, done } in ops {
            let index = match &op {
                LogOp::CreateIndex { field, schema } => Some((field.clone(), schema.clone())),
                _ => None,
            };
            let result = match &failed {
                Some(why) => Err(Error::Poisoned(why.clone())),
                None => writer.state.apply(seq, term, op),
            };
            if let (Err(e), None) = (&result, &failed) {
                // It is in the log and not in memory: only a restart brings them together again.
                failed = Some(format!("operation {seq} could not be applied: {e}"));
            }
            let Some(done) = done else { continue };
            match (result, index) {
                (Ok(()), Some((field, schema))) => {
                    writer.index_waiters.push((field, schema, seq, done));
                    self.index_waiters.fetch_add(1, Ordering::Release);
                }
                (result, _) => told.push((done, result.map(|()| Applied { seq }))),
            }
        }
        writer.poisoned = writer.poisoned.take().or(failed);
        self.publish(writer);
    }

    /// Makes ids of what an operation selects. `None`: nothing is to be changed.
    fn resolve(
        &self,
        writer: &MutexGuard<'_, Writer>,
        group: &mut Group,
        op: Operation,
        checked: &Arc<CollectionConfig>,
    ) -> Result<Option<LogOp>> {
        let op = if Arc::ptr_eq(checked, &writer.state.config) {
            op
        } else {
            let mut op = op;
            check(&mut op, &writer.state.config)?;
            op
        };
        let select = |group: &mut Group, select: Selection| self.select(writer, group, select);
        Ok(Some(match op {
            Operation::Upsert { points, mode, condition } => {
                let points = self.admit(points, mode, condition.as_ref())?;
                if points.is_empty() {
                    return Ok(None);
                }
                LogOp::Upsert(points)
            }
            Operation::Delete(Selection::Ids(ids)) => LogOp::Delete(ids),
            Operation::Delete(Selection::Filter(filter)) => {
                let ids = self.whole().ids_matching(&filter, &Cancel::new())?;
                if ids.is_empty() {
                    return Ok(None);
                }
                LogOp::Delete(ids)
            }
            Operation::UpdateVectors { mut points, condition } => {
                keep_existing(writer, group, &mut points, |(id, _)| *id);
                let points = self.admit_vectors(points, condition.as_ref())?;
                if points.is_empty() {
                    return Ok(None);
                }
                LogOp::UpdateVectors(points)
            }
            Operation::DeleteVectors { select: s, names } => match select(group, s)? {
                None => return Ok(None),
                Some(ids) => LogOp::DeleteVectors { ids, names },
            },
            Operation::SetPayload { select: s, payload, key } => match select(group, s)? {
                None => return Ok(None),
                Some(ids) => LogOp::SetPayload { ids, payload, key },
            },
            Operation::OverwritePayload { select: s, payload } => match select(group, s)? {
                None => return Ok(None),
                Some(ids) => LogOp::OverwritePayload { ids, payload },
            },
            Operation::DeletePayload { select: s, keys } => match select(group, s)? {
                None => return Ok(None),
                Some(ids) => LogOp::DeletePayload { ids, keys },
            },
            Operation::ClearPayload(s) => match select(group, s)? {
                None => return Ok(None),
                Some(ids) => LogOp::ClearPayload { ids },
            },
            Operation::CreateIndex { field, schema } => LogOp::CreateIndex { field, schema },
            Operation::DropIndex { field } => LogOp::DropIndex { field },
            Operation::CreateVector { name, params } => LogOp::CreateVector { name, params },
            Operation::CreateSparseVector { name, params } => LogOp::CreateSparseVector { name, params },
            Operation::DropVector { name } => LogOp::DropVector { name },
            step @ (Operation::Freeze { .. } | Operation::Keep(_)) => return self.split_step(writer, &step),
        }))
    }

    fn select(
        &self,
        writer: &MutexGuard<'_, Writer>,
        group: &mut Group,
        select: Selection,
    ) -> Result<Option<Vec<PointId>>> {
        let ids = match select {
            Selection::Ids(mut ids) => {
                keep_existing(writer, group, &mut ids, |id| *id);
                ids
            }
            Selection::Filter(filter) => self.whole().ids_matching(&filter, &Cancel::new())?,
        };
        Ok((!ids.is_empty()).then_some(ids))
    }

    /// The points of an upsert that its mode and condition let through, as if each came alone: of the same id twice
    /// the second meets the first.
    fn admit(
        &self,
        points: Vec<PointWrite>,
        mode: UpdateMode,
        condition: Option<&Filter>,
    ) -> Result<Vec<PointWrite>> {
        if mode == UpdateMode::Upsert && condition.is_none() {
            return Ok(points);
        }
        let view = self.whole();
        let bound = condition.map(|filter| view.bound(filter));
        let condition = bound.as_deref();
        let mut places: HashMap<PointId, usize> = HashMap::new();
        let mut admitted: Vec<PointWrite> = Vec::with_capacity(points.len());
        for point in points {
            let place = places.get(&point.id).copied();
            let passes = match (place, condition) {
                (Some(i), Some(filter)) => Some(passes(&admitted[i], filter)?),
                (Some(_), None) => Some(true),
                (None, Some(filter)) => view.passes(point.id, filter)?,
                (None, None) => view.contains(point.id).then_some(true),
            };
            let admit = match (passes, mode) {
                (Some(_), UpdateMode::InsertOnly) | (None, UpdateMode::UpdateOnly) => false,
                (Some(passes), _) => passes,
                (None, _) => true,
            };
            match place {
                _ if !admit => {}
                Some(i) => admitted[i] = point,
                None => {
                    places.insert(point.id, admitted.len());
                    admitted.push(point);
                }
            }
        }
        Ok(admitted)
    }

    /// The points of a vector update that its condition lets through.
    fn admit_vectors(
        &self,
        mut points: Vec<(PointId, NamedVectors)>,
        condition: Option<&Filter>,
    ) -> Result<Vec<(PointId, NamedVectors)>> {
        if let Some(filter) = condition {
            let view = self.whole();
            let passing: Result<Vec<bool>> =
                points.iter().map(|(id, _)| Ok(view.passes(*id, filter)? == Some(true))).collect();
            let mut passing = passing?.into_iter();
            points.retain(|_| passing.next() == Some(true));
        }
        Ok(points)
    }

    /// Whether the volume is too full for writes that add data; a volume that was stays so until there is room again.
    fn volume_full(&self, writer: &mut MutexGuard<'_, Writer>) -> bool {
        // What can't be measured is not refused: the write itself will tell.
        let Ok((free, total)) = self.disk.space(&self.dir) else { return false };
        if total == 0 {
            return false;
        }
        let used = 100.0 - free as f64 * 100.0 / total as f64;
        let marks = self.options.watermarks;
        writer.volume_full =
            used >= if writer.volume_full { marks.accept_percent } else { marks.refuse_percent };
        writer.volume_full
    }
}

/// If writing panics, the shard must not look as if somebody were still writing.
struct PanicGuard<'a>(&'a Shard);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "a write panicked: restart the node; the log is intact";
            self.0.writer.lock().poisoned.get_or_insert_with(|| why.into());
            self.0.queue.lock().abandon();
        }
    }
}

fn no_space() -> Error {
    Error::NoSpace("the volume is nearly full: delete points or enlarge it; reads and deletions go on".into())
}

/// Tells the writers of a group that it was not written.
fn refuse(writer: &mut MutexGuard<'_, Writer>, ops: Vec<Logged>, error: &Error, told: &mut Told) {
    let text = error.to_string();
    if !error.is_no_space() {
        writer.poisoned.get_or_insert_with(|| text.clone());
    }
    let again = || {
        if error.is_no_space() { Error::NoSpace(text.clone()) } else { Error::Poisoned(text.clone()) }
    };
    told.extend(ops.into_iter().filter_map(|logged| Some((logged.done?, Err(again())))));
}

/// Leaves the points that exist once the group is applied, and notes the first that does not.
fn keep_existing<T>(
    writer: &MutexGuard<'_, Writer>,
    group: &mut Group,
    points: &mut Vec<T>,
    id_of: fn(&T) -> PointId,
) {
    for logged in &group.ops[group.known..] {
        match &logged.op {
            LogOp::Upsert(points) => group.overlay.extend(points.iter().map(|p| (p.id, true))),
            LogOp::Delete(ids) => group.overlay.extend(ids.iter().map(|id| (*id, false))),
            _ => {}
        }
    }
    group.known = group.ops.len();
    let Group { overlay, missing, .. } = group;
    points.retain(|point| {
        let id = id_of(point);
        let exists = overlay.get(&id).copied().unwrap_or_else(|| writer.state.contains(id));
        if !exists {
            missing.get_or_insert(id);
        }
        exists
    });
}

/// Whether a point that is being written passes a filter.
fn passes(point: &PointWrite, filter: &Filter) -> Result<bool> {
    let has_vector = |name: &str| point.vectors.get(name).is_some();
    Ok(filter::matches(filter, point.id, &has_vector, &point.payload.parse()?))
}

/// Checks names and dimensions, and normalises what is compared by its direction.
fn check(op: &mut Operation, config: &CollectionConfig) -> Result<()> {
    match op {
        Operation::Upsert { points, .. } => {
            points.iter_mut().try_for_each(|p| check_vectors(&mut p.vectors, config))
        }
        Operation::UpdateVectors { points, .. } => {
            points.iter_mut().try_for_each(|(_, vectors)| check_vectors(vectors, config))
        }
        Operation::DeleteVectors { names, .. } => match names.iter().find(|name| !config.has_vector(name)) {
            Some(name) => Err(Error::VectorName(name.clone())),
            None => Ok(()),
        },
        Operation::SetPayload { payload, key: Some(key), .. } => check_depth(payload, key),
        Operation::CreateVector { name, .. } if config.sparse_vectors.contains_key(name) => {
            Err(Error::BadInput(format!("Vector `{name}` already exists as a sparse vector")))
        }
        Operation::CreateSparseVector { name, .. } if config.vectors.contains_key(name) => {
            Err(Error::BadInput(format!("Vector `{name}` already exists with a different configuration")))
        }
        Operation::CreateVector { name, params } => match config.vectors.get(name) {
            Some(existing) if existing != params => {
                Err(Error::BadInput(format!("Vector `{name}` already exists with a different configuration")))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// What is merged at a path must leave a payload that can be read again.
fn check_depth(payload: &RawPayload, key: &JsonPath) -> Result<()> {
    fn depth(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
            serde_json::Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    let patch = serde_json::Value::Object(payload.parse()?);
    if key.steps().len() + depth(&patch) > PAYLOAD_DEPTH {
        return Err(Error::BadInput(format!(
            "the payload would be nested deeper than {PAYLOAD_DEPTH} levels"
        )));
    }
    Ok(())
}

/// A dense vector where sparse ones are, or the other way round.
pub(super) fn wrong_kind() -> Error {
    Error::BadInput("Conversion between sparse and regular vectors failed".into())
}

/// A multivector where a vector is single, or the other way round.
pub(super) fn wrong_multi() -> Error {
    Error::BadInput("Conversion between multi and regular vectors failed".into())
}

fn check_vectors(vectors: &mut NamedVectors, config: &CollectionConfig) -> Result<()> {
    for (name, vector) in vectors.iter_mut() {
        let Some(params) = named(&config.vectors, name) else {
            match (named(&config.sparse_vectors, name).is_some(), &*vector) {
                (true, Vector::Sparse(_)) => continue,
                (true, Vector::Dense(_)) => return Err(wrong_kind()),
                (true, Vector::Multi(_)) => return Err(wrong_multi()),
                (false, _) => return Err(Error::VectorName(name.to_owned())),
            }
        };
        if params.multivector {
            check_multi(vector, params)?;
            continue;
        }
        let v = match vector {
            Vector::Dense(v) => v,
            Vector::Sparse(_) => return Err(wrong_kind()),
            Vector::Multi(_) => return Err(wrong_multi()),
        };
        if v.len() != params.size {
            return Err(Error::Dimension { expected: params.size, got: v.len() });
        }
        params.prepare(v);
    }
    Ok(())
}

/// Makes one vector a multivector of one.
fn check_multi(vector: &mut Vector, params: &VectorParams) -> Result<()> {
    if let Vector::Dense(v) = vector {
        if v.len() != params.size {
            return Err(Error::Dimension { expected: params.size, got: v.len() });
        }
        *vector = Vector::Multi(MultiVector::of_numbers(params.size, std::mem::take(v))?);
    }
    let Vector::Multi(v) = vector else { return Err(wrong_kind()) };
    if v.row().dim != params.size {
        return Err(Error::Dimension { expected: params.size, got: v.row().dim });
    }
    v.vectors_mut().for_each(|vector| params.prepare(vector));
    Ok(())
}
