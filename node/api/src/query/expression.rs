//! Formulas that prefetched points are scored by.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::filter::Filter;

/// Expressions in expressions that are followed; deeper ones are refused.
pub const DEPTH_MAX: usize = 48;
/// Expressions of one formula.
pub const PARTS_MAX: usize = 4096;

/// What `formula` holds.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct FormulaQuery {
    pub formula: Expression,
    /// Values of variables that a point lacks.
    #[serde(default, deserialize_with = "object_or_null")]
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    pub defaults: BTreeMap<String, Value>,
}

fn object_or_null<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, Value>, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// A place on earth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeoPoint {
    pub lon: f64,
    pub lat: f64,
}

/// How fast a decay falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecayKind {
    Linear,
    Exponential,
    Gauss,
}

/// One expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Constant(f64),
    /// A payload key, or `$score` with an index.
    Variable(String),
    /// 1 if the point passes, else 0.
    Condition(Box<Filter>),
    /// Metres from a place to the one at a payload key.
    GeoDistance {
        origin: GeoPoint,
        to: String,
    },
    /// Seconds since the epoch.
    Datetime(String),
    DatetimeKey(String),
    Mult(Vec<Expression>),
    Sum(Vec<Expression>),
    Neg(Box<Expression>),
    Abs(Box<Expression>),
    Div {
        left: Box<Expression>,
        right: Box<Expression>,
        by_zero_default: Option<f64>,
    },
    Sqrt(Box<Expression>),
    Pow {
        base: Box<Expression>,
        exponent: Box<Expression>,
    },
    Exp(Box<Expression>),
    Log10(Box<Expression>),
    Ln(Box<Expression>),
    Decay {
        kind: DecayKind,
        x: Box<Expression>,
        target: Option<Box<Expression>>,
        scale: Option<f64>,
        midpoint: Option<f64>,
    },
}

const NO_EXPRESSION: &str = "data did not match any variant of untagged enum ExpressionInterface";

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut parts = 0;
        Parser { parts: &mut parts, depth: 0 }.expression(Value::deserialize(d)?).map_err(de::Error::custom)
    }
}

type Parsed<T> = Result<T, String>;

fn part<T: de::DeserializeOwned>(value: Value) -> Parsed<T> {
    serde_json::from_value(value).map_err(|_| NO_EXPRESSION.to_owned())
}

/// Counts how much and how deep it reads.
struct Parser<'a> {
    parts: &'a mut usize,
    depth: usize,
}

impl Parser<'_> {
    fn expression(&mut self, value: Value) -> Parsed<Expression> {
        *self.parts += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("expressions are nested more than {DEPTH_MAX} deep"));
        }
        if *self.parts > PARTS_MAX {
            return Err(format!("a formula has more than {PARTS_MAX} expressions"));
        }
        match value {
            Value::Number(n) => n.as_f64().map(Expression::Constant).ok_or_else(|| NO_EXPRESSION.into()),
            Value::String(text) => Ok(Expression::Variable(text)),
            Value::Object(object) => Parser { parts: self.parts, depth: self.depth + 1 }.object(object),
            _ => Err(NO_EXPRESSION.into()),
        }
    }

    fn object(&mut self, mut object: Map<String, Value>) -> Parsed<Expression> {
        if object.len() != 1 {
            return condition(object);
        }
        let key = object.keys().next().cloned().unwrap_or_default();
        let value = object.remove(&key).unwrap_or_default();
        Ok(match key.as_str() {
            "mult" => Expression::Mult(self.list(value)?),
            "sum" => Expression::Sum(self.list(value)?),
            "neg" => Expression::Neg(self.boxed(value)?),
            "abs" => Expression::Abs(self.boxed(value)?),
            "sqrt" => Expression::Sqrt(self.boxed(value)?),
            "exp" => Expression::Exp(self.boxed(value)?),
            "log10" => Expression::Log10(self.boxed(value)?),
            "ln" => Expression::Ln(self.boxed(value)?),
            "datetime" => Expression::Datetime(part(value)?),
            "datetime_key" => Expression::DatetimeKey(part(value)?),
            "geo_distance" => geo_distance(value)?,
            "div" => {
                let mut params: Map<String, Value> = part(value)?;
                Expression::Div {
                    left: self.field(&mut params, "left")?,
                    right: self.field(&mut params, "right")?,
                    by_zero_default: params.remove("by_zero_default").map_or(Ok(None), part)?,
                }
            }
            "pow" => {
                let mut params: Map<String, Value> = part(value)?;
                Expression::Pow {
                    base: self.field(&mut params, "base")?,
                    exponent: self.field(&mut params, "exponent")?,
                }
            }
            "lin_decay" => self.decay(DecayKind::Linear, value)?,
            "exp_decay" => self.decay(DecayKind::Exponential, value)?,
            "gauss_decay" => self.decay(DecayKind::Gauss, value)?,
            _ => {
                object.insert(key, value);
                return condition(object);
            }
        })
    }

    fn boxed(&mut self, value: Value) -> Parsed<Box<Expression>> {
        self.expression(value).map(Box::new)
    }

    fn list(&mut self, value: Value) -> Parsed<Vec<Expression>> {
        let all: Vec<Value> = part(value)?;
        all.into_iter().map(|value| self.expression(value)).collect()
    }

    fn field(&mut self, params: &mut Map<String, Value>, name: &str) -> Parsed<Box<Expression>> {
        let value = params.remove(name).ok_or_else(|| NO_EXPRESSION.to_owned())?;
        self.boxed(value)
    }

    fn decay(&mut self, kind: DecayKind, value: Value) -> Parsed<Expression> {
        let mut params: Map<String, Value> = part(value)?;
        let target = params.remove("target").filter(|target| !target.is_null());
        Ok(Expression::Decay {
            kind,
            x: self.field(&mut params, "x")?,
            target: target.map(|target| self.boxed(target)).transpose()?,
            scale: params.remove("scale").map_or(Ok(None), part)?,
            midpoint: params.remove("midpoint").map_or(Ok(None), part)?,
        })
    }
}

fn geo_distance(value: Value) -> Parsed<Expression> {
    #[derive(Deserialize)]
    struct Params {
        origin: GeoPoint,
        to: String,
    }
    let Params { origin, to } = part(value)?;
    Ok(Expression::GeoDistance { origin, to })
}

/// Any condition of a filter; one that is none has the expression's error, because nothing says what was meant.
fn condition(object: Map<String, Value>) -> Parsed<Expression> {
    let filter = serde_json::from_value::<Filter>(json!({ "must": [object] }));
    filter.map(|filter| Expression::Condition(Box::new(filter))).map_err(|_| NO_EXPRESSION.into())
}
