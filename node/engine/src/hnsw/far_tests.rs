//! Queries that are far from everything: they are answered as well as others, and what is far survives in the graph's file.

use std::path::Path;

use super::build::{Material, Recipe, build};
use super::search::{Allow, Mode, Walk, walk};
use super::tests::Random;
use super::{Graph, SearchContext, Space};
use crate::cancel::Cancel;
use crate::config::Distance;
use crate::distance::{TopK, normalize, scan_f32};
use crate::file::sim::SimDisk;
use crate::file::{SealedFile, SealedWriter};

const DIM: usize = 32;
const POINTS: usize = 6000;
const CLUSTERS: usize = 300;
const K: usize = 10;
const KIND: [u8; 8] = *b"VECGRAPH";

/// Rows around centres, a few of which have most of them; the farther out the fewer. With `out`, of the farthest only.
fn scattered(distance: Distance, len: usize, seed: u64, out: bool) -> Vec<f32> {
    let mut centres = Random(7);
    let centres: Vec<f32> = (0..CLUSTERS * DIM).map(|_| centres.normal()).collect();
    let mut random = Random(seed);
    let mut rows = Vec::with_capacity(len * DIM);
    for _ in 0..len {
        let share = (random.below(1 << 20) as f32 + 0.5) / (1 << 20) as f32;
        let centre = &centres[(CLUSTERS as f32).powf(share) as usize * DIM..][..DIM];
        let rank = (random.below(1000) + 1) as f32 / if out { 20_000.0 } else { 1000.0 };
        let width = 0.3 / rank.powf(0.4);
        let start = rows.len();
        rows.extend(centre.iter().map(|c| c + width * random.normal()));
        if distance == Distance::Cosine {
            normalize(&mut rows[start..]);
        }
    }
    rows
}

fn graph(distance: Distance, rows: &[f32]) -> Graph {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let recipe = Recipe {
        material: Material::Raw { rows, dim: DIM, distance },
        len: (rows.len() / DIM) as u32,
        m: 8,
        ef_construct: 60,
        threads: 1,
        seed: 1,
        whole_rows: false,
    };
    build(&recipe, |_| true, None, &pool, &Cancel::new()).expect("a graph")
}

/// How many queries have a walk that finds hardly any of their nearest.
fn lost(graph: &Graph, distance: Distance, rows: &[f32], queries: &[f32]) -> usize {
    let mut ctx = SearchContext::default();
    let ef = 32;
    let this = Walk { graph, mode: Mode::Plain, allow: Allow::All, ef, beam: ef, budget: usize::MAX };
    let is_lost = |query: &&[f32]| {
        let mut exact = TopK::new(K);
        scan_f32(distance, query, rows, 0, |_| true, &mut exact);
        walk(&this, &Space::Raw { rows, distance, query }, &mut ctx);
        let exact: Vec<u32> = exact.as_slice().iter().map(|&(_, offset)| offset).collect();
        ctx.found.iter().filter(|(_, offset)| exact.contains(offset)).count() <= K / 5
    };
    queries.chunks(DIM).filter(is_lost).count()
}

#[test]
fn a_query_far_from_everything_does_not_end_in_the_wrong_cluster() {
    let distance = Distance::Euclid;
    let rows = scattered(distance, POINTS, 1, false);
    let queries = scattered(distance, 1000, 99, true);
    let mut graph = graph(distance, &rows);
    let with = lost(&graph, distance, &rows, &queries);
    graph.shape.far = f32::NEG_INFINITY;
    let without = lost(&graph, distance, &rows, &queries);
    assert!(with * 3 <= without * 2 && without > 0, "{with} of 1000 lost, {without} from one point");
}

/// The graph of some rows takes so many of these queries as far.
fn check_far(distance: Distance, out: bool, expected: std::ops::RangeInclusive<usize>) {
    let rows = scattered(distance, POINTS, 1, false);
    let queries = scattered(distance, 200, 99, out);
    let far = graph(distance, &rows).shape.far;
    let nearest = |query: &[f32]| {
        let mut best = TopK::new(1);
        scan_f32(distance, query, &rows, 0, |_| true, &mut best);
        best.worst()
    };
    let count = queries.chunks(DIM).filter(|query| nearest(query) < far).count();
    assert!(expected.contains(&count), "{distance:?} out {out}: {count} of 200 are far, below {far}");
}

#[test]
fn what_is_far_is_told_by_the_points_themselves() {
    check_far(Distance::Euclid, false, 1..=60);
    check_far(Distance::Euclid, true, 180..=200);
    check_far(Distance::Manhattan, true, 180..=200);
    check_far(Distance::Cosine, false, 0..=60);
    check_far(Distance::Dot, true, 0..=0);
}

fn read_again(graph: &Graph) -> Graph {
    let (disk, path) = (SimDisk::new(), Path::new("/g"));
    let mut w = SealedWriter::create(&disk, path, KIND).expect("creates");
    graph.write(&mut w).expect("writes");
    w.finish().expect("finishes");
    let file = SealedFile::open(&disk, path, KIND).expect("opens");
    Graph::open(&file, graph.shape.len, true).expect("a graph")
}

#[test]
fn files_say_what_is_far_and_those_of_earlier_versions_that_nothing_is() {
    let rows = scattered(Distance::Euclid, 1000, 1, false);
    let mut graph = graph(Distance::Euclid, &rows);
    assert!(graph.shape.far < 0.0 && graph.shape.far.is_finite());
    assert_eq!(read_again(&graph).shape, graph.shape);
    // They left the word at zero.
    graph.shape.far = 0.0;
    assert_eq!(read_again(&graph).shape.far, f32::NEG_INFINITY);
}
