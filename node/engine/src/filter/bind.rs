//! Ties full-text conditions to the schema: what a text index says of a field's texts holds for all of its points,
//! also for those that the index does not cover yet.

use std::borrow::Cow;
use std::sync::Arc;

use super::evaluate::full_path;
use super::expr::{Condition, FieldCondition, FieldTest, Filter, MinShould};
use crate::config::{FieldSchema, FieldType};
use crate::json_path::JsonPath;
use crate::text::{TextParams, TextTest};

/// The filter as it is meant under a schema.
pub fn bind<'f, 'a>(
    filter: &'f Filter,
    schema_of: &dyn Fn(&JsonPath) -> Option<&'a FieldSchema>,
) -> Cow<'f, Filter> {
    if is_unbound(filter, None, schema_of) {
        Cow::Owned(bound(filter, None, schema_of))
    } else {
        Cow::Borrowed(filter)
    }
}

type SchemaOf<'s, 'a> = &'s dyn Fn(&JsonPath) -> Option<&'a FieldSchema>;

/// Whether a full-text condition of it is meant otherwise under the schema.
fn is_unbound(filter: &Filter, under: Option<&JsonPath>, schema_of: SchemaOf) -> bool {
    let min_should = filter.min_should.iter().flat_map(|m| &m.conditions);
    filter.must.iter().chain(&filter.should).chain(&filter.must_not).chain(min_should).any(|c| match c {
        Condition::Field(field) => field.tests.iter().any(|test| {
            let FieldTest::Text(text) = test else { return false };
            *text.params() != *params_of(schema_of(&full_path(under, &field.key)))
        }),
        Condition::Nested { key, filter } => {
            is_unbound(filter, Some(&full_path(under, key).each()), schema_of)
        }
        Condition::Filter(filter) => is_unbound(filter, under, schema_of),
        _ => false,
    })
}

/// How the texts of a field of such a schema are cut.
fn params_of(schema: Option<&FieldSchema>) -> Cow<'_, TextParams> {
    match schema {
        Some(schema) if schema.kind == FieldType::Text => schema.text_params(),
        _ => Cow::Owned(TextParams::unindexed()),
    }
}

fn bound(filter: &Filter, under: Option<&JsonPath>, schema_of: SchemaOf) -> Filter {
    let all = |conditions: &[Condition]| conditions.iter().map(|c| condition(c, under, schema_of)).collect();
    Filter {
        must: all(&filter.must),
        should: all(&filter.should),
        must_not: all(&filter.must_not),
        min_should: filter
            .min_should
            .as_ref()
            .map(|m| MinShould { conditions: all(&m.conditions), min_count: m.min_count }),
    }
}

fn condition(given: &Condition, under: Option<&JsonPath>, schema_of: SchemaOf) -> Condition {
    match given {
        Condition::Field(field) => {
            let key = full_path(under, &field.key);
            let tests = field.tests.iter().map(|test| match test {
                FieldTest::Text(text) => FieldTest::Text(text_test(text, schema_of(&key))),
                other => other.clone(),
            });
            Condition::Field(FieldCondition { key: field.key.clone(), tests: tests.collect() })
        }
        Condition::Nested { key, filter } => {
            let inside = full_path(under, key).each();
            Condition::Nested { key: key.clone(), filter: bound(filter, Some(&inside), schema_of) }
        }
        Condition::Filter(filter) => Condition::Filter(bound(filter, under, schema_of)),
        other => other.clone(),
    }
}

fn text_test(test: &Arc<TextTest>, schema: Option<&FieldSchema>) -> Arc<TextTest> {
    test.bound_to(&params_of(schema)).map_or_else(|| test.clone(), Arc::new)
}
