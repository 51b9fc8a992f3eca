//! Files, plans and answers of one named vector.

use super::*;
use crate::bitset::Bitset;
use crate::cancel::Cancel;
use crate::config::{BinaryEncoding, Compression, TurboBits};
use crate::distance::{TopK, scan_f32};
use crate::error::Error;
use crate::file::RealDisk;
use crate::hnsw::SearchContext;
use crate::hnsw::tests::DISTANCES;
use crate::query::{Plan, QuantizationSearch};

const DIM: usize = 24;

/// Rows around 40 centres, drawn from a fixed sequence.
fn rows(distance: Distance, len: usize, seed: u64) -> Vec<f32> {
    crate::hnsw::tests::clustered(distance, DIM, len, seed)
}

fn spec(distance: Distance, quantized: bool, inline: bool) -> VectorSpec {
    VectorSpec {
        dim: DIM,
        distance,
        quantization: quantized
            .then_some(Quantization::Scalar { quantile: Some(0.99), always_ram: Some(true) }),
        hnsw: HnswConfig {
            full_scan_threshold_kb: 10,
            inline_storage: Some(inline),
            ..HnswConfig::default()
        },
        on_disk: quantized,
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    files: Vec<FileEntry>,
    spec: VectorSpec,
    rows: Vec<f32>,
    vectors: SegmentVectors,
}

/// Writes and opens; points whose offset is a multiple of `absent` lack the vector.
fn fixture(spec: VectorSpec, rows: Vec<f32>, absent: u32, plan: GraphPlan) -> Fixture {
    let dir = tempfile::tempdir().expect("a folder");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
    let cancel = Cancel::new();
    let builder = VectorsBuilder {
        codes: true,
        disk: &RealDisk,
        dir: dir.path(),
        prefix: "v",
        spec: &spec,
        pool: &pool,
        threads: 2,
        cancel: &cancel,
    };
    let mut fill = |offset: u32, row: &mut [f32]| {
        row.copy_from_slice(&rows[offset as usize * spec.dim..][..spec.dim]);
        Ok(!offset.is_multiple_of(absent))
    };
    let files = builder.write((rows.len() / spec.dim) as u32, &mut fill, plan).expect("written");
    let vectors = SegmentVectors::open(&RealDisk, dir.path(), "v", &spec, &files).expect("open");
    Fixture { dir, files, spec, rows, vectors }
}

struct Ask<'a> {
    deleted: &'a Deleted,
    passing: Option<&'a Passing>,
    params: SearchParams,
    k: usize,
}

impl Fixture {
    /// The same files with other settings.
    fn reopen(&mut self, spec: VectorSpec) {
        self.vectors =
            SegmentVectors::open(&RealDisk, self.dir.path(), "v", &spec, &self.files).expect("opens");
        self.spec = spec;
    }

    fn search(&self, query: &[f32], ask: &Ask) -> (Vec<(u32, f32)>, Plan) {
        let query = VectorQuery {
            target: Target::Vector(query),
            deleted: ask.deleted,
            passing: ask.passing,
            k: ask.k,
            params: &ask.params,
        };
        self.vectors.search(&query, &mut SearchContext::default(), &Cancel::new()).expect("an answer")
    }

    fn exact(&self, query: &[f32], ask: &Ask) -> Vec<(u32, f32)> {
        let mut top = TopK::new(ask.k);
        let allowed = |o: u32| {
            self.vectors.has(o)
                && !ask.deleted.contains(o)
                && ask.passing.is_none_or(|passing| passing.bits().get(o))
        };
        scan_f32(self.spec.distance, query, &self.rows, 0, allowed, &mut top);
        top.as_slice().iter().map(|&(s, o)| (o, self.spec.distance.score(s))).collect()
    }

