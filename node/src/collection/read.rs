//! Reads: asked of every shard, merged here.

use std::collections::{BTreeMap, HashMap};

use quiver_api::collections::Distance;
use quiver_api::filter::{Condition, Conditions, FieldCondition, Filter, Match, Scalar, Scalars};
use quiver_api::point::{PointId, Record, ScoredPoint, Vector, Vectors};
use quiver_api::points::{WithPayload, WithVector};
use quiver_api::shard_call::{ShardAnswer, ShardCall, ShardQuery, ShardRead, ShardSearch};
use quiver_engine::Error as EngineError;

use super::route::{HashRange, group};
use super::sparse::{self, Configured};
use super::{Collection, convert, document, unexpected};
use crate::error::{ApiError, Result};
use crate::limits::Reservation;
use crate::pool::Deadline;

/// Bytes that a number of a vector takes in an answer: as it is read, and as text.
const NUMBER_BYTES: u64 = 4 + 12;
/// Numbers that a sparse vector is guessed to have.
const SPARSE_NUMBERS: u64 = 256;
/// Bytes that a payload is guessed to take, as it is read and as text.
const PAYLOAD_BYTES: u64 = 1024;

impl Collection {
    /// Lets a read in whose answer has up to so many points, once there is memory for it, or says that there is none.
    pub(super) async fn admit(
        &self,
        limit: usize,
        payload: &WithPayload,
        vectors: &WithVector,
        deadline: Deadline,
    ) -> Result<Reservation> {
        let bytes = self.answer_bytes(limit, payload, vectors)?;
        Ok(self.node.memory.admit(bytes, deadline.left()).await?)
    }

    /// How many points there are, about; without a shard here nobody knows.
    pub(super) fn points_about(&self) -> Option<u64> {
        let local = self.local_shards();
        let here: u64 = local.iter().map(|(_, shard)| shard.view().points()).sum();
        here.saturating_mul(self.routes.load().len() as u64).checked_div(local.len() as u64)
    }

    /// Memory that an answer of up to so many points takes, about.
    fn answer_bytes(&self, limit: usize, payload: &WithPayload, vectors: &WithVector) -> Result<u64> {
        // Those who hold points that are not known of here look after themselves.
        let points = self.points_about().unwrap_or(0).min(limit as u64);
        let definition = self.definition.load();
        if let WithVector::Names(names) = vectors {
            let dense = &definition.settings.vectors;
            let sparse =
                |name: &String| definition.settings.sparse_vectors.iter().flatten().any(|(n, _)| n == name);
            if let Some(name) =
                names.iter().find(|n| !dense.iter().any(|(d, _)| d == n.as_str()) && !sparse(n))
            {
                return Err(EngineError::VectorName(name.clone()).into());
            }
        }
        let shown = |name: &str| match vectors {
            WithVector::Bool(all) => *all,
            WithVector::Names(names) => names.iter().any(|n| n == name),
        };
        let configured = definition.settings.vectors.iter();
        let dense: u64 = configured.filter(|(n, _)| shown(n)).map(|(_, p)| p.size as u64).sum();
        let sparse = definition.settings.sparse_vectors.iter().flatten().filter(|(n, _)| shown(n)).count();
        let numbers = dense + sparse as u64 * SPARSE_NUMBERS;
        let payload = if *payload == WithPayload::Bool(false) { 0 } else { PAYLOAD_BYTES };
        Ok(points.saturating_mul(numbers * NUMBER_BYTES + payload))
    }

    /// Several searches at once; each answer best first, `offset` of it skipped.
    pub async fn search(
        &self,
        mut searches: Vec<(ShardSearch, usize)>,
        deadline: Deadline,
    ) -> Result<Vec<Vec<ScoredPoint>>> {
        for (search, _) in &mut searches {
            search.query.vectors_mut().into_iter().try_for_each(document::embed_query)?;
        }
        let name = self.name();
        let mut higher = Vec::with_capacity(searches.len());
        for (search, _) in &searches {
            let nearest = matches!(search.query, ShardQuery::Nearest(_));
            higher.push(self.higher_is_nearer(&search.using)? || !nearest);
            self.check_dimension(search)?;
            let tuned = search.params.hnsw_ef.is_some() || search.params.exact;
            self.node.guardrails.search(&name, tuned);
        }
        self.weigh(&mut searches, deadline).await?;
        let mut bytes = 0u64;
        for (search, _) in &searches {
            bytes =
                bytes.saturating_add(self.answer_bytes(search.limit, &search.payload, &search.vectors)?);
        }
        // All at once: two that each hold a part of theirs would wait for each other.
        let _memory = self.node.memory.admit(bytes, deadline.left()).await?;
        let (all, offsets): (Vec<ShardSearch>, Vec<usize>) = searches.into_iter().unzip();
        let limits: Vec<usize> = all.iter().map(|s| s.limit).collect();
        let read = ShardRead::SearchBatch(all);
        let answers = self.read_all(&read, deadline).await?;
        let ShardRead::SearchBatch(all) = read else { unreachable!("made above") };
        let mut merged: Vec<Vec<ScoredPoint>> = limits.iter().map(|_| Vec::new()).collect();
        for answer in answers {
            let ShardAnswer::FoundBatch { answers, unindexed } = answer else {
                return Err(unexpected(&answer));
            };
            let filters = all.iter().filter_map(|s| s.filter.as_ref());
            self.note_unindexed(&unindexed, filters);
            for (into, points) in merged.iter_mut().zip(answers) {
                into.extend(points);
            }
        }
        for (i, points) in merged.iter_mut().enumerate() {
            points.sort_by(|a, b| {
                let order = if higher[i] { b.score.total_cmp(&a.score) } else { a.score.total_cmp(&b.score) };
                order.then(a.id.cmp(&b.id))
            });
            points.truncate(limits[i]);
            points.drain(..offsets[i].min(points.len()));
        }
        Ok(merged)
    }

