//! Places and areas as they stand in JSON. What is out of its bounds does not parse.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Degrees")]
pub struct GeoPoint {
    pub lon: f64,
    pub lat: f64,
}

#[derive(Deserialize, JsonSchema)]
struct Degrees {
    lon: f64,
    lat: f64,
}

impl TryFrom<Degrees> for GeoPoint {
    type Error = String;

    fn try_from(d: Degrees) -> Result<Self, String> {
        if (-90.0..=90.0).contains(&d.lat) && (-180.0..=180.0).contains(&d.lon) {
            return Ok(Self { lon: d.lon, lat: d.lat });
        }
        Err(format!(
            "Wrong format of GeoPoint payload: expected `lat` = {} within [-90;90] and `lon` = {} within [-180;180]",
            d.lat, d.lon
        ))
    }
}

/// A rectangle; over the antimeridian if its left edge is east of its right one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeoBoundingBox {
    pub top_left: GeoPoint,
    pub bottom_right: GeoPoint,
}

/// What is nearer than `radius` metres.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeoRadius {
    pub center: GeoPoint,
    pub radius: f64,
}

/// A closed line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeoLineString {
    pub points: Vec<GeoPoint>,
}

/// What lies inside a line and outside of others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Lines")]
pub struct GeoPolygon {
    pub exterior: GeoLineString,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interiors: Option<Vec<GeoLineString>>,
}

#[derive(Deserialize, JsonSchema)]
struct Lines {
    exterior: GeoLineString,
    interiors: Option<Vec<GeoLineString>>,
}

impl GeoPolygon {
    /// Number of points of all lines.
    pub fn points(&self) -> usize {
        let interiors = self.interiors.iter().flatten();
        self.exterior.points.len() + interiors.map(|line| line.points.len()).sum::<usize>()
    }
}

impl TryFrom<Lines> for GeoPolygon {
    type Error = String;

    fn try_from(lines: Lines) -> Result<Self, String> {
        for line in std::iter::once(&lines.exterior).chain(lines.interiors.iter().flatten()) {
            let points = &line.points;
            if points.len() < 4 {
                return Err(format!(
                    "Validation failed: polygon invalid, the size must be at least 4, got {}",
                    points.len()
                ));
            }
            if points.first() != points.last() {
                return Err(
                    "Validation failed: polygon invalid, the first and the last points should be the same \
                            to form a closed line"
                        .into(),
                );
            }
        }
        Ok(Self { exterior: lines.exterior, interiors: lines.interiors })
    }
}
