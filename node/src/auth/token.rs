//! Tokens: JSON Web Tokens that whoever has a full key signs with it.

use axum::http::StatusCode;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use quiver_api::filter::Filter;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Access;
use crate::config::Secret;

/// Seconds that a token is accepted after its `exp`: clocks differ.
const LEEWAY: u64 = 30;

/// Reads the tokens that one key signs. The algorithm is HS256, whatever a token says of itself.
#[derive(Clone)]
pub struct Reader {
    key: DecodingKey,
    validation: Validation,
}

/// Why a request is not let in: a status, and a text in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: StatusCode,
    pub text: String,
}

impl Refused {
    pub fn unauthorized(text: impl Into<String>) -> Self {
        Self { code: StatusCode::UNAUTHORIZED, text: text.into() }
    }

    pub fn forbidden(text: impl Into<String>) -> Self {
        Self { code: StatusCode::FORBIDDEN, text: text.into() }
    }
}

/// What a token says.
#[derive(Debug, Deserialize)]
pub struct Claims {
    #[serde(default = "full")]
    pub access: Access,
    pub value_exists: Option<ValueExists>,
    /// Checked by the library; its type is checked here.
    #[serde(rename = "exp")]
    _exp: Option<u64>,
    #[serde(rename = "sub")]
    _sub: Option<String>,
    #[serde(rename = "subject")]
    _subject: Option<String>,
}

/// A token without `access` may do what its key may.
fn full() -> Access {
    Access::FULL
}

/// The token counts only while a point of the collection passes the filter.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Exists")]
pub struct ValueExists {
    pub collection: String,
    pub filter: Filter,
}

#[derive(Deserialize)]
struct Exists {
    collection: String,
    matches: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    value: Value,
}

impl TryFrom<Exists> for ValueExists {
    type Error = String;

    fn try_from(claim: Exists) -> Result<Self, String> {
        let condition = |pair: &Pair| {
            crate::collection::convert::path(&pair.key).map_err(|e| e.text)?;
            Ok(json!({"key": pair.key, "match": {"value": pair.value}}))
        };
        let must: Vec<Value> = claim.matches.iter().map(condition).collect::<Result<_, String>>()?;
        let filter = serde_json::from_value(json!({ "must": must })).map_err(|e| e.to_string())?;
        Ok(Self { collection: claim.collection, filter })
    }
}

impl Reader {
    pub fn new(secret: &Secret) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY;
        // No claim has to be there, and a token may name other audiences too.
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self { key: DecodingKey::from_secret(secret.expose().as_bytes()), validation }
    }

    /// `None` for what is no token at all.
    pub fn read(&self, token: &[u8]) -> Option<Result<Claims, Refused>> {
        let claims = match jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation) {
            Ok(token) => token.claims,
            Err(e) => {
                let known = matches!(e.kind(), ErrorKind::ExpiredSignature | ErrorKind::InvalidSignature);
                return known.then(|| Err(Refused::forbidden(e.to_string())));
            }
        };
        Some(claims.access.validate().map(|()| claims).map_err(Refused::unauthorized))
    }
}

/// A token of these claims.
#[cfg(test)]
pub fn signed(algorithm: Algorithm, claims: &Value, secret: &str) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), claims, &key).expect("a token")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// `expected` is the access, or a status and a text; 0 stands for what is no token.
    fn check(token: &str, expected: Result<Access, (u16, &str)>) {
        let found = match Reader::new(&Secret::new("secret")).read(token.as_bytes()) {
            None => Err((0, String::new())),
            Some(Err(e)) => Err((e.code.as_u16(), e.text)),
            Some(Ok(claims)) => Ok(claims.access),
        };
        assert_eq!(found, expected.map_err(|(code, text)| (code, text.to_owned())), "{token}");
    }

    fn check_claims(claims: Value, expected: Result<Access, (u16, &str)>) {
        check(&signed(Algorithm::HS256, &claims, "secret"), expected);
    }

    #[test]
    fn a_token_counts_until_shortly_after_its_end() {
        let now = clock::unix().as_secs();
        check_claims(json!({}), Ok(Access::FULL));
        check_claims(json!({"access": "r"}), Ok(Access::READ_ONLY));
        check_claims(json!({"exp": now + 60, "access": "m", "aud": "others", "more": 1}), Ok(Access::FULL));
        check_claims(json!({"exp": now - 10}), Ok(Access::FULL));
        check_claims(json!({"exp": now - 60}), Err((403, "ExpiredSignature")));
        check_claims(json!({"exp": null}), Err((0, "")));
    }

    #[test]
    fn only_hs256_with_the_own_key_is_a_signature() {
        let claims = json!({"access": "m"});
        check(&signed(Algorithm::HS256, &claims, "other"), Err((403, "InvalidSignature")));
        check(&signed(Algorithm::HS512, &claims, "secret"), Err((0, "")));
        // {"alg":"none","typ":"JWT"} and {"access":"m"}.
        check("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJhY2Nlc3MiOiJtIn0.", Err((0, "")));
        let token = signed(Algorithm::HS256, &claims, "secret");
        let (head, _) = token.rsplit_once('.').expect("three parts");
        check(&format!("{head}."), Err((403, "InvalidSignature")));
        for text in ["", ".", "..", "a.b.c", "secret", head] {
            check(text, Err((0, "")));
        }
    }

    #[test]
    fn claims_that_are_not_understood_are_no_token() {
        for claims in [
            json!({"access": "x"}),
            json!({"access": null}),
            json!({"exp": "soon"}),
            json!({"exp": -1}),
            json!({"sub": 1}),
            json!({"value_exists": {"collection": "c"}}),
            json!({"value_exists": {"collection": "c", "matches": [{"key": "a[", "value": 1}]}}),
            json!({"value_exists": {"collection": "c", "matches": [{"key": "a", "value": [1]}]}}),
        ] {
            check_claims(claims, Err((0, "")));
        }
        let payload = json!({"access": [{"collection": "c", "access": "r", "payload": {"a": 1}}]});
        let text = "access[0].payload: The 'payload' constraint is deprecated and should not be used";
        check_claims(payload, Err((401, text)));
    }
}
