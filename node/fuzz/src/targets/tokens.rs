//! What clients show to be let in. After an `r` the bytes are what is sent; else they are the claims of a token that is signed as it should
//! be. A token allows what its claims say, to whoever has it unchanged, with the keys that signed it, until it ends.

use axum::http::{HeaderMap, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quiver_node::auth::{Access, Bearer, Keys};
use quiver_node::clock;
use quiver_node::config::{Secret, Service};
use serde_json::Value;
use serde_json::value::RawValue;

const KEYS: [&str; 2] = ["first key", "second key"];
/// Longer than tokens are accepted after their end.
const LATE_S: u64 = 60;

fn keys(first: &str, second: Option<&str>) -> Keys {
    let service = Service {
        api_key: Some(Secret::new(first)),
        alt_api_key: second.map(Secret::new),
        jwt_rbac: true,
        ..Service::default()
    };
    Keys::new(&service)
}

/// Whom a token names; none if it is refused.
fn bearer(keys: &Keys, token: &[u8]) -> Option<Bearer> {
    let value = HeaderValue::from_bytes(token).ok()?;
    keys.bearer(&HeaderMap::from_iter([(axum::http::HeaderName::from_static("api-key"), value)])).ok()
}

/// Shows one token.
pub fn run(data: &[u8]) {
    let both = keys(KEYS[0], Some(KEYS[1]));
    let Some((&kind, rest)) = data.split_first() else { return };
    if kind == b'r' {
        let found = bearer(&both, rest).is_some();
        assert!(!found || bearer(&keys("another key", None), rest).is_none());
        return;
    }
    let Ok(claims) = serde_json::from_slice::<&RawValue>(rest) else { return };
    let signer = KEYS[usize::from(kind) % 2];
    let signed = |algorithm| {
        let key = EncodingKey::from_secret(signer.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).expect("JSON can be signed")
    };
    assert!(bearer(&both, signed(Algorithm::HS384).as_bytes()).is_none(), "{claims}");
    let token = signed(Algorithm::HS256);
    let shown = bearer(&both, token.as_bytes());
    assert_eq!(bearer(&keys(signer, None), token.as_bytes()).is_some(), shown.is_some(), "{claims}");
    assert!(bearer(&keys("another key", None), token.as_bytes()).is_none(), "{claims}");
    if let Some(shown) = shown {
        check_claims(&shown, claims.get());
        check_changed(&both, &token, usize::from(kind));
    }
}

fn check_claims(shown: &Bearer, claims: &str) {
    // Claims that nobody reads may hold numbers that no f64 does.
    let Ok(said) = serde_json::from_str::<Value>(claims) else { return };
    let access = said
        .get("access")
        .map(|access| serde_json::from_value::<Access>(access.clone()).expect("it was read"));
    assert_eq!(shown.access, access.unwrap_or(Access::FULL), "{claims}");
    assert_eq!(shown.access.validate(), Ok(()), "{claims}");
    let end = said.get("exp").map(|end| end.as_u64().expect("it is a number"));
    assert!(end.is_none_or(|end| end.saturating_add(LATE_S) > clock::unix().as_secs()), "{claims}");
    let wanted = said["value_exists"].get("matches").map(|all| all.as_array().expect("a list").len());
    let asked = shown.unless_gone.as_ref().map(|w| w.filter.must.as_ref().map_or(0, |must| must.0.len()));
    assert_eq!(asked, wanted, "{claims}");
}

/// With one other character it is refused: of the last one some bits don't count, so that one is left as it is.
fn check_changed(keys: &Keys, token: &str, at: usize) {
    let mut bytes = token.as_bytes().to_vec();
    let at = at * 7 % (bytes.len() - 1);
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    assert!(bearer(keys, &bytes).is_none(), "{token} with another character at {at}");
}
