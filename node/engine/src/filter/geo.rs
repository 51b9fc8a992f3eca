//! Places on the earth: areas that a filter names, and what lies in them.

use serde_json::Value;

/// The mean radius of the earth in metres (IUGG).
const EARTH_RADIUS: f64 = 6_371_008.8;

/// Degrees by which a bounding rectangle is wider than computed, so that rounding never leaves out a place.
const MARGIN: f64 = 1e-5;

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoPoint {
    /// From -90 to 90.
    pub lat: f64,
    /// From -180 to 180.
    pub lon: f64,
}

impl GeoPoint {
    /// None unless both are within their bounds.
    pub fn new(lat: f64, lon: f64) -> Option<Self> {
        ((-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon)).then_some(Self { lat, lon })
    }

    /// What a stored value says, if it is a place.
    pub fn of(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        Self::new(object.get("lat")?.as_f64()?, object.get("lon")?.as_f64()?)
    }

    /// The way over the earth in metres (haversine).
    pub fn distance(self, other: GeoPoint) -> f64 {
        let (lat, other_lat) = (self.lat.to_radians(), other.lat.to_radians());
        let lat_half = ((other_lat - lat) / 2.0).sin();
        let lon_half = ((other.lon - self.lon).to_radians() / 2.0).sin();
        let a = lat_half * lat_half + lat.cos() * other_lat.cos() * lon_half * lon_half;
        2.0 * EARTH_RADIUS * a.sqrt().min(1.0).asin()
    }
}

/// An area; what lies on its edge is outside.
#[derive(Clone, Debug, PartialEq)]
pub enum GeoArea {
    /// Goes over the antimeridian if its left edge is east of its right one.
    Box { top_left: GeoPoint, bottom_right: GeoPoint },
    /// Everything nearer than so many metres.
    Radius { center: GeoPoint, metres: f64 },
    /// Closed rings, taken as plane.
    Polygon { exterior: Vec<GeoPoint>, interiors: Vec<Vec<GeoPoint>> },
}

/// A rectangle that never goes over the antimeridian; its edges belong to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GeoRect {
    pub(crate) south: f64,
    pub(crate) north: f64,
    pub(crate) west: f64,
    pub(crate) east: f64,
}

impl GeoRect {
    fn new(south: f64, north: f64, west: f64, east: f64) -> Option<Self> {
        let rect = Self {
            south: (south - MARGIN).max(-90.0),
            north: (north + MARGIN).min(90.0),
            west: (west - MARGIN).max(-180.0),
            east: (east + MARGIN).min(180.0),
        };
        (rect.south <= rect.north && rect.west <= rect.east).then_some(rect)
    }
}

impl GeoArea {
    /// Whether a place lies inside.
    pub fn contains(&self, p: GeoPoint) -> bool {
        match self {
            GeoArea::Box { top_left, bottom_right } => {
                let lon = if top_left.lon > bottom_right.lon {
                    p.lon > top_left.lon || p.lon < bottom_right.lon
                } else {
                    top_left.lon < p.lon && p.lon < bottom_right.lon
                };
                lon && bottom_right.lat < p.lat && p.lat < top_left.lat
            }
            GeoArea::Radius { center, metres } => center.distance(p) < *metres,
            GeoArea::Polygon { exterior, interiors } => {
                side(exterior, p) == Side::Inside
                    && interiors.iter().all(|ring| side(ring, p) == Side::Outside)
            }
        }
    }

    /// Rectangles that hold everything inside.
    pub(crate) fn bounds(&self) -> Vec<GeoRect> {
        match self {
            GeoArea::Box { top_left, bottom_right } => {
                let (south, north) = (bottom_right.lat, top_left.lat);
                if south > north {
                    return Vec::new();
                }
                across(south, north, top_left.lon, bottom_right.lon)
            }
            GeoArea::Radius { center, metres } => around(*center, *metres),
            GeoArea::Polygon { exterior, .. } => {
                let lats = || exterior.iter().map(|p| p.lat);
                let lons = || exterior.iter().map(|p| p.lon);
                let (south, north) = (lats().fold(f64::MAX, f64::min), lats().fold(f64::MIN, f64::max));
                let (west, east) = (lons().fold(f64::MAX, f64::min), lons().fold(f64::MIN, f64::max));
                GeoRect::new(south, north, west, east).into_iter().collect()
            }
        }
    }

    /// Memory it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        let points = match self {
            GeoArea::Polygon { exterior, interiors } => {
                exterior.len() + interiors.iter().map(Vec::len).sum::<usize>()
            }
            GeoArea::Box { .. } | GeoArea::Radius { .. } => 0,
        };
        size_of::<Self>() + points * size_of::<GeoPoint>()
    }
}

/// The rectangle from `west` eastwards to `east`, in two parts if the antimeridian lies between.
fn across(south: f64, north: f64, west: f64, east: f64) -> Vec<GeoRect> {
    let parts = if west > east {
        [GeoRect::new(south, north, west, 180.0), GeoRect::new(south, north, -180.0, east)]
    } else {
        [GeoRect::new(south, north, west, east), None]
    };
    parts.into_iter().flatten().collect()
}

/// What bounds a circle on the globe.
fn around(center: GeoPoint, metres: f64) -> Vec<GeoRect> {
    let angle = metres / EARTH_RADIUS;
    if angle.is_nan() || angle <= 0.0 {
        return Vec::new();
    }
    let (south, north) = (center.lat - angle.to_degrees(), center.lat + angle.to_degrees());
    // A circle that holds a pole has places of every longitude.
    let reach = angle.sin() / center.lat.to_radians().cos();
    if south - MARGIN <= -90.0 || north + MARGIN >= 90.0 || !(0.0..1.0).contains(&reach) {
        return across(south, north, -180.0, 180.0);
    }
    let width = reach.asin().to_degrees() + MARGIN;
    let (west, east) = (center.lon - width, center.lon + width);
    if width >= 180.0 {
        across(south, north, -180.0, 180.0)
    } else if west < -180.0 {
        across(south, north, west + 360.0, east)
    } else if east > 180.0 {
        across(south, north, west, east - 360.0)
    } else {
        across(south, north, west, east)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Inside,
    Edge,
    Outside,
}

/// Where a place lies of a closed ring: a ray from an inner one crosses the ring an odd number of times.
fn side(ring: &[GeoPoint], p: GeoPoint) -> Side {
    let mut inside = false;
    for pair in ring.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let turn = (b.lon - a.lon) * (p.lat - a.lat) - (b.lat - a.lat) * (p.lon - a.lon);
        let within = |v: f64, s: f64, t: f64| s.min(t) <= v && v <= s.max(t);
        if turn == 0.0 && within(p.lat, a.lat, b.lat) && within(p.lon, a.lon, b.lon) {
            return Side::Edge;
        }
        // The turn says on which side of the edge the place lies, seen along the edge.
        if (a.lat > p.lat) != (b.lat > p.lat) && (turn > 0.0) == (b.lat > a.lat) {
            inside = !inside;
        }
    }
    if inside { Side::Inside } else { Side::Outside }
}
