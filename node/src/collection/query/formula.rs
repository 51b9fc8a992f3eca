//! Formulas: a score made of the scores that prefetches gave and of payload values.

use std::collections::HashMap;

use quiver_api::point::PointId;
use quiver_api::query::{DecayKind, Expression, FormulaQuery, GeoPoint};
use quiver_engine::filter::{self, Condition, Filter, datetime};
use quiver_engine::json_path::JsonPath;
use quiver_engine::payload::PayloadMap;
use serde_json::Value;

use crate::collection::convert;
use crate::error::{ApiError, Result};

/// Mean radius of the earth, in metres.
const EARTH_RADIUS: f64 = 6_371_008.8;
const MICROSECONDS: f64 = 1e6;

/// A formula that was checked.
pub struct Formula {
    expression: Checked,
    defaults: HashMap<Variable, Value>,
}

/// What a name in a formula stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Variable {
    /// The score that the prefetch of this place gave.
    Score(usize),
    /// A payload key.
    Key(String),
}

/// An expression whose names, conditions and numbers were looked at.
enum Checked {
    Constant(f64),
    Score(usize),
    Number(JsonPath),
    Condition(Filter),
    GeoDistance { origin: GeoPoint, to: JsonPath },
    DatetimeKey(JsonPath),
    Mult(Vec<Checked>),
    Sum(Vec<Checked>),
    Neg(Box<Checked>),
    Abs(Box<Checked>),
    Div { left: Box<Checked>, right: Box<Checked>, by_zero_default: Option<f64> },
    Sqrt(Box<Checked>),
    Pow { base: Box<Checked>, exponent: Box<Checked> },
    Exp(Box<Checked>),
    Log10(Box<Checked>),
    Ln(Box<Checked>),
    Decay { kind: DecayKind, x: Box<Checked>, target: Option<Box<Checked>>, scale: f64, midpoint: f64 },
}

/// The point that is scored.
pub struct Subject<'a> {
    pub id: PointId,
    /// Its score in each list that it is in.
    pub scores: &'a [Option<f32>],
    pub payload: &'a PayloadMap,
    /// Names of its vectors.
    pub has_vector: &'a dyn Fn(&str) -> bool,
}

fn variable(text: &str) -> Result<Variable> {
    let Some(rest) = text.strip_prefix("$score") else { return Ok(Variable::Key(text.to_owned())) };
    if rest.is_empty() {
        return Ok(Variable::Score(0));
    }
    let index = rest.strip_prefix('[').and_then(|r| r.strip_suffix(']'));
    let index = index.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let index = index.and_then(|digits| digits.parse().ok());
    index.map(Variable::Score).ok_or_else(|| ApiError::wrong_input(format!("Invalid score pattern: {text}")))
}

impl Formula {
    /// Checks a formula.
    pub fn new(query: FormulaQuery) -> Result<Self> {
        let defaults = query.defaults.into_iter().map(|(name, value)| Ok((variable(&name)?, value)));
        Ok(Self { expression: checked(query.formula)?, defaults: defaults.collect::<Result<_>>()? })
    }

    /// Whether payloads are looked at.
    pub fn reads_payload(&self) -> bool {
        self.expression.any(&|e| {
            matches!(
                e,
                Checked::Number(_)
                    | Checked::Condition(_)
                    | Checked::GeoDistance { .. }
                    | Checked::DatetimeKey(_)
            )
        })
    }

    /// Whether it may depend on which vectors a point has.
    pub fn asks_for_vectors(&self) -> bool {
        self.expression.any(&|e| matches!(e, Checked::Condition(filter) if asks_for_vectors(filter)))
    }

    /// The score of a point.
    pub fn score(&self, subject: &Subject) -> Result<f32> {
        let score = self.evaluate(&self.expression, subject)?;
        let short = score as f32;
        if short.is_finite() { Ok(short) } else { Err(not_finite(format!("{score} as f32 = {short}"))) }
    }