    /// Finds a wrong number of dimensions before any shard is asked: the advice about it does not travel.
    fn check_dimension(&self, search: &ShardSearch) -> Result<()> {
        let definition = self.definition.load();
        let configured = sparse::configured(&definition.settings, &search.using);
        let check = |vector: &Vector| configured.as_ref().map_or(Ok(()), |known| known.check(vector));
        match &search.query {
            ShardQuery::Nearest(vector) => check(vector),
            examples => examples.vectors().into_iter().try_for_each(check),
        }
    }

    /// How vectors of that name are compared.
    pub fn distance(&self, using: &str) -> Result<Distance> {
        let definition = self.definition.load();
        match sparse::configured(&definition.settings, using) {
            Some(Configured::Dense(params)) => Ok(params.distance),
            Some(Configured::Sparse(_)) => Ok(Distance::Dot),
            None => Err(ApiError::from(quiver_engine::Error::VectorName(using.to_owned()))),
        }
    }

    fn higher_is_nearer(&self, using: &str) -> Result<bool> {
        Ok(matches!(self.distance(using)?, Distance::Cosine | Distance::Dot))
    }

    /// Points by id, in the order they were asked for; missing ones are left out.
    pub async fn retrieve(
        &self,
        ids: Vec<PointId>,
        payload: WithPayload,
        vectors: WithVector,
        deadline: Deadline,
    ) -> Result<Vec<Record>> {
        let _memory = self.admit(ids.len(), &payload, &vectors, deadline).await?;
        loop {
            match self.retrieve_once(ids.clone(), &payload, &vectors, deadline).await {
                Err(e) if e.moved => self.wait_for_routes(e, deadline).await?,
                found => return found,
            }
        }
    }

