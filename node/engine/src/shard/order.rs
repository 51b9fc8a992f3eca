//! Points in the order of a payload value, and points drawn at random.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use serde_json::Value;

use super::part::Part;
use super::read::View;
use crate::bitset::Bitset;
use crate::cancel::Cancel;
use crate::config::{FieldSchema, FieldType};
use crate::error::{Error, Result};
use crate::filter::{Filter, parse_datetime};
use crate::payload_index::{InOrder, OrderValue};
use crate::point_id::PointId;
use crate::query::OrderBy;

/// Values with the points that have them.
pub type Ordered = Vec<(OrderValue, PointId)>;

/// Points looked at between two looks at the cancel flag.
const CANCEL_EVERY: usize = 4096;

/// Whether an index made by this schema puts points in order.
fn is_ordered(schema: &FieldSchema) -> bool {
    match schema.kind {
        FieldType::Integer => schema.range != Some(false),
        FieldType::Float | FieldType::Datetime => true,
        _ => false,
    }
}

/// The value as an index of that type holds it.
fn value_of(kind: FieldType, value: &Value) -> Option<OrderValue> {
    match (kind, value) {
        (FieldType::Integer, Value::Number(n)) => n.as_i64().map(OrderValue::Integer),
        (FieldType::Float, Value::Number(n)) => n.as_f64().map(|f| OrderValue::Float(f + 0.0)),
        (FieldType::Datetime, Value::String(text)) => parse_datetime(text).map(OrderValue::Integer),
        _ => None,
    }
}

impl OrderValue {
    /// By number, zero being one whatever its sign; values of one index are of one kind.
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (OrderValue::Integer(a), OrderValue::Integer(b)) => a.cmp(&b),
            (a, b) => a.as_f64().total_cmp(&b.as_f64()),
        }
    }

    fn as_f64(self) -> f64 {
        match self {
            OrderValue::Integer(i) => i as f64,
            OrderValue::Float(f) => f + 0.0,
        }
    }
}

impl OrderBy {
    /// How two answers follow each other; equal values by id.
    pub fn compare(&self, a: (OrderValue, PointId), b: (OrderValue, PointId)) -> Ordering {
        let ascending = a.0.compare(b.0).then(a.1.cmp(&b.1));
        if self.ascending { ascending } else { ascending.reverse() }
    }

    fn reaches(&self, value: OrderValue) -> bool {
        self.from.is_none_or(|from| match value.compare(from) {
            Ordering::Equal => true,
            order => (order == Ordering::Greater) == self.ascending,
        })
    }
}

/// What decides whether a point is drawn: those with the lowest draws are. The same on every shard.
pub fn draw(seed: u64, id: PointId) -> u64 {
    PointId::Num(seed ^ id.hash64()).hash64()
}

