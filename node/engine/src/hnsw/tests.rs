//! Recall of walks against comparing everything, for every metric, on codes and on raw rows.

use super::build::{Material, Old, Recipe, build};
use super::graph::NO_LINK;
use super::search::{Allow, Mode, Walk, walk};
use super::{Graph, SearchContext, Space};
use crate::cancel::Cancel;
use crate::config::Distance;
use crate::distance::{TopK, normalize};
use crate::quantization::{CodeForm, CodeQuery, ScalarCodes};
use crate::segment::Deleted;

/// SplitMix64: the same numbers in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// Roughly normal.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.below(1 << 24) as f32 / (1 << 24) as f32 - 0.5).sum::<f32>()
            * std::f32::consts::SQRT_2
    }
}

/// All that vectors can be compared by.
pub(crate) const DISTANCES: [Distance; 5] =
    [Distance::Cosine, Distance::CosineAsSent, Distance::Dot, Distance::Euclid, Distance::Manhattan];

/// Rows around cluster centres; for Cosine of length one. Queries are drawn likewise.
pub(crate) fn clustered(distance: Distance, dim: usize, len: usize, seed: u64) -> Vec<f32> {
    let mut centres = Random(7);
    let centres: Vec<f32> = (0..50 * dim).map(|_| 2.0 * centres.normal()).collect();
    let mut random = Random(seed);
    let mut rows = Vec::with_capacity(len * dim);
    for _ in 0..len {
        let centre = random.below(50) as usize;
        let start = rows.len();
        rows.extend(centres[centre * dim..][..dim].iter().map(|c| c + random.normal()));
        if distance == Distance::Cosine {
            normalize(&mut rows[start..]);
        }
    }
    rows
}

const DIM: usize = 41;
const K: usize = 10;

struct Case {
    distance: Distance,
    rows: Vec<f32>,
    codes: Option<(ScalarCodes, Vec<i32>)>,
    graph: Graph,
}

fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads")
}

fn material<'a>(
    rows: &'a [f32],
    codes: &'a Option<(ScalarCodes, Vec<i32>)>,
    distance: Distance,
) -> Material<'a> {
    match codes {
        Some((codes, sums)) => Material::Codes { codes, sums, rows },
        None => Material::Raw { rows, dim: DIM, distance },
    }
}

/// For one thread, whose graph is the same each time.
fn recipe(material: Material, len: usize) -> Recipe {
    Recipe { material, len: len as u32, m: 16, ef_construct: 100, threads: 1, seed: 1, whole_rows: false }
}

impl Case {
    fn new(distance: Distance, rows: Vec<f32>, by_codes: bool, old: Option<Old>) -> Self {
        Self::built(distance, rows, (by_codes, false), old)
    }

    fn built(
        distance: Distance,
        rows: Vec<f32>,
        (by_codes, whole_rows): (bool, bool),
        old: Option<Old>,
    ) -> Self {
        let pool = pool();
        let len = rows.len() / DIM;
        let mut mean = vec![0f32; DIM];
        rows.chunks(DIM).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / len as f32));
        let codes = by_codes.then(|| {
            ScalarCodes::encode(distance, DIM, &rows, mean, CodeForm::Plain, &pool).expect("memory")
        });
        let recipe = Recipe { whole_rows, ..recipe(material(&rows, &codes, distance), len) };
        let graph = build(&recipe, |_| true, old, &pool, &Cancel::new()).expect("a graph");
        Self { distance, rows, codes, graph }
    }

    fn len(&self) -> u32 {
        (self.rows.len() / DIM) as u32
    }

    /// Mean share of the `K` best allowed points that a walk finds, points as near as the last of them counting too.
    fn recall(&self, mode: Mode, allow: Allow, ef: usize) -> f64 {
        let queries = clustered(self.distance, DIM, 100, 99);
        let mut ctx = SearchContext::default();
        let mut prepared = CodeQuery::default();
        let mut hits = 0;
        for query in queries.chunks(DIM) {
            let mut exact = TopK::new(K);
            crate::distance::scan_f32(self.distance, query, &self.rows, 0, |o| allow.allows(o), &mut exact);
            let space = match &self.codes {
                Some((codes, _)) => {
                    codes.prepare(query, &mut prepared);
                    Space::Codes { codes, query: &prepared }
                }
                None => Space::Raw { rows: &self.rows, distance: self.distance, query },
            };
            let this = Walk { graph: &self.graph, mode, allow, ef, beam: 4 * ef, budget: usize::MAX };
            walk(&this, &space, &mut ctx);
            assert!(ctx.found.iter().all(|&(_, offset)| allow.allows(offset)));
            let similarity = |o: u32| self.distance.similarity(query, &self.rows[o as usize * DIM..][..DIM]);
            let least = exact.worst() - exact.worst().abs() * 1e-6;
            let mut best: Vec<f32> = ctx.found.iter().take(2 * K).map(|&(_, o)| similarity(o)).collect();
            best.sort_unstable_by(|a, b| b.total_cmp(a));
            hits += best.iter().take(K).filter(|&&s| s >= least).count();
        }
        hits as f64 / (100 * K) as f64
    }

    fn check(&self, what: &str) {
        let words = |share: u64| {
            let mut random = Random(3);
            let mut words = vec![0u64; (self.len() as usize).div_ceil(64)];
            (0..self.len())
                .filter(|_| random.below(100) < share)
                .for_each(|o| words[o as usize / 64] |= 1 << (o % 64));
            words
        };
        let mut deleted = Deleted::none(self.len());
        (0..self.len()).step_by(3).for_each(|o| {
            deleted.insert(o);
        });
        let (half, tenth) = (words(50), words(10));
        let cases = [
            ("all", Mode::Plain, Allow::All),
            ("live", Mode::Through, Allow::Live(&deleted)),
            ("half", Mode::Through, Allow::Bits(&half)),
            ("tenth", Mode::TwoHops, Allow::Bits(&tenth)),
        ];
        for (name, mode, allow) in cases {
            let recall = self.recall(mode, allow, 100);
            let codes = self.codes.is_some();
            assert!(recall >= 0.98, "{what} {:?} codes {codes} {name}: recall {recall}", self.distance);
        }
        self.check_links();
    }

    /// Every point can be reached on level 0, no row has a point twice or itself.
    fn check_links(&self) {
        let mut reached = vec![false; self.len() as usize];
        let mut stack = vec![self.graph.shape.entry];
        reached[self.graph.shape.entry as usize] = true;
        while let Some(point) = stack.pop() {
            let row = self.graph.row(point);
            let mut links = row.to_vec();
            links.sort_unstable();
            links.dedup();
            assert!(links.len() == row.len() && !links.contains(&point), "row of {point}: {row:?}");
            for link in links {
                if !std::mem::replace(&mut reached[link as usize], true) {
                    stack.push(link);
                }
            }
        }
        assert!(reached.iter().all(|&r| r), "{:?}: every point is reached", self.distance);
    }
}