    async fn retrieve_once(
        &self,
        ids: Vec<PointId>,
        payload: &WithPayload,
        vectors: &WithVector,
        deadline: Deadline,
    ) -> Result<Vec<Record>> {
        let routes = self.routes.load_full();
        let ranges: Vec<HashRange> = routes.iter().map(|r| r.range).collect();
        let order: Vec<PointId> = ids.clone();
        let groups = if routes.iter().any(|r| r.key.is_some()) {
            // Every key may have points of any id.
            let of =
                |r: &HashRange| ids.iter().filter(|id| r.owns(convert::point_id(**id))).copied().collect();
            ranges.iter().map(of).collect()
        } else {
            group(&ranges, ids, |id| convert::point_id(*id)).0
        };
        let calls = groups.into_iter().enumerate().filter(|(_, ids)| !ids.is_empty()).map(|(i, ids)| {
            let read = ShardRead::Retrieve { ids, payload: payload.clone(), vectors: vectors.clone() };
            self.call(&routes[i], ShardCall::Read(read), deadline)
        });
        let mut found = HashMap::new();
        for answer in futures::future::try_join_all(calls.collect::<Vec<_>>()).await? {
            let ShardAnswer::Records { points, .. } = answer else { return Err(unexpected(&answer)) };
            found.extend(points.into_iter().map(|r| (r.id, r)));
        }
        Ok(order.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// A page of points in the order of their ids, and where the next page begins.
    pub async fn scroll(
        &self,
        filter: Option<Filter>,
        from: Option<PointId>,
        limit: usize,
        with: (WithPayload, WithVector),
        deadline: Deadline,
    ) -> Result<(Vec<Record>, Option<PointId>)> {
        let one_more = limit.saturating_add(1);
        let (payload, vectors) = with;
        let _memory = self.admit(limit, &payload, &vectors, deadline).await?;
        let read = ShardRead::Scroll { filter: filter.clone(), from, limit: one_more, payload, vectors };
        let mut all = Vec::new();
        for answer in self.read_all(&read, deadline).await? {
            let ShardAnswer::Records { points, unindexed } = answer else { return Err(unexpected(&answer)) };
            self.note_unindexed(&unindexed, filter.iter());
            all.extend(points);
        }
        all.sort_by_key(|r| r.id);
        let next = all.get(limit).map(|r| r.id);
        all.truncate(limit);
        Ok((all, next))
    }

    /// How many points pass.
    pub async fn count(&self, filter: Option<Filter>, deadline: Deadline) -> Result<u64> {
        let read = ShardRead::Count { filter: filter.clone() };
        let mut total = 0;
        for answer in self.read_all(&read, deadline).await? {
            let ShardAnswer::Counted { count, unindexed } = answer else { return Err(unexpected(&answer)) };
            self.note_unindexed(&unindexed, filter.iter());
            total += count;
        }
        Ok(total)
    }

    /// The vectors of points, for queries by id: none for one that has no vector of that name; points that don't exist
    /// are left out.
    pub async fn vectors_of(
        &self,
        ids: Vec<PointId>,
        name: &str,
        deadline: Deadline,
    ) -> Result<HashMap<PointId, Option<Vector>>> {
        if let Err(unknown) = self.distance(name) {
            // Which points there are is asked first: a point that is missing is the better answer of the two.
            let nothing = WithVector::Bool(false);
            let found = self.retrieve(ids, WithPayload::Bool(false), nothing, deadline).await?;
            return if found.is_empty() { Ok(HashMap::new()) } else { Err(unknown) };
        }
        let names = WithVector::Names(vec![name.to_owned()]);
        let found = self.retrieve(ids, WithPayload::Bool(false), names, deadline).await?;
        let vector = |record: Record| match record.vector {
            Some(Vectors::Unnamed(v)) if name.is_empty() => Some(v),
            Some(Vectors::Named(mut map)) => map.remove(name),
            _ => None,
        };
        Ok(found.into_iter().map(|r| (r.id, vector(r))).collect())
    }

    pub(super) fn note_unindexed<'a>(&self, keys: &[String], filters: impl Iterator<Item = &'a Filter>) {
        if keys.is_empty() {
            return;
        }
        let mut serves: BTreeMap<String, &'static [&'static str]> = BTreeMap::new();
        for filter in filters {
            collect_types(filter, "", &mut serves);
        }
        let name = self.name();
        for key in keys {
            let types = serves.get(key.as_str()).copied().unwrap_or(&["keyword"]);
            self.node.guardrails.unindexed_filter(&name, key, types);
        }
    }
}

/// Types of index that would serve each key of a filter.
fn collect_types(filter: &Filter, inside: &str, into: &mut BTreeMap<String, &'static [&'static str]>) {
    let lists = [&filter.must, &filter.should, &filter.must_not];
    let lists = lists.into_iter().flatten().map(|Conditions(all)| all.as_slice());
    for condition in lists.chain(filter.min_should.iter().map(|m| m.conditions.as_slice())).flatten() {
        match condition {
            Condition::Field(field) => drop(into.insert(format!("{inside}{}", field.key), types_of(field))),
            Condition::IsEmpty { is_empty: f } | Condition::IsNull { is_null: f } => {
                into.entry(format!("{inside}{}", f.key)).or_insert(&["keyword"]);
            }
            Condition::Nested { nested } => {
                let array = nested.key.strip_suffix("[]").unwrap_or(&nested.key);
                collect_types(&nested.filter, &format!("{inside}{array}[]."), into);
            }
            Condition::Filter(f) => collect_types(f, inside, into),
            Condition::HasId { .. } | Condition::HasVector { .. } | Condition::Slice { .. } => {}
        }
    }
}

fn types_of(field: &FieldCondition) -> &'static [&'static str] {
    use quiver_api::filter::Bound;
    match (&field.matches, &field.range) {
        (
            Some(
                Match::Value(Scalar::Keyword(_))
                | Match::Any(Scalars::Keywords(_))
                | Match::Except(Scalars::Keywords(_)),
            ),
            _,
        ) => &["keyword"],
        (
            Some(
                Match::Value(Scalar::Integer(_))
                | Match::Any(Scalars::Integers(_))
                | Match::Except(Scalars::Integers(_)),
            ),
            _,
        ) => &["integer"],
        (Some(Match::Value(Scalar::Bool(_))), _) => &["bool"],
        (Some(Match::Text(_) | Match::TextAny(_) | Match::Phrase(_)), _) => &["text"],
        (Some(Match::Prefix(_)), _) => &["keyword"],
        (None, Some(r)) => {
            let text =
                [&r.lt, &r.lte, &r.gt, &r.gte].into_iter().flatten().any(|b| matches!(b, Bound::Text(_)));
            if text { &["datetime"] } else { &["integer", "float"] }
        }
        _ if field.geo_bounding_box.is_some()
            || field.geo_radius.is_some()
            || field.geo_polygon.is_some() =>
        {
            &["geo"]
        }
        _ => &["keyword"],
    }
}
