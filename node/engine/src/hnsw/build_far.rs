//! From which distance on a query is far from all points of a graph.

use super::build::Growing;
use super::build_select::Material;
use crate::config::Distance;

/// Points that are asked for their nearest.
const SAMPLE: usize = 512;
/// So few of them say nothing.
const SAMPLE_MIN: usize = 32;
/// A query is far at so many times the squared distance that most points have.
const FAR: f32 = 2.0;

/// A query is far if its similarity with the nearest point of level 1 is less than this: by the median of what the points of that
/// level have with the nearest of their neighbours there. Negative infinity if no query is.
pub(super) fn far(growing: &Growing) -> f32 {
    let material = &growing.recipe.material;
    let distance = match material {
        Material::Codes { codes, .. } => codes.distance(),
        Material::Raw { distance, .. } => *distance,
        // What is compared is a sum over the query's rows.
        Material::Multi(_) => return f32::NEG_INFINITY,
    };
    let upper: Vec<u32> = (0..growing.recipe.len).filter(|&offset| growing.level(offset) > 0).collect();
    let nearest = |&offset: &u32| {
        let similarity = |link| distance.similarity(material.row(offset), material.row(link));
        growing.links_of(offset, 1).map(similarity).max_by(f32::total_cmp)
    };
    let step = (upper.len() / SAMPLE).max(1);
    let mut found: Vec<f32> = upper.iter().step_by(step).filter_map(nearest).collect();
    if found.len() < SAMPLE_MIN {
        return f32::NEG_INFINITY;
    }
    let middle = found.len() / 2;
    let median = *found.select_nth_unstable_by(middle, f32::total_cmp).1;
    match distance {
        Distance::Euclid => FAR * median,
        Distance::Manhattan => FAR.sqrt() * median,
        Distance::Cosine | Distance::CosineAsSent => 1.0 - FAR * (1.0 - median),
        // The nearest by the product may be as far away as they like.
        Distance::Dot => f32::NEG_INFINITY,
    }
}
