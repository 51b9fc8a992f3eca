//! Points counted by the values of one field.

use std::collections::{BTreeSet, HashMap};

use super::part::Part;
use super::read::View;
use crate::bitset::Bitset;
use crate::cancel::Cancel;
use crate::config::{FieldSchema, FieldType};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::json_path::JsonPath;
use crate::payload_index::FacetValue;

/// Payloads read between two looks at the cancel flag.
const PAYLOADS_PER_CHECK: usize = 64;

/// Values with the number of points that have each.
pub type Facets = Vec<(FacetValue, u64)>;

impl View {
    /// The values of a field among the points that pass, those of most points first, equal ones by value; and the keys
    /// that were filtered on without an index. A point counts once for each of its values.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the field has no index that knows values.
    pub fn facets(
        &self,
        key: &JsonPath,
        filter: Option<&Filter>,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<(Facets, Vec<String>)> {
        let schema = self.indexes().get(key).filter(|schema| schema.has_facets());
        let schema = schema.ok_or_else(|| Error::BadInput(no_index(key)))?;
        let mut counts: HashMap<FacetValue, u64> = HashMap::new();
        for part in self.parts() {
            let among = match filter {
                Some(filter) => self.passing(part, filter, cancel)?,
                None => part.live_bits(),
            };
            for (value, count) in self.facets_of(part, key, schema, &among, cancel)? {
                *counts.entry(value).or_default() += u64::from(count);
            }
        }
        let mut facets: Facets = counts.into_iter().collect();
        facets.sort_unstable_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
        facets.truncate(limit);
        Ok((facets, self.unindexed(filter)))
    }

    /// By the part's index, or by its payloads if the index is still being built.
    fn facets_of(
        &self,
        part: Part<'_>,
        key: &JsonPath,
        schema: &FieldSchema,
        among: &Bitset,
        cancel: &Cancel,
    ) -> Result<Vec<(FacetValue, u32)>> {
        cancel.check()?;
        match part.points().index(key) {
            Some(index) if index.schema().kind == schema.kind && index.has_facets() => {
                index.facets(among).inspect_err(|e| self.note(e))
            }
            _ => stored_facets(part, key, schema.kind, among, cancel).inspect_err(|e| self.note(e)),
        }
    }
}

fn stored_facets(
    part: Part<'_>,
    key: &JsonPath,
    kind: FieldType,
    among: &Bitset,
    cancel: &Cancel,
) -> Result<Vec<(FacetValue, u32)>> {
    let mut counts: HashMap<FacetValue, u32> = HashMap::new();
    for (i, offset) in among.iter().enumerate() {
        if i % PAYLOADS_PER_CHECK == 0 {
            cancel.check()?;
        }
        let payload = part.points().payload(offset)?;
        let values: BTreeSet<_> =
            key.values(&payload).into_iter().filter_map(|value| FacetValue::of(kind, value)).collect();
        for value in values {
            *counts.entry(value).or_default() += 1;
        }
    }
    Ok(counts.into_iter().collect())
}

fn no_index(key: &JsonPath) -> String {
    format!(
        "No appropriate index for faceting: `{}`. Please create one to facet on this field. Check \
         https://qdrant.tech/documentation/concepts/indexing/#payload-index to see which payload schemas support \
         Match conditions",
        key.as_str()
    )
}