    fn evaluate(&self, e: &Checked, subject: &Subject) -> Result<f64> {
        Ok(match e {
            Checked::Constant(number) => *number,
            Checked::Score(place) => self.score_of(*place, subject)?,
            Checked::Number(key) => {
                let value = self.value(key, "number", subject.payload)?;
                let number = value.as_f64().filter(|_| value.is_number());
                number.ok_or_else(|| wrong_value("number", key, "Value is not a number"))?
            }
            Checked::Condition(filter) => {
                let id = convert::point_id(subject.id);
                f64::from(u8::from(filter::matches(filter, id, subject.has_vector, subject.payload)))
            }
            Checked::GeoDistance { origin, to } => {
                let value = self.value(to, "geo point", subject.payload)?;
                let number = |name: &str| value.get(name).and_then(Value::as_f64);
                let (Some(lon), Some(lat)) = (number("lon"), number("lat")) else {
                    return Err(wrong_value("geo point", to, "Value is not a geo point"));
                };
                distance(*origin, GeoPoint { lon, lat })
            }
            Checked::DatetimeKey(key) => {
                let value = self.value(key, "datetime", subject.payload)?;
                let time = value.as_str().and_then(filter::parse_datetime);
                time.ok_or_else(|| wrong_value("datetime", key, "Value is not a datetime"))? as f64
                    / MICROSECONDS
            }
            Checked::Mult(factors) => {
                let mut product = 1.0;
                for factor in factors {
                    // What is multiplied by zero need not be there.
                    match self.evaluate(factor, subject)? {
                        0.0 => return Ok(0.0),
                        number => product *= number,
                    }
                }
                product
            }
            Checked::Sum(terms) => {
                let mut sum = 0.0;
                for term in terms {
                    sum += self.evaluate(term, subject)?;
                }
                sum
            }
            Checked::Neg(x) => -self.evaluate(x, subject)?,
            Checked::Abs(x) => self.evaluate(x, subject)?.abs(),
            Checked::Div { left, right, by_zero_default } => {
                self.divide((left, right), *by_zero_default, subject)?
            }
            Checked::Decay { .. } => self.decay(e, subject)?,
            _ => self.function(e, subject)?,
        })
    }

    fn divide(
        &self,
        (left, right): (&Checked, &Checked),
        by_zero: Option<f64>,
        subject: &Subject,
    ) -> Result<f64> {
        let left = self.evaluate(left, subject)?;
        if left == 0.0 {
            return Ok(0.0);
        }
        let right = self.evaluate(right, subject)?;
        match by_zero {
            Some(default) if right == 0.0 => Ok(default),
            _ => finite(left / right, |result| format!("{left}/{right} = {result}")),
        }
    }

    fn function(&self, e: &Checked, subject: &Subject) -> Result<f64> {
        match e {
            Checked::Sqrt(x) => {
                let x = self.evaluate(x, subject)?;
                finite(x.sqrt(), |result| format!("√{x} = {result}"))
            }
            Checked::Pow { base, exponent } => {
                let (base, exponent) = (self.evaluate(base, subject)?, self.evaluate(exponent, subject)?);
                finite(base.powf(exponent), |result| format!("{base}^{exponent} = {result}"))
            }
            Checked::Exp(x) => {
                let x = self.evaluate(x, subject)?;
                finite(x.exp(), |result| format!("exp({x}) = {result}"))
            }
            Checked::Log10(x) => {
                let x = self.evaluate(x, subject)?;
                finite(x.log10(), |result| format!("log10({x}) = {result}"))
            }
            Checked::Ln(x) => {
                let x = self.evaluate(x, subject)?;
                finite(x.ln(), |result| format!("ln({x}) = {result}"))
            }
            // The others are told apart by the caller.
            _ => Ok(0.0),
        }
    }

    fn decay(&self, e: &Checked, subject: &Subject) -> Result<f64> {
        let Checked::Decay { kind, x, target, scale, midpoint } = e else { return Ok(0.0) };
        let target = target.as_ref().map_or(Ok(0.0), |target| self.evaluate(target, subject))?;
        let off = (self.evaluate(x, subject)? - target).abs();
        Ok(match kind {
            DecayKind::Linear => (1.0 - off * (1.0 - midpoint) / scale).max(0.0),
            DecayKind::Exponential => (midpoint.ln() / scale * off).exp(),
            DecayKind::Gauss => (midpoint.ln() / (scale * scale) * off * off).exp(),
        })
    }