impl View {
    /// Up to `limit` pairs of value and point in order, and the keys filtered on without an index; a point with several
    /// values comes once for each, one without any never.
    ///
    /// # Errors
    /// [`Error::BadInput`] if no index of the shard orders by that key.
    pub fn ordered(
        &self,
        order: &OrderBy,
        filter: Option<&Filter>,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<(Ordered, Vec<String>)> {
        let schema = self.indexes().get(&order.key).filter(|schema| is_ordered(schema)).ok_or_else(|| {
            Error::BadInput(format!(
                "No range index for `order_by` key: `{}`. Please create one to use `order_by`. Check \
                 https://qdrant.tech/documentation/concepts/indexing/#payload-index to see which payload schemas support \
                 Range conditions",
                order.key
            ))
        })?;
        let mut found = Vec::new();
        for part in self.parts() {
            let passing = self.passing_or_live(part, filter, cancel)?;
            let index = part.points().index(&order.key).filter(|i| i.is_ordered() && i.schema() == schema);
            match index {
                Some(index) => {
                    let pairs = index.ordered(order.ascending, order.from)?;
                    add_by_index(part, (order, limit), pairs, &passing, &mut found, cancel)?;
                }
                None => add_by_payload(part, (order, schema.kind), &passing, &mut found, cancel)?,
            }
        }
        found.sort_unstable_by(|a, b| order.compare(*a, *b));
        found.truncate(limit);
        Ok((found, self.unindexed(filter)))
    }

    /// Up to `limit` points, each as likely as any other; those of one seed and one state are always the same.
    pub fn sample(
        &self,
        filter: Option<&Filter>,
        seed: u64,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<(Vec<PointId>, Vec<String>)> {
        let mut lowest: BinaryHeap<(u64, PointId)> = BinaryHeap::new();
        for part in self.parts() {
            let passing = self.passing_or_live(part, filter, cancel)?;
            for offset in passing.iter() {
                let id = part.points().id(offset);
                let drawn = (draw(seed, id), id);
                if lowest.len() < limit {
                    lowest.push(drawn);
                } else if lowest.peek().is_some_and(|highest| drawn < *highest) {
                    lowest.pop();
                    lowest.push(drawn);
                }
            }
        }
        let ids = lowest.into_sorted_vec().into_iter().map(|(_, id)| id).collect();
        Ok((ids, self.unindexed(filter)))
    }

    fn passing_or_live(&self, part: Part<'_>, filter: Option<&Filter>, cancel: &Cancel) -> Result<Bitset> {
        match filter {
            Some(filter) => self.passing(part, filter, cancel),
            None => cancel.check().map(|()| part.live_bits()),
        }
    }
}

/// Up to `limit` of what an index has in order. Equal values come in the order of offsets; where that isn't the order of ids all of them
/// are looked at.
fn add_by_index(
    part: Part<'_>,
    (order, limit): (&OrderBy, usize),
    pairs: InOrder<'_>,
    passing: &Bitset,
    found: &mut Ordered,
    cancel: &Cancel,
) -> Result<()> {
    let (begin, by_id) = (found.len(), part.is_by_id());
    // Where the last of the values begins.
    let mut equal = begin;
    for (i, pair) in pairs.enumerate() {
        if i % CANCEL_EVERY == 0 {
            cancel.check()?;
        }
        let (value, offset) = pair?;
        let news = found.len() == begin
            || found.last().is_some_and(|(last, _)| last.compare(value) != Ordering::Equal);
        if found.len() - begin >= limit && (by_id || news) {
            break;
        }
        if !passing.get(offset) {
            continue;
        }
        equal = if news { found.len() } else { equal };
        found.push((value, part.points().id(offset)));
        // Twice as many as can be used: the better half stays.
        let wanted = limit.saturating_sub(equal - begin);
        if found.len() - equal >= wanted.saturating_mul(2).max(CANCEL_EVERY) {
            found[equal..].select_nth_unstable_by(wanted - 1, |a, b| order.compare(*a, *b));
            found.truncate(equal + wanted);
        }
    }
    Ok(())
}

/// The values of points that no index covers yet: those of the tail, and of segments whose index is being built.
fn add_by_payload(
    part: Part<'_>,
    (order, kind): (&OrderBy, FieldType),
    passing: &Bitset,
    found: &mut Vec<(OrderValue, PointId)>,
    cancel: &Cancel,
) -> Result<()> {
    for (i, offset) in passing.iter().enumerate() {
        if i % CANCEL_EVERY == 0 {
            cancel.check()?;
        }
        let payload = part.points().payload(offset)?;
        let values = order.key.values(&payload).into_iter().filter_map(|value| value_of(kind, value));
        let mut values: Vec<OrderValue> = values.filter(|value| order.reaches(*value)).collect();
        values.sort_unstable_by(|a, b| a.compare(*b));
        values.dedup();
        found.extend(values.into_iter().map(|value| (value, part.points().id(offset))));
    }
    Ok(())
}