const EACH: [(Distance, bool); 8] = [
    (Distance::Cosine, true),
    (Distance::Dot, true),
    (Distance::Euclid, true),
    (Distance::Cosine, false),
    (Distance::CosineAsSent, false),
    (Distance::Dot, false),
    (Distance::Euclid, false),
    (Distance::Manhattan, false),
];

#[test]
fn walks_find_the_nearest_for_every_metric() {
    for (distance, by_codes) in EACH {
        Case::new(distance, clustered(distance, DIM, 3000, 1), by_codes, None).check("built");
    }
}

#[test]
fn threads_that_build_together_leave_every_point_reachable() {
    for (distance, by_codes) in EACH {
        let alone = Case::new(distance, clustered(distance, DIM, 3000, 1), by_codes, None);
        let graph = {
            let one = recipe(material(&alone.rows, &alone.codes, distance), alone.len() as usize);
            build(&Recipe { threads: 2, ..one }, |_| true, None, &pool(), &Cancel::new()).expect("a graph")
        };
        let together = Case { graph, ..alone };
        together.check_links();
        let recall = together.recall(Mode::Plain, Allow::All, 100);
        // Which point comes first is another one each time, and so is the graph.
        assert!(recall >= 0.96, "{distance:?} codes {by_codes}: recall {recall}");
    }
}

#[test]
fn whole_rows_leave_fewer_places_empty() {
    for (distance, by_codes) in EACH {
        let links = |whole_rows| {
            let case = Case::built(distance, clustered(distance, DIM, 3000, 1), (by_codes, whole_rows), None);
            case.check("rows");
            (0..case.len()).map(|point| case.graph.row(point).len()).sum::<usize>()
        };
        let (chosen, filled) = (links(false), links(true));
        assert!(
            filled > chosen + chosen / 10,
            "{distance:?}: {filled} links of whole rows, {chosen} of others"
        );
    }
}

#[test]
fn a_grown_graph_is_as_good_as_a_new_one() {
    for (distance, by_codes) in EACH {
        let first = Case::new(distance, clustered(distance, DIM, 2000, 1), by_codes, None);
        // Every seventh point is dropped, the others move up, and 1,000 are new.
        let mut new_offsets = Vec::new();
        let mut rows = Vec::new();
        for offset in 0..first.len() {
            if offset % 7 == 3 {
                new_offsets.push(NO_LINK);
            } else {
                new_offsets.push((rows.len() / DIM) as u32);
                rows.extend_from_slice(&first.rows[offset as usize * DIM..][..DIM]);
            }
        }
        rows.extend(clustered(distance, DIM, 1000, 2));
        let old = Old { graph: &first.graph, new_offsets: &new_offsets };
        Case::new(distance, rows, by_codes, Some(old)).check("grown");
    }
}

#[test]
fn duplicates_neither_hide_each_other_nor_the_rest() {
    for (distance, by_codes) in EACH {
        let mut rows = clustered(distance, DIM, 1500, 1);
        let mut random = Random(5);
        for copies in [400usize, 300, 200, 100] {
            let from = random.below(1500) as usize * DIM;
            for _ in 0..copies {
                rows.extend_from_within(from..from + DIM);
            }
        }
        Case::new(distance, rows, by_codes, None).check("duplicates");
    }
}

#[test]
fn equal_points_alone_make_a_graph() {
    let rows = clustered(Distance::Euclid, DIM, 1, 1).repeat(2000);
    let case = Case::new(Distance::Euclid, rows, true, None);
    case.check_links();
    assert_eq!(case.recall(Mode::Plain, Allow::All, 50), 1.0);
}

#[test]
fn few_points_make_a_graph() {
    for len in [1, 2, 3, 17] {
        let case = Case::new(Distance::Dot, clustered(Distance::Dot, DIM, len, 1), true, None);
        case.check_links();
        let mut ctx = SearchContext::default();
        let this = Walk {
            graph: &case.graph,
            mode: Mode::Plain,
            allow: Allow::All,
            ef: 20,
            beam: 20,
            budget: usize::MAX,
        };
        let query = &case.rows[..DIM];
        walk(&this, &Space::Raw { rows: &case.rows, distance: Distance::Dot, query }, &mut ctx);
        assert_eq!(ctx.found.len(), len);
    }
}