    fn score_of(&self, place: usize, subject: &Subject) -> Result<f64> {
        if let Some(score) = subject.scores.get(place).copied().flatten() {
            return Ok(f64::from(score));
        }
        let name = Variable::Score(place);
        match self.defaults.get(&name) {
            None => Ok(0.0),
            Some(default) => default.as_f64().ok_or_else(|| {
                ApiError::wrong_input(format!(
                    "Expected number value for $score[{place}] in the formula defaults"
                ))
            }),
        }
    }

    /// The single value at a key, or its default.
    fn value<'a>(&'a self, key: &JsonPath, kind: &str, payload: &'a PayloadMap) -> Result<&'a Value> {
        let several = |key| wrong_value(kind, key, format!("Value is not a {kind}"));
        match key.values(payload)[..] {
            // A field that holds null has no value, as one that is not there.
            [Value::Null] | [] => {}
            [value] => return Ok(value),
            _ => return Err(several(key)),
        }
        match self.defaults.get(&Variable::Key(key.as_str().to_owned())) {
            Some(Value::Array(list)) if list.len() == 1 => Ok(&list[0]),
            Some(Value::Array(list)) if !list.is_empty() => Err(several(key)),
            Some(Value::Array(_)) | None => {
                Err(wrong_value(kind, key, "No value found in a payload nor defaults"))
            }
            Some(value) => Ok(value),
        }
    }
}

impl Checked {
    fn any(&self, holds: &dyn Fn(&Checked) -> bool) -> bool {
        let inner: Vec<&Checked> = match self {
            Checked::Mult(all) | Checked::Sum(all) => all.iter().collect(),
            Checked::Neg(x)
            | Checked::Abs(x)
            | Checked::Sqrt(x)
            | Checked::Exp(x)
            | Checked::Log10(x)
            | Checked::Ln(x) => vec![x],
            Checked::Div { left: a, right: b, .. } | Checked::Pow { base: a, exponent: b } => vec![a, b],
            Checked::Decay { x, target, .. } => std::iter::once(x).chain(target).map(|e| &**e).collect(),
            _ => Vec::new(),
        };
        holds(self) || inner.into_iter().any(|e| e.any(holds))
    }
}

fn asks_for_vectors(filter: &Filter) -> bool {
    let min_should = filter.min_should.iter().flat_map(|m| &m.conditions);
    let mut all = filter.must.iter().chain(&filter.should).chain(&filter.must_not).chain(min_should);
    all.any(|condition| match condition {
        Condition::HasVector(_) => true,
        Condition::Filter(inner) => asks_for_vectors(inner),
        _ => false,
    })
}

fn boxed(e: Expression) -> Result<Box<Checked>> {
    checked(e).map(Box::new)
}

fn checked(e: Expression) -> Result<Checked> {
    let all = |list: Vec<Expression>| list.into_iter().map(checked).collect::<Result<Vec<_>>>();
    Ok(match e {
        Expression::Constant(number) => Checked::Constant(number),
        Expression::Variable(text) => match variable(&text)? {
            Variable::Score(place) => Checked::Score(place),
            Variable::Key(key) => Checked::Number(convert::path(&key)?),
        },
        Expression::Condition(filter) => Checked::Condition(convert::filter(*filter)?),
        Expression::GeoDistance { origin, to } => {
            check_place(origin)?;
            Checked::GeoDistance { origin, to: convert::path(&to)? }
        }
        Expression::Datetime(text) => {
            let time = datetime::parse_bound(&text).map_err(|e| ApiError::format(e.to_string()))?;
            Checked::Constant(time as f64 / MICROSECONDS)
        }
        Expression::DatetimeKey(key) => Checked::DatetimeKey(convert::path(&key)?),
        Expression::Mult(list) => Checked::Mult(all(list)?),
        Expression::Sum(list) => Checked::Sum(all(list)?),
        Expression::Neg(x) => Checked::Neg(boxed(*x)?),
        Expression::Abs(x) => Checked::Abs(boxed(*x)?),
        Expression::Div { left, right, by_zero_default } => {
            Checked::Div { left: boxed(*left)?, right: boxed(*right)?, by_zero_default }
        }
        Expression::Sqrt(x) => Checked::Sqrt(boxed(*x)?),
        Expression::Pow { base, exponent } => {
            Checked::Pow { base: boxed(*base)?, exponent: boxed(*exponent)? }
        }
        Expression::Exp(x) => Checked::Exp(boxed(*x)?),
        Expression::Log10(x) => Checked::Log10(boxed(*x)?),
        Expression::Ln(x) => Checked::Ln(boxed(*x)?),
        Expression::Decay { kind, x, target, scale, midpoint } => {
            let (scale, midpoint) = (scale.unwrap_or(1.0), midpoint.unwrap_or(0.5));
            if !(midpoint > 0.0 && midpoint < 1.0) {
                return Err(ApiError::wrong_input(format!(
                    "Validation failed: Decay midpoint should be between 0.0 and 1.0 (exclusive), got {midpoint}."
                )));
            }
            if scale <= 0.0 {
                return Err(ApiError::wrong_input(format!(
                    "Validation failed: Decay scale should be non-zero positive, got {scale}."
                )));
            }
            Checked::Decay {
                kind,
                x: boxed(*x)?,
                target: target.map(|e| boxed(*e)).transpose()?,
                scale,
                midpoint,
            }
        }
    })
}

