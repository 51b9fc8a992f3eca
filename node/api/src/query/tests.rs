//! Queries as they stand in JSON.

use super::kinds::NO_QUERY;
use super::*;
use crate::point::{PointId, Vector};

fn check(json: &str, expected: Result<Query, &str>) {
    match (serde_json::from_str::<Query>(json), expected) {
        (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{json}"),
        (Err(e), Err(text)) => assert!(e.to_string().starts_with(text), "{json}: {e}"),
        (got, _) => panic!("{json}: {got:?}"),
    }
}

#[test]
fn each_kind_of_query_is_told_apart() {
    let dense = || Ok(Query::Vector(Vector::Dense(vec![1.0, 2.0])));
    let id = || Ok(Query::Id(PointId::Num(7)));
    let sparse = || Ok(Query::Vector(Vector::Sparse { indices: vec![1], values: vec![2.0] }));
    check("[1, 2]", dense());
    check(r#"{"nearest":[1,2]}"#, dense());
    check("7", id());
    check(r#"{"nearest":7}"#, id());
    check(r#"{"indices":[1],"values":[2]}"#, sparse());
    check(r#"{"nearest":{"indices":[1],"values":[2]}}"#, sparse());
    check(r#"{"fusion":"rrf"}"#, Ok(Query::Fusion(Fusion::Rrf { k: None, weights: None })));
    check(r#"{"fusion":"dbsf"}"#, Ok(Query::Fusion(Fusion::Dbsf)));
    check(
        r#"{"rrf":{"k":60,"weights":[1,2.5]}}"#,
        Ok(Query::Fusion(Fusion::Rrf { k: Some(60), weights: Some(vec![1.0, 2.5]) })),
    );
    check(r#"{"sample":"random"}"#, Ok(Query::Sample));
    let order = |direction, start_from| OrderBy { key: "a".into(), direction, start_from };
    check(r#"{"order_by":"a"}"#, Ok(Query::OrderBy(order(Direction::Asc, None))));
    check(
        r#"{"order_by":{"key":"a","direction":"desc","start_from":7}}"#,
        Ok(Query::OrderBy(order(Direction::Desc, Some(StartFrom::Integer(7))))),
    );
    let point = |n| Example::Id(PointId::Num(n));
    let pair = ContextPair { positive: point(1), negative: Example::Vector(Vector::Dense(vec![2.0])) };
    for context in [r#"{"positive":1,"negative":[2]}"#, r#"[{"positive":1,"negative":[2]}]"#] {
        check(&format!("{{\"context\":{context}}}"), Ok(Query::Context(vec![pair.clone()])));
        let discover = DiscoverInput { target: point(3), context: vec![pair.clone()] };
        check(
            &format!("{{\"discover\":{{\"target\":3,\"context\":{context}}}}}"),
            Ok(Query::Discover(discover)),
        );
    }
    let input = RecommendInput {
        positive: Some(vec![point(1)]),
        negative: None,
        strategy: Some(Strategy::BestScore),
    };
    check(r#"{"recommend":{"positive":[1],"strategy":"best_score"}}"#, Ok(Query::Recommend(input)));
    let mmr = Mmr { diversity: Some(0.5), candidates_limit: None };
    let nearest = Example::Vector(Vector::Dense(vec![1.0]));
    check(r#"{"nearest":[1],"mmr":{"diversity":0.5}}"#, Ok(Query::Diverse(nearest, mmr)));
    check(r#"{"nearest":7,"mmr":null}"#, id());
    for wrong in [r#"{"foo":1}"#, r#"{"nearest":{"nearest":[1]}}"#, "\"abc\"", "true", "-1", "1.5", "[\"a\"]"]
    {
        check(wrong, Err(NO_QUERY));
    }
}

fn check_formula(json: &str, expected: Result<Expression, &str>) {
    match (serde_json::from_str::<Expression>(json), expected) {
        (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{json}"),
        (Err(e), Err(text)) => assert!(e.to_string().starts_with(text), "{json}: {e}"),
        (got, _) => panic!("{json}: {got:?}"),
    }
}

#[test]
fn each_expression_is_told_apart() {
    let score = || Box::new(Expression::Variable("$score".into()));
    check_formula("1.5", Ok(Expression::Constant(1.5)));
    check_formula("\"$score\"", Ok(*score()));
    check_formula(r#"{"neg":"$score"}"#, Ok(Expression::Neg(score())));
    check_formula(r#"{"sum":[1,"$score"]}"#, Ok(Expression::Sum(vec![Expression::Constant(1.0), *score()])));
    check_formula(
        r#"{"div":{"left":"$score","right":"$score","by_zero_default":2}}"#,
        Ok(Expression::Div { left: score(), right: score(), by_zero_default: Some(2.0) }),
    );
    let decay = |target| Expression::Decay {
        kind: DecayKind::Gauss,
        x: score(),
        target,
        scale: Some(2.0),
        midpoint: None,
    };
    check_formula(r#"{"gauss_decay":{"x":"$score","scale":2}}"#, Ok(decay(None)));
    check_formula(r#"{"gauss_decay":{"x":"$score","scale":2,"target":"$score"}}"#, Ok(decay(Some(score()))));
    let filter = serde_json::from_str(r#"{"must":[{"key":"a","match":{"value":1}}]}"#).expect("a filter");
    check_formula(r#"{"key":"a","match":{"value":1}}"#, Ok(Expression::Condition(Box::new(filter))));
    let none = "data did not match any variant of untagged enum ExpressionInterface";
    for wrong in
        ["null", "[1]", r#"{"foo":1}"#, r#"{"sum":1}"#, r#"{"div":{"left":1}}"#, r#"{"sum":[{"x":[]}]}"#]
    {
        check_formula(wrong, Err(none));
    }
    let deep = format!("{}1{}", r#"{"neg":"#.repeat(60), "}".repeat(60));
    check_formula(&deep, Err("expressions are nested more than 48 deep"));
    let long = format!("{{\"sum\":[{}1]}}", "1,".repeat(5000));
    check_formula(&long, Err("a formula has more than 4096 expressions"));
}

#[test]
fn a_prefetch_may_be_one_or_many_and_hold_others() {
    let body = r#"{"prefetch":{"prefetch":[{"query":[1],"limit":0},{"query":7}],"query":{"fusion":"rrf"}},"query":[2]}"#;
    let read: Prefetch = serde_json::from_str(body).expect("a query");
    assert_eq!(read.prefetches().len(), 1);
    assert_eq!(read.prefetches()[0].prefetches().len(), 2);
    let mut invalid = Invalid::new();
    read.validate("internal.", &mut invalid);
    let text = "[internal.prefetch[0].prefetch[0].limit: value 0 invalid, must be 1 or larger]";
    assert_eq!(invalid.to_string(), text);
}
