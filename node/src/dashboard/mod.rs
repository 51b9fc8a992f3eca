//! The dashboard: files that are part of the program, and the headers they are served with. Everything it shows it asks for
//! over the public API, with the key that its user gives it.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// What a page may do: load its own files, and call its own node. Nothing inline, nothing from elsewhere, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Name below `/dashboard/`, type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("", HTML, include_str!("index.html")),
    ("style.css", STYLE, include_str!("style.css")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("app.js", SCRIPT, include_str!("app.js")),
    ("api.js", SCRIPT, include_str!("api.js")),
    ("dom.js", SCRIPT, include_str!("dom.js")),
    ("pca.js", SCRIPT, include_str!("pca.js")),
    ("collections.js", SCRIPT, include_str!("collections.js")),
    ("points.js", SCRIPT, include_str!("points.js")),
    ("console.js", SCRIPT, include_str!("console.js")),
    ("indexing.js", SCRIPT, include_str!("indexing.js")),
    ("map.js", SCRIPT, include_str!("map.js")),
    ("snapshots.js", SCRIPT, include_str!("snapshots.js")),
    ("advice.js", SCRIPT, include_str!("advice.js")),
    ("vendor/uplot/uPlot.iife.min.js", SCRIPT, include_str!("vendor/uplot/uPlot.iife.min.js")),
    ("vendor/uplot/uPlot.min.css", STYLE, include_str!("vendor/uplot/uPlot.min.css")),
    ("vendor/uplot/LICENSE", "text/plain; charset=utf-8", include_str!("vendor/uplot/LICENSE")),
];

/// A tag for each file, in their order. Weak: the same file may be sent compressed.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |content: &str| {
        let digest = Sha256::digest(content);
        let hex: String = digest.iter().take(12).map(|b| format!("{b:02x}")).collect();
        format!("W/\"{hex}\"")
    };
    FILES.iter().map(|(_, _, content)| tag(content)).collect()
});

/// `/dashboard`.
pub async fn index(headers: HeaderMap) -> Response {
    answer("", &headers)
}

/// `/dashboard/{*file}`.
pub async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(at) = FILES.iter().position(|(n, _, _)| *n == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (_, kind, content) = FILES[at];
    let tag = TAGS[at].as_str();
    // Asked for again each time, answered without a body while it is the same: a new version is seen at once.
    let always = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|k| k.trim() == tag)) {
        return (StatusCode::NOT_MODIFIED, always).into_response();
    }
    (always, [(header::CONTENT_TYPE, kind)], content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, known: Option<&str>, expected: (u16, Option<&str>)) {
        let mut headers = HeaderMap::new();
        known.map(|k| headers.insert(header::IF_NONE_MATCH, k.parse().expect("a header")));
        let response = answer(name, &headers);
        let kind = response.headers().get(header::CONTENT_TYPE).map(|v| v.to_str().expect("text"));
        assert_eq!((response.status().as_u16(), kind), expected, "{name} {known:?}");
    }

    #[test]
    fn files_have_their_types_and_tags() {
        check("", None, (200, Some(HTML)));
        check("app.js", None, (200, Some(SCRIPT)));
        check("app.js", Some("W/\"other\""), (200, Some(SCRIPT)));
        check("app.js", Some(&format!("\"x\", {}", TAGS[3])), (304, None));
        check("mod.rs", None, (404, None));
        check("../mod.rs", None, (404, None));
    }
}