fn check_place(place: GeoPoint) -> Result<()> {
    if (-90.0..=90.0).contains(&place.lat) && (-180.0..=180.0).contains(&place.lon) {
        return Ok(());
    }
    Err(ApiError::format(format!(
        "Wrong format of GeoPoint payload: expected `lat` = {} within [-90;90] and `lon` = {} within [-180;180]",
        place.lat, place.lon
    )))
}

/// Along the great circle (haversine), in metres.
fn distance(a: GeoPoint, b: GeoPoint) -> f64 {
    let (from, to) = (a.lat.to_radians(), b.lat.to_radians());
    let half = |x: f64| (x / 2.0).sin().powi(2);
    let h = half(to - from) + from.cos() * to.cos() * half((b.lon - a.lon).to_radians());
    2.0 * EARTH_RADIUS * h.sqrt().min(1.0).asin()
}

fn finite(result: f64, shown: impl FnOnce(f64) -> String) -> Result<f64> {
    if result.is_finite() { Ok(result) } else { Err(not_finite(shown(result))) }
}

fn not_finite(expression: String) -> ApiError {
    ApiError::wrong_input(format!("The expression {expression} produced a non-finite number"))
}

fn wrong_value(kind: &str, key: &JsonPath, why: impl std::fmt::Display) -> ApiError {
    ApiError::wrong_input(format!(
        "Expected {kind} value for {key} in the payload and/or in the formula defaults. Error: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn score(formula: &Value, defaults: &Value) -> Result<f32> {
        let query = json!({"formula": formula, "defaults": defaults});
        let query: FormulaQuery = serde_json::from_value(query).expect("a formula");
        let payload = json!({"n": 3, "list": [4], "many": [1, 2], "text": "x", "zero": 0, "o": {"f": 0.5},
            "when": "1970-01-01T00:01:40Z", "place": {"lon": 13.4, "lat": 52.5}});
        let Value::Object(payload) = payload else { panic!("an object") };
        let payload: PayloadMap = payload.into_iter().collect();
        Formula::new(query)?.score(&Subject {
            id: PointId::Num(7),
            scores: &[Some(2.0), None],
            payload: &payload,
            has_vector: &|name| name == "v",
        })
    }

    fn check(formula: Value, expected: f32) {
        let found = score(&formula, &json!({"missing": 5, "$score[1]": 0.25, "one": [6]})).expect("a score");
        assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{formula}: {found}");
    }

    fn check_error(formula: Value, expected: &str) {
        let error = score(&formula, &json!({})).expect_err("refused");
        assert_eq!((error.code.as_u16(), error.text.as_str()), (400, expected), "{formula}");
    }

    #[test]
    fn every_expression_has_its_value() {
        check(json!(1.5), 1.5);
        check(json!("$score"), 2.0);
        check(json!("$score[0]"), 2.0);
        check(json!("$score[1]"), 0.25);
        check(json!("$score[9]"), 0.0);
        check(json!("n"), 3.0);
        check(json!("o.f"), 0.5);
        check(json!("list"), 4.0);
        check(json!("missing"), 5.0);
        check(json!("one"), 6.0);
        check(json!({"key": "text", "match": {"value": "x"}}), 1.0);
        check(json!({"key": "n", "range": {"gt": 3}}), 0.0);
        check(json!({"has_id": [7]}), 1.0);
        check(json!({"has_vector": "v"}), 1.0);
        check(json!({"mult": [2, "n", "$score"]}), 12.0);
        check(json!({"mult": ["zero", "nowhere"]}), 0.0);
        check(json!({"sum": [2, "n", {"neg": "$score"}]}), 3.0);
        check(json!({"sum": []}), 0.0);
        check(json!({"abs": {"neg": "n"}}), 3.0);
        check(json!({"div": {"left": "n", "right": "$score"}}), 1.5);
        check(json!({"div": {"left": 0, "right": 0}}), 0.0);
        check(json!({"div": {"left": 1, "right": "zero", "by_zero_default": 9}}), 9.0);
        check(json!({"sqrt": "list"}), 2.0);
        check(json!({"pow": {"base": "n", "exponent": 2}}), 9.0);
        check(json!({"exp": 1}), std::f32::consts::E);
        check(json!({"log10": 1000}), 3.0);
        check(json!({"ln": {"exp": 2}}), 2.0);
        check(json!({"datetime": "1970-01-02"}), 86_400.0);
        check(json!({"datetime_key": "when"}), 100.0);
        check(json!({"geo_distance": {"origin": {"lon": 13.4, "lat": 52.5}, "to": "place"}}), 0.0);
        // A degree of latitude.
        check(json!({"geo_distance": {"origin": {"lon": 13.4, "lat": 51.5}, "to": "place"}}), 111_195.08);
    }

    #[test]
    fn decays_are_one_at_the_target_and_the_midpoint_at_the_scale() {
        for kind in ["lin_decay", "exp_decay", "gauss_decay"] {
            check(json!({kind: {"x": 5, "target": 5, "scale": 3, "midpoint": 0.2}}), 1.0);
            for x in [2, 8] {
                check(json!({kind: {"x": x, "target": 5, "scale": 3, "midpoint": 0.2}}), 0.2);
            }
            check(json!({kind: {"x": 1}}), 0.5);
        }
        check(json!({"lin_decay": {"x": 3}}), 0.0);
        check(json!({"exp_decay": {"x": 3}}), 0.125);
        check(json!({"gauss_decay": {"x": 2}}), 0.0625);
    }

    #[test]
    fn what_has_no_value_fails_in_the_protocols_words() {
        let missing =
            "in the payload and/or in the formula defaults. Error: No value found in a payload nor defaults";
        check_error(json!("zzz"), &format!("Wrong input: Expected number value for zzz {missing}"));
        let number = "in the payload and/or in the formula defaults. Error: Value is not a number";
        for key in ["text", "many"] {
            check_error(json!(key), &format!("Wrong input: Expected number value for {key} {number}"));
        }
        let not_finite =
            |text: &str| format!("Wrong input: The expression {text} produced a non-finite number");
        check_error(json!({"div": {"left": 1, "right": 0}}), &not_finite("1/0 = inf"));
        check_error(json!({"sqrt": -1}), &not_finite("√-1 = NaN"));
        check_error(json!({"ln": 0}), &not_finite("ln(0) = -inf"));
        check_error(json!({"log10": -1}), &not_finite("log10(-1) = NaN"));
        check_error(json!({"exp": 1000}), &not_finite("exp(1000) = inf"));
        check_error(json!({"pow": {"base": -1, "exponent": 0.5}}), &not_finite("-1^0.5 = NaN"));
        check_error(json!("$score[x]"), "Wrong input: Invalid score pattern: $score[x]");
        check_error(json!("a b"), "Format error in JSON body: Invalid json path: 'a b'");
        let midpoint = "Decay midpoint should be between 0.0 and 1.0 (exclusive), got 1.";
        check_error(
            json!({"lin_decay": {"x": 1, "midpoint": 1}}),
            &format!("Wrong input: Validation failed: {midpoint}"),
        );
    }
}
