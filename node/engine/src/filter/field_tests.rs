//! Places and texts: whatever is indexed, a filter gives what its plain definition gives.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::tests::{Points, object, path};
use super::*;
use crate::cancel::Cancel;
use crate::config::{FieldSchema, FieldType};
use crate::error::Error;
use crate::file::{Disk, RealDisk, SealedFile, SealedWriter};
use crate::payload_index::FILE_KIND;
use crate::text::{Stemmer, Stopwords, TextMatch, TextParams, TextTest, Tokenizer};

/// Coordinates where rounding, poles and the antimeridian are.
const LATS: &[f64] = &[-90.0, -89.999, -45.0, -1e-9, 0.0, 10.0, 52.5, 52.500001, 89.9, 90.0];
const LONS: &[f64] = &[-180.0, -179.99, -90.0, -13.4, 0.0, 1e-9, 13.4, 13.400001, 179.9, 180.0];
const TEXTS: &[&str] =
    &["red", "a Red car", "car red", "the blue car", "", "Über-Cars running", "red red", "!", "r"];

fn any_place() -> impl Strategy<Value = GeoPoint> {
    let lat = prop_oneof![select(LATS), -90.0..90.0];
    let lon = prop_oneof![select(LONS), -180.0..180.0];
    (lat, lon).prop_map(|(lat, lon)| GeoPoint { lat, lon })
}

fn any_area() -> impl Strategy<Value = GeoArea> {
    let radius = prop_oneof![
        Just(0.0),
        Just(-1.0),
        Just(f64::MAX),
        0.0..1e3,
        0.0..2.1e7,
        select(vec![10_007_543.0, 20_015_086.0, 20_015_087.0]),
    ];
    let ring = || {
        prop::collection::vec(any_place(), 3..7).prop_map(|mut points| {
            points.push(points[0]);
            points
        })
    };
    prop_oneof![
        (any_place(), any_place())
            .prop_map(|(top_left, bottom_right)| GeoArea::Box { top_left, bottom_right }),
        (any_place(), radius).prop_map(|(center, metres)| GeoArea::Radius { center, metres }),
        (ring(), prop::collection::vec(ring(), 0..3))
            .prop_map(|(exterior, interiors)| GeoArea::Polygon { exterior, interiors }),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let one = || {
        prop_oneof![
            6 => any_place().prop_map(|p| json!({ "lat": p.lat, "lon": p.lon })),
            6 => select(TEXTS).prop_map(Value::from),
            1 => Just(json!({ "lat": 91, "lon": 0 })),
            1 => Just(json!({ "lat": 1 })),
            1 => Just(json!({ "lat": "1", "lon": 2, "text": "red" })),
            1 => Just(Value::Null),
            1 => Just(json!(7)),
        ]
    };
    prop_oneof![3 => one(), 1 => prop::collection::vec(one(), 0..4).prop_map(Value::from)]
}

fn any_payload() -> impl Strategy<Value = PayloadMap> {
    let row = any_value().prop_map(|x| json!({ "x": x }));
    let fields = [
        any_value().boxed(),
        any_value().boxed(),
        prop::collection::vec(row, 0..3).prop_map(Value::from).boxed(),
    ];
    fields.map(prop::option::of).prop_map(|fields| {
        let named = ["a", "b", "n"].into_iter().zip(fields);
        named.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    })
}

fn any_test() -> impl Strategy<Value = FieldTest> {
    const WANTED: &[&str] =
        &["red", "red car", "CAR", "cars", "uber", "über", "the", "", "r", "blue red", "run"];
    let how = select(vec![TextMatch::All, TextMatch::Any, TextMatch::Phrase]);
    prop_oneof![
        4 => any_area().prop_map(|area| FieldTest::Geo(Arc::new(area))),
        4 => (select(WANTED), how).prop_map(|(text, how)| FieldTest::Text(Arc::new(TextTest::new(text.into(), how)))),
        2 => select(vec!["", "r", "red", "a Red", "Ü", "x"]).prop_map(|start| FieldTest::Prefix(start.to_owned())),
        1 => any::<bool>().prop_map(FieldTest::IsEmpty),
        1 => any::<bool>().prop_map(FieldTest::IsNull),
        1 => (0u64..3).prop_map(|n| FieldTest::ValuesCount(Bounds { gte: Some(n), ..Bounds::default() })),
    ]
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let field = |keys: &'static [&'static str]| {
        (select(keys), prop::collection::vec(any_test(), 1..3))
            .prop_map(|(key, tests)| Condition::Field(FieldCondition { key: path(key), tests }))
    };
    let nested = prop::collection::vec(field(&["x", "x[]"]), 0..3)
        .prop_map(|must| Condition::Nested { key: path("n"), filter: Filter { must, ..Filter::default() } });
    let slice = (1u32..5, 0u32..5).prop_filter_map("an index below the total", |(total, index)| {
        Slice::new(total, index).map(Condition::Slice)
    });
    prop_oneof![6 => field(&["a", "b", "a[]", "n[].x", "a[0]", "missing"]), 2 => nested, 1 => slice]
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let some = || prop::collection::vec(any_condition(), 0..3);
    let min_should = prop::option::of((prop::collection::vec(any_condition(), 0..12), 0usize..13));
    (some(), some(), some(), min_should).prop_map(|(must, should, must_not, min_should)| Filter {
        must,
        should,
        must_not,
        min_should: min_should.map(|(conditions, min_count)| MinShould { conditions, min_count }),
    })
}

