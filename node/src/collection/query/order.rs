//! Points in the order of a payload value, and points drawn at random, from all shards.

use quiver_api::filter::Filter;
use quiver_api::point::Record;
use quiver_api::points::{WithPayload, WithVector};
use quiver_api::query::{Direction, OrderBy, StartFrom};
use quiver_api::shard_call::{ShardAnswer, ShardOrder, ShardRead};
use quiver_engine::filter::datetime;
use quiver_engine::query::OrderValue;
use quiver_engine::shard;

use crate::collection::{Collection, convert, unexpected};
use crate::error::{ApiError, Result};
use crate::pool::Deadline;

impl Collection {
    /// Points in the order of their values; one with several comes once for each.
    pub async fn ordered(
        &self,
        order: OrderBy,
        filter: Option<Filter>,
        limit: usize,
        with: (WithPayload, WithVector),
        deadline: Deadline,
    ) -> Result<Vec<Record>> {
        let from = order.start_from.map(|from| match from {
            StartFrom::Integer(n) => Ok(OrderValue::Integer(n)),
            StartFrom::Float(n) => Ok(OrderValue::Float(n)),
            StartFrom::Datetime(text) => datetime::parse_bound(&text)
                .map(OrderValue::Integer)
                .map_err(|e| ApiError::format(e.to_string())),
        });
        let from = from.transpose()?.map(convert::wire_order_value);
        let order = ShardOrder { key: order.key, ascending: order.direction == Direction::Asc, from };
        let by = convert::order(&order)?;
        let (payload, vectors) = with;
        let _memory = self.admit(limit, &payload, &vectors, deadline).await?;
        let read = ShardRead::Ordered { filter: filter.clone(), order, limit, payload, vectors };
        let mut all = self.records_of(&read, filter.as_ref(), deadline).await?;
        let key = |r: &Record| {
            let value = r.order_value.map_or(OrderValue::Integer(0), convert::order_value);
            (value, convert::point_id(r.id))
        };
        all.sort_by(|a, b| by.compare(key(a), key(b)));
        all.truncate(limit);
        Ok(all)
    }

    /// Points of which each is as likely as any other.
    pub async fn sample(
        &self,
        seed: u64,
        filter: Option<Filter>,
        limit: usize,
        with: (WithPayload, WithVector),
        deadline: Deadline,
    ) -> Result<Vec<Record>> {
        let (payload, vectors) = with;
        let _memory = self.admit(limit, &payload, &vectors, deadline).await?;
        let read = ShardRead::Sample { filter: filter.clone(), seed, limit, payload, vectors };
        let mut all = self.records_of(&read, filter.as_ref(), deadline).await?;
        all.sort_by_key(|r| shard::draw(seed, convert::point_id(r.id)));
        all.truncate(limit);
        Ok(all)
    }

    async fn records_of(
        &self,
        read: &ShardRead,
        filter: Option<&Filter>,
        deadline: Deadline,
    ) -> Result<Vec<Record>> {
        let mut all = Vec::new();
        for answer in self.read_all(read, deadline).await? {
            let ShardAnswer::Records { points, unindexed } = answer else { return Err(unexpected(&answer)) };
            self.note_unindexed(&unindexed, filter.into_iter());
            all.extend(points);
        }
        Ok(all)
    }
}