    /// Recall over 50 queries and the plan of the last. Every score given must be the exact one.
    fn recall(&self, ask: &Ask) -> (f64, Plan) {
        let dim = self.spec.dim;
        let queries = crate::hnsw::tests::clustered(self.spec.distance, dim, 50, 77);
        let (mut hits, mut all, mut plan) = (0, 0, Plan::Scan);
        for query in queries.chunks(dim) {
            let (found, this) = self.search(query, ask);
            plan = this;
            let exact = self.exact(query, ask);
            assert_eq!(found.len(), exact.len());
            all += exact.len();
            hits += found.iter().filter(|hit| exact.contains(hit)).count();
            for &(offset, score) in &found {
                let row = self.vectors.raw(offset).expect("intact").expect("present");
                assert_eq!(score, self.spec.distance.score(self.spec.distance.similarity(query, row)));
            }
        }
        (hits as f64 / all as f64, plan)
    }
}

fn share(len: u32, percent: u64) -> Bitset {
    let mut random = crate::hnsw::tests::Random(percent);
    (0..len).map(|_| random.below(100) < percent).collect()
}

#[test]
fn every_filter_and_metric_is_answered_with_the_nearest() {
    // From 193 dimensions on walks look at the upper halves of codes.
    for (distance, dim, quantized, inline) in [
        (Distance::Cosine, DIM, true, false),
        (Distance::Cosine, DIM, false, false),
        (Distance::Cosine, DIM, true, true),
        (Distance::Dot, DIM, true, false),
        (Distance::Dot, DIM, true, true),
        (Distance::Euclid, DIM, true, false),
        (Distance::Euclid, DIM, true, true),
        (Distance::Manhattan, DIM, true, true),
        (Distance::CosineAsSent, DIM, true, true),
        (Distance::Cosine, 200, true, false),
        (Distance::Dot, 300, true, false),
        (Distance::Euclid, 200, true, false),
    ] {
        let spec = VectorSpec { dim, ..spec(distance, quantized, inline) };
        let rows = crate::hnsw::tests::clustered(distance, dim, 12_000, 1);
        let f = fixture(spec, rows, 10, GraphPlan::Build);
        let none = Deleted::none(f.vectors.len());
        let mut some = none.clone();
        (0..f.vectors.len()).step_by(9).for_each(|o| {
            some.insert(o);
        });
        let params = SearchParams { hnsw_ef: Some(64), ..SearchParams::default() };
        for deleted in [&none, &some] {
            let check = |percent: Option<u64>, plan: Plan, params: SearchParams| {
                let passing = percent.map(|percent| Passing::from(share(f.vectors.len(), percent)));
                let (recall, got) = f.recall(&Ask { deleted, passing: passing.as_ref(), params, k: 10 });
                assert!(
                    recall >= 0.98,
                    "{distance:?} {dim} {quantized} {inline} {percent:?} {got:?}: recall {recall}"
                );
                assert_eq!(got, plan, "{distance:?} {percent:?}");
            };
            check(None, Plan::Graph, params);
            // By codes beside links a walk through those that don't pass takes longer than a scan of so few points.
            if inline && ScalarCodes::serves(distance) {
                check(Some(90), Plan::FilteredGraph, SearchParams { hnsw_ef: Some(32), ..params });
                check(Some(70), Plan::Scan, params);
            } else {
                check(Some(70), Plan::FilteredGraph, params);
            }
            check(Some(10), Plan::Scan, params);
            check(Some(1), Plan::Scan, params);
            check(None, Plan::Scan, SearchParams { exact: true, ..params });
            let ignore = QuantizationSearch { ignore: true, ..QuantizationSearch::default() };
            check(None, Plan::Graph, SearchParams { quantization: ignore, ..params });
        }
    }
}

#[test]
fn exact_answers_are_exact() {
    let f =
        fixture(spec(Distance::Euclid, true, false), rows(Distance::Euclid, 3000, 1), 7, GraphPlan::Build);
    let deleted = Deleted::none(3000);
    let ask = Ask {
        deleted: &deleted,
        passing: None,
        params: SearchParams { exact: true, ..Default::default() },
        k: 20,
    };
    for query in rows(Distance::Euclid, 20, 5).chunks(DIM) {
        assert_eq!(f.search(query, &ask).0, f.exact(query, &ask));
    }
}

