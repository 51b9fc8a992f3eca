//! Which right each route of the public port needs.
//!
//! The paths are those that the router is given; what a parameter is called makes no difference. A route without an
//! entry is closed to everybody but the full key, and a test names it.

use axum::http::Method;

use super::access::Right;

/// Every route of the protocol, and those of our own. A route may stand here before it is served.
pub const ROUTES: &[(&str, &str, Right)] = &[
    ("GET", "/", Right::Free),
    ("GET", "/healthz", Right::Free),
    ("GET", "/livez", Right::Free),
    ("GET", "/readyz", Right::Free),
    ("GET", "/dashboard", Right::Free),
    ("GET", "/dashboard/{*file}", Right::Free),
    ("GET", "/openapi.json", Right::Listed),
    ("GET", "/telemetry", Right::Listed),
    ("GET", "/metrics", Right::GlobalRead),
    ("GET", "/issues", Right::Listed),
    ("DELETE", "/issues", Right::GlobalManage),
    ("GET", "/logger", Right::GlobalRead),
    ("POST", "/logger", Right::GlobalManage),
    ("GET", "/quotas", Right::GlobalRead),
    ("PUT", "/quotas", Right::GlobalManage),
    ("GET", "/cluster", Right::GlobalRead),
    ("GET", "/cluster/telemetry", Right::Listed),
    ("POST", "/cluster/recover", Right::GlobalManage),
    ("DELETE", "/cluster/peer/{peer}", Right::GlobalManage),
    ("GET", "/aliases", Right::Listed),
    ("POST", "/collections/aliases", Right::GlobalManage),
    ("GET", "/collections", Right::Listed),
    ("GET", "/collections/{name}", Right::Read),
    ("PUT", "/collections/{name}", Right::GlobalManage),
    ("PATCH", "/collections/{name}", Right::GlobalManage),
    ("DELETE", "/collections/{name}", Right::GlobalManage),
    ("GET", "/collections/{name}/exists", Right::Read),
    ("GET", "/collections/{name}/aliases", Right::Read),
    ("GET", "/collections/{name}/cluster", Right::ReadExtras),
    ("POST", "/collections/{name}/cluster", Right::Manage),
    ("GET", "/collections/{name}/optimizations", Right::Read),
    ("GET", "/collections/{name}/memory", Right::Read),
    ("GET", "/collections/{name}/shards", Right::Read),
    ("PUT", "/collections/{name}/shards", Right::Manage),
    ("POST", "/collections/{name}/shards/delete", Right::Manage),
    ("PUT", "/collections/{name}/index", Right::Write),
    ("DELETE", "/collections/{name}/index/{field}", Right::Write),
    ("PUT", "/collections/{name}/vectors/{vector}", Right::Write),
    ("DELETE", "/collections/{name}/vectors/{vector}", Right::Write),
    ("GET", "/collections/{name}/points/{id}", Right::Read),
    ("POST", "/collections/{name}/points", Right::Read),
    ("PUT", "/collections/{name}/points", Right::WritePoints),
    ("POST", "/collections/{name}/points/delete", Right::WritePoints),
    ("POST", "/collections/{name}/points/batch", Right::WritePoints),
    ("PUT", "/collections/{name}/points/vectors", Right::WritePoints),
    ("POST", "/collections/{name}/points/vectors/delete", Right::WritePoints),
    ("POST", "/collections/{name}/points/payload", Right::WritePoints),
    ("PUT", "/collections/{name}/points/payload", Right::WritePoints),
    ("POST", "/collections/{name}/points/payload/delete", Right::WritePoints),
    ("POST", "/collections/{name}/points/payload/clear", Right::WritePoints),
    ("POST", "/collections/{name}/points/scroll", Right::Read),
    ("POST", "/collections/{name}/points/count", Right::Read),
    ("POST", "/collections/{name}/facet", Right::Read),
    ("POST", "/collections/{name}/points/query", Right::Read),
    ("POST", "/collections/{name}/points/query/batch", Right::Read),
    ("POST", "/collections/{name}/points/query/groups", Right::Read),
    ("POST", "/collections/{name}/points/search", Right::Read),
    ("POST", "/collections/{name}/points/search/batch", Right::Read),
    ("POST", "/collections/{name}/points/search/groups", Right::Read),
    ("POST", "/collections/{name}/points/search/matrix/pairs", Right::Read),
    ("POST", "/collections/{name}/points/search/matrix/offsets", Right::Read),
    ("POST", "/collections/{name}/points/recommend", Right::Read),
    ("POST", "/collections/{name}/points/recommend/batch", Right::Read),
    ("POST", "/collections/{name}/points/recommend/groups", Right::Read),
    ("POST", "/collections/{name}/points/discover", Right::Read),
    ("POST", "/collections/{name}/points/discover/batch", Right::Read),
    ("GET", "/collections/{name}/snapshots", Right::ReadExtras),
    ("POST", "/collections/{name}/snapshots", Right::Write),
    ("POST", "/collections/{name}/snapshots/upload", Right::GlobalManage),
    ("PUT", "/collections/{name}/snapshots/recover", Right::GlobalManage),
    ("GET", "/collections/{name}/snapshots/{snapshot}", Right::ReadExtras),
    ("DELETE", "/collections/{name}/snapshots/{snapshot}", Right::Write),
    ("GET", "/collections/{name}/shards/{shard}/snapshot", Right::Write),
    ("POST", "/collections/{name}/shards/{shard}/snapshot/partial/create", Right::Write),
    ("GET", "/collections/{name}/shards/{shard}/snapshot/partial/manifest", Right::ReadExtras),
    ("POST", "/collections/{name}/shards/{shard}/snapshot/partial/recover", Right::GlobalManage),
    ("POST", "/collections/{name}/shards/{shard}/snapshot/partial/recover_from", Right::GlobalManage),
    ("GET", "/collections/{name}/shards/{shard}/snapshots", Right::ReadExtras),
    ("POST", "/collections/{name}/shards/{shard}/snapshots", Right::Write),
    ("POST", "/collections/{name}/shards/{shard}/snapshots/upload", Right::GlobalManage),
    ("PUT", "/collections/{name}/shards/{shard}/snapshots/recover", Right::GlobalManage),
    ("GET", "/collections/{name}/shards/{shard}/snapshots/{snapshot}", Right::ReadExtras),
    ("DELETE", "/collections/{name}/shards/{shard}/snapshots/{snapshot}", Right::Write),
    ("GET", "/snapshots", Right::GlobalRead),
    ("POST", "/snapshots", Right::GlobalManage),
    ("GET", "/snapshots/{snapshot}", Right::GlobalRead),
    ("DELETE", "/snapshots/{snapshot}", Right::GlobalManage),
];