fn any_text_params() -> impl Strategy<Value = TextParams> {
    let tokenizers = vec![
        None,
        Some(Tokenizer::Prefix),
        Some(Tokenizer::Whitespace),
        Some(Tokenizer::Word),
        Some(Tokenizer::Multilingual),
    ];
    let flag = || prop::option::of(any::<bool>());
    let stopwords = select(vec![None, Some(Stopwords::Language("english".to_owned()))]);
    let stemmer = select(vec![None, Some(Stemmer::Snowball("english".to_owned())), Some(Stemmer::None)]);
    let lengths = (prop::option::of(0usize..3), prop::option::of(1usize..6));
    (select(tokenizers), lengths, (flag(), flag(), flag()), stopwords, stemmer).prop_map(
        |(tokenizer, (min_token_len, max_token_len), flags, stopwords, stemmer)| TextParams {
            tokenizer,
            min_token_len,
            max_token_len,
            lowercase: flags.0,
            ascii_folding: flags.1,
            phrase_matching: flags.2,
            stopwords,
            stemmer,
        },
    )
}

fn any_schema() -> impl Strategy<Value = FieldSchema> {
    prop_oneof![
        2 => Just(FieldSchema::plain(FieldType::Geo)),
        1 => Just(FieldSchema::plain(FieldType::Keyword)),
        1 => Just(FieldSchema::plain(FieldType::Uuid)),
        3 => any_text_params().prop_map(|params| FieldSchema {
            text: Some(Box::new(params)),
            ..FieldSchema::plain(FieldType::Text)
        }),
    ]
}

fn any_points() -> impl Strategy<Value = Points> {
    let indexes =
        prop::collection::btree_map(select(vec!["a", "b", "a[]", "n[].x", "a[0]"]), any_schema(), 0..4);
    (prop::collection::vec(any_payload(), 0..70), indexes).prop_map(|(payloads, indexes)| {
        let indexes: Vec<_> = indexes.into_iter().collect();
        Points::new(payloads, &indexes)
    })
}

/// As a collection asks it: texts cut as the indexes say.
fn bound(points: &Points, filter: &Filter) -> Filter {
    bind(filter, &|key| points.indexes.get(key).map(FieldIndex::schema)).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn places_and_texts_are_found_with_and_without_indexes(points in any_points(), filter in any_filter()) {
        let filter = bound(&points, &filter);
        let expected = points.expected(&filter);
        let guess = estimate(&filter, &points).expect("in memory");
        let count = expected.count();
        prop_assert!(guess.min <= count && count <= guess.max, "{} is not in {:?}", count, guess);
        let found = evaluate(&filter, &points, &Cancel::new()).expect("in memory");
        prop_assert_eq!(&found.passing, &expected);
        let found = evaluate(&filter, &points.reopened(), &Cancel::new()).expect("intact files");
        prop_assert_eq!(&found.passing, &expected);
    }

    #[test]
    fn an_index_of_places_leaves_none_out(places in prop::collection::vec(any_place(), 0..200), area in any_area()) {
        let payloads = places.iter().map(|p| object(json!({ "a": { "lat": p.lat, "lon": p.lon } }))).collect();
        let points = Points::new(payloads, &[("a", FieldSchema::plain(FieldType::Geo))]);
        let test = FieldTest::Geo(Arc::new(area.clone()));
        let found = points.indexes[&path("a")].evaluate(&test).expect("in memory").expect("a fitting index");
        let expected: Bitset = places.iter().map(|place| area.contains(*place)).collect();
        prop_assert_eq!(found, expected);
    }
}