/// A request may name any number: none of them is worth more memory, or another answer, than all points.
#[test]
fn numbers_beyond_all_points_mean_all_points() {
    let f =
        fixture(spec(Distance::Euclid, true, false), rows(Distance::Euclid, 12_000, 1), 7, GraphPlan::Build);
    let deleted = Deleted::none(12_000);
    // The twelvefold of the second is 8 again, in 64 bits.
    for ef in [usize::MAX, usize::MAX / 12 + 1, 1 << 40] {
        let quantization = QuantizationSearch { oversampling: Some(f64::MAX), ..Default::default() };
        let params = SearchParams { hnsw_ef: Some(ef), quantization, ..SearchParams::default() };
        let ask = Ask { deleted: &deleted, passing: None, params, k: 10 };
        for query in rows(Distance::Euclid, 5, 5).chunks(DIM) {
            assert_eq!(f.search(query, &ask).0, f.exact(query, &ask), "ef {ef}");
        }
    }
}

/// A filter that passes only far points: the walk gives up and the scan answers.
#[test]
fn a_filter_against_the_query_is_answered_by_a_scan() {
    let f = fixture(
        spec(Distance::Euclid, true, false),
        rows(Distance::Euclid, 12_000, 1),
        u32::MAX,
        GraphPlan::Build,
    );
    let deleted = Deleted::none(12_000);
    let params = SearchParams { hnsw_ef: Some(32), ..SearchParams::default() };
    for query in rows(Distance::Euclid, 10, 5).chunks(DIM) {
        let all = Ask { deleted: &deleted, passing: None, params, k: 6000 };
        let mut far = Bitset::ones(12_000);
        f.exact(query, &all).iter().for_each(|hit| far.unset(hit.0));
        let ask = Ask { deleted: &deleted, passing: Some(&far.into()), params, k: 10 };
        assert_eq!(f.search(query, &ask).0, f.exact(query, &ask));
    }
}

/// A collection's `m` may change while its segments still have graphs of the old one.
#[test]
fn links_with_codes_are_read_with_the_m_they_were_built_with() {
    let built = spec(Distance::Euclid, true, true);
    let f = fixture(built, rows(Distance::Euclid, 12_000, 1), u32::MAX, GraphPlan::Build);
    let changed = VectorSpec { hnsw: HnswConfig { m: 40, ..built.hnsw }, ..built };
    let again = SegmentVectors::open(&RealDisk, f.dir.path(), "v", &changed, &f.files).expect("opens");
    again.warm().expect("what was built is intact");
}

#[test]
fn a_merge_by_insertion_answers_like_a_new_build() {
    for distance in DISTANCES {
        let first = fixture(spec(distance, false, false), rows(distance, 9000, 1), 11, GraphPlan::Build);
        let mut all = Vec::new();
        let new_offsets: Vec<u32> = (0..9000u32)
            .map(|old| {
                if old % 10 == 4 {
                    return DROPPED;
                }
                all.extend_from_slice(&first.rows[old as usize * DIM..][..DIM]);
                (all.len() / DIM) as u32 - 1
            })
            .collect();
        all.extend(rows(distance, 3900, 2));
        // Offsets have moved, so that others lack the vector than before: a point of the graph may have lost its own.
        let plan = GraphPlan::Grow { from: &first.vectors, new_offsets: &new_offsets };
        let f = fixture(spec(distance, false, false), all, u32::MAX, plan);
        let deleted = Deleted::none(f.vectors.len());
        let params = SearchParams { hnsw_ef: Some(64), ..SearchParams::default() };
        let (recall, plan) = f.recall(&Ask { deleted: &deleted, passing: None, params, k: 10 });
        assert!(recall >= 0.98 && plan == Plan::Graph, "{distance:?}: recall {recall}, {plan:?}");
    }
}