/// The right that a matched route needs. HEAD is GET without a body.
pub fn right_of(method: &Method, matched: &str) -> Right {
    entry(method, matched).unwrap_or(Right::GlobalManage)
}

/// The route's entry, if it has one.
pub fn entry(method: &Method, matched: &str) -> Option<Right> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let found = ROUTES.iter().find(|(m, path, _)| *m == method && same_route(path, matched));
    found.map(|(_, _, right)| *right)
}

/// Whether two paths differ in no more than the names of their parameters.
fn same_route(a: &str, b: &str) -> bool {
    let parameter = |segment: &str| segment.starts_with('{');
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(x), Some(y)) if x == y || parameter(x) && parameter(y) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_without_an_entry_is_closed_and_names_of_parameters_do_not_matter() {
        assert_eq!(right_of(&Method::GET, "/nothing"), Right::GlobalManage);
        assert_eq!(right_of(&Method::POST, "/collections"), Right::GlobalManage);
        assert_eq!(right_of(&Method::HEAD, "/collections/{collection_name}"), Right::Read);
        assert_eq!(right_of(&Method::GET, "/collections/{a}/points/{b}"), Right::Read);
        assert_eq!(right_of(&Method::GET, "/collections/{a}/points"), Right::GlobalManage);
    }
}