fn check_area(area: &GeoArea, lat: f64, lon: f64, expected: bool) {
    let place = GeoPoint::new(lat, lon).expect("a place");
    assert_eq!(area.contains(place), expected, "{lat}, {lon} in {area:?}");
}

#[test]
fn areas_hold_what_lies_inside_and_not_their_edges() {
    let at = |lat, lon| GeoPoint { lat, lon };
    let pacific = GeoArea::Box { top_left: at(10.0, 170.0), bottom_right: at(-10.0, -170.0) };
    for (lon, inside) in
        [(180.0, true), (-180.0, true), (171.0, true), (-171.0, true), (170.0, false), (0.0, false)]
    {
        check_area(&pacific, 0.0, lon, inside);
    }
    check_area(&pacific, 10.0, 180.0, false);
    let around_pole = GeoArea::Radius { center: at(89.9, 0.0), metres: 50_000.0 };
    check_area(&around_pole, 89.9, 180.0, true);
    check_area(&around_pole, 89.0, 0.0, false);
    let berlin = GeoArea::Radius { center: at(52.52, 13.405), metres: 255_000.0 };
    check_area(&berlin, 53.5511, 9.9937, false);
    check_area(&GeoArea::Radius { center: at(52.52, 13.405), metres: 256_000.0 }, 53.5511, 9.9937, true);
    let ring =
        |low: f64, high: f64| vec![at(low, low), at(low, high), at(high, high), at(high, low), at(low, low)];
    let square = GeoArea::Polygon { exterior: ring(0.0, 10.0), interiors: vec![ring(4.0, 6.0)] };
    for (lat, lon, inside) in [
        (1.0, 1.0, true),
        (5.0, 5.0, false),
        (4.0, 5.0, false),
        (0.0, 5.0, false),
        (11.0, 5.0, false),
        (3.9, 5.0, true),
    ] {
        check_area(&square, lat, lon, inside);
    }
}

/// Whatever bit of a file is flipped, the answer is right, or an error says that the file is damaged.
#[test]
fn a_flipped_bit_in_an_index_of_places_or_texts_is_detected_or_harmless() {
    let payloads: Vec<_> = (0..500)
        .map(|i| object(json!({ "a": TEXTS[i % TEXTS.len()], "b": { "lat": i % 90, "lon": i % 180 } })))
        .collect();
    let text =
        FieldSchema { text: Some(Box::new(TextParams::unindexed())), ..FieldSchema::plain(FieldType::Text) };
    let place = GeoArea::Radius { center: GeoPoint { lat: 20.0, lon: 20.0 }, metres: 1e6 };
    let phrase = FieldTest::Text(Arc::new(TextTest::new("red car".to_owned(), TextMatch::Phrase)));
    for (key, schema, test) in
        [("a", text, phrase), ("b", FieldSchema::plain(FieldType::Geo), FieldTest::Geo(Arc::new(place)))]
    {
        let points = Points::new(payloads.clone(), &[(key, schema.clone())]);
        let index = &points.indexes[&path(key)];
        let expected = index.evaluate(&test).expect("in memory");
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join(key);
        index.write(SealedWriter::create(&RealDisk, &file, FILE_KIND).expect("a new file")).expect("space");
        let bytes = RealDisk.open(&file).expect("what was written");
        for at in (0..bytes.size().expect("a size")).step_by(37) {
            let mut byte = [0];
            bytes.read_exact_at(&mut byte, at).expect("a byte");
            bytes.write_all_at(&[byte[0] ^ (1 << (at % 8))], at).expect("a flip");
            let answer = SealedFile::open(&RealDisk, &file, FILE_KIND)
                .and_then(|file| FieldIndex::open(file, &schema))
                .and_then(|index| index.evaluate(&test));
            match answer {
                Err(Error::Corrupt { .. }) => {}
                answer => assert_eq!(answer.expect("only damage is an error"), expected, "byte {at}"),
            }
            bytes.write_all_at(&byte, at).expect("the byte again");
        }
    }
}