#[test]
fn without_rescoring_scores_are_those_of_the_codes() {
    let f =
        fixture(spec(Distance::Cosine, true, false), rows(Distance::Cosine, 12_000, 1), 5, GraphPlan::Build);
    let deleted = Deleted::none(12_000);
    let quantization = QuantizationSearch { rescore: Some(false), ..Default::default() };
    let params = SearchParams { quantization, ..Default::default() };
    let ask = Ask { deleted: &deleted, passing: None, params, k: 10 };
    for query in rows(Distance::Cosine, 10, 5).chunks(DIM) {
        for ((_, score), (_, exact)) in f.search(query, &ask).0.into_iter().zip(f.exact(query, &ask)) {
            assert!((score - exact).abs() < 0.02, "{score} for {exact}");
        }
    }
}

#[test]
fn rows_are_kept_bit_for_bit_and_missing_ones_are_missing() {
    let f = fixture(spec(Distance::Dot, false, false), rows(Distance::Dot, 100, 1), 3, GraphPlan::None);
    assert_eq!((f.vectors.len(), f.vectors.present(), f.vectors.has_graph()), (100, 66, false));
    for offset in 0..100u32 {
        let row = f.vectors.raw(offset).expect("intact");
        assert_eq!(row, (!offset.is_multiple_of(3)).then(|| &f.rows[offset as usize * DIM..][..DIM]));
    }
    let deleted = Deleted::none(100);
    let ask = Ask { deleted: &deleted, passing: None, params: SearchParams::default(), k: 100 };
    assert_eq!(f.search(&f.rows[..DIM], &ask).0.len(), 66);
}

#[test]
fn no_points_give_no_answers() {
    for plan in [GraphPlan::None, GraphPlan::Build] {
        let f = fixture(spec(Distance::Cosine, true, false), Vec::new(), 2, plan);
        let deleted = Deleted::none(0);
        let ask = Ask { deleted: &deleted, passing: None, params: SearchParams::default(), k: 5 };
        assert_eq!(f.search(&[1.0; DIM], &ask).0, []);
    }
    let all_absent =
        fixture(spec(Distance::Cosine, true, false), rows(Distance::Cosine, 50, 1), 1, GraphPlan::Build);
    let deleted = Deleted::none(50);
    let ask = Ask { deleted: &deleted, passing: None, params: SearchParams::default(), k: 5 };
    assert_eq!(all_absent.search(&[1.0; DIM], &ask).0, []);
}

#[test]
fn a_cancelled_build_stops() {
    let dir = tempfile::tempdir().expect("a folder");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let (cancel, spec) = (Cancel::new(), spec(Distance::Dot, false, false));
    cancel.cancel();
    let builder = VectorsBuilder {
        codes: true,
        disk: &RealDisk,
        dir: dir.path(),
        prefix: "v",
        spec: &spec,
        pool: &pool,
        threads: 2,
        cancel: &cancel,
    };
    let result = builder.write(10, &mut |_, _| Ok(true), GraphPlan::Build);
    assert!(matches!(result, Err(Error::Cancelled)));
}

/// Every kind of quantization, and whether it asks for fewer than eight bits a dimension.
fn kinds() -> Vec<(Quantization, bool)> {
    let product = |compression| Quantization::Product { compression, always_ram: Some(true) };
    let binary = |encoding| Quantization::Binary { encoding, query_encoding: None, always_ram: Some(true) };
    let turbo = |bits| Quantization::Turbo { bits, always_ram: Some(true) };
    let few = [
        product(Compression::X8),
        product(Compression::X64),
        binary(None),
        binary(Some(BinaryEncoding::TwoBits)),
        turbo(None),
        turbo(Some(TurboBits::Bits4)),
    ];
    let mut all = vec![
        (Quantization::Scalar { quantile: None, always_ram: Some(true) }, false),
        (product(Compression::X4), false),
    ];
    all.extend(few.map(|kind| (kind, true)));
    all
}

/// Recall of all kinds, and what of each point they keep in RAM beside the graph: (one-byte kinds, other kinds).
fn check_kinds(dim: usize, per_point: (u64, u64)) {
    const LEN: u64 = 3000;
    let wide = VectorSpec { dim, ..spec(Distance::Cosine, true, false) };
    let rows = || crate::hnsw::tests::clustered(Distance::Cosine, dim, LEN as usize, 1);
    let deleted = Deleted::none(LEN as u32);
    let params = SearchParams { hnsw_ef: Some(32), ..SearchParams::default() };
    let width = dim.next_multiple_of(64) as u64;
    for few in [false, true] {
        let mut of_kind = kinds().into_iter().filter(|kind| kind.1 == few).map(|kind| kind.0);
        let built = VectorSpec { quantization: of_kind.next(), ..wide };
        let mut f = fixture(built, rows(), u32::MAX, GraphPlan::Build);
        for quantization in built.quantization.into_iter().chain(of_kind) {
            f.reopen(VectorSpec { quantization: Some(quantization), ..built });
            let (recall, plan) = f.recall(&Ask { deleted: &deleted, passing: None, params, k: 10 });
            assert!(
                recall >= 0.95 && plan == Plan::Graph,
                "{quantization:?} {dim}: recall {recall}, {plan:?}"
            );
            let hot = f.vectors.hot().expect("loaded");
            let bytes = hot.codes.as_ref().expect("codes").ram_bytes();
            let expected = if few { per_point.1 } else { per_point.0 };
            // The mean is as long as what was rotated, if anything was.
            let mean = if built.is_sketched() { width } else { dim as u64 } * 4;
            assert_eq!(bytes, LEN * expected + mean, "{quantization:?} {dim}");
        }
    }
}

/// Of each point: scales and term are 12 bytes; sketches are padded to half a line, or to whole ones.
#[test]
fn every_kind_finds_the_nearest_with_the_memory_that_it_says() {
    check_kinds(64, (64 + 12, 32 + 12));
    check_kinds(128, (128 + 12, 32 + 12));
    check_kinds(384, (384 + 64 + 12, 64 + 12));
    // Rows whose halves are apart are padded to twos of lines.
    check_kinds(300, (384 + 64 + 12, 64 + 12));
    // Too few signs to tell points apart.
    check_kinds(40, (64 + 12, 64 + 12));
}

/// A live change opens the files of before: what they hold stands in them, and not in the settings.
#[test]
fn files_are_opened_with_the_settings_of_any_kind() {
    let plain = spec(Distance::Euclid, true, false);
    let binary = Quantization::Binary { encoding: None, query_encoding: None, always_ram: None };
    let on_disk = VectorSpec { dim: 128, quantization: Some(binary), on_disk: true, ..plain };
    let in_ram = VectorSpec { on_disk: false, ..on_disk };
    let none = VectorSpec { quantization: None, ..in_ram };
    let rows = || crate::hnsw::tests::clustered(Distance::Euclid, 128, 500, 1);
    let deleted = Deleted::none(500);
    // Without sketches every comparison reads codes, so they stay in RAM until the segment is built anew.
    for (built, kept) in [(none, [0, 140, 140]), (in_ram, [0, 44, 172])] {
        let mut f = fixture(built, rows(), u32::MAX, GraphPlan::None);
        for (spec, kept) in [on_disk, in_ram, none].into_iter().zip(kept) {
            f.reopen(spec);
            let ask = Ask { deleted: &deleted, passing: None, params: SearchParams::default(), k: 10 };
            assert!(f.recall(&ask).0 >= 0.95, "{spec:?}");
            let mean = 128 * 4;
            assert_eq!(f.vectors.ram_bytes(), 500 * kept + mean, "{spec:?}");
        }
    }
}
