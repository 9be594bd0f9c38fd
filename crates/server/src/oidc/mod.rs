//! Logging in at an OpenID Connect provider: OpenID Connect Core 1.0 with the authorization code flow, Discovery 1.0, and PKCE (RFC 7636).
//! The provider is one that the operator named.

mod jwt;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::accounts::{OidcConfig, canonical};
use crate::clock::now;
use crate::db::Role;
use crate::kept::Kept;
use crate::outbound::{self, OutboundError, Reach};
use crate::secret::{self, NoRandomness};
use jwt::{Expected, Key};

/// How long the provider may take for one answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of the longest answer that is read.
const MAX_ANSWER: usize = 512 << 10;
/// What the provider says of itself is believed for so long.
const BELIEVED: Duration = Duration::from_secs(3_600);
/// Keys are asked for again at most so often, where a signature is by one that is not known.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Why the provider could not log somebody in.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("it answered {status} at {what}")]
    Answer { what: &'static str, status: StatusCode },
    #[error("its answer at {what} is not understood: {source}")]
    NotUnderstood { what: &'static str, source: serde_json::Error },
    #[error("it says “{0}”")]
    Refused(String),
    #[error("{0}")]
    Untrusted(String),
    #[error("the secret of the client cannot be read: {0}")]
    Secret(std::io::Error),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error("an address of it cannot be used: {0}")]
    BadAddress(#[from] axum::http::Error),
}

/// What the provider says of itself (Discovery 1.0, section 3).
#[derive(Clone, Debug, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// RFC 9207.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What is known of the provider, by each server for itself.
#[derive(Default)]
pub struct Provider {
    metadata: Kept<Metadata>,
    keys: Kept<Vec<Key>>,
}

/// A browser on its way to the provider.
pub struct Departure {
    pub address: String,
    pub state: String,
    pub nonce: String,
    pub verifier: String,
}

/// A browser that is back, with what it left with.
pub struct Arrival {
    pub code: String,
    pub error: String,
    pub issuer: String,
    pub nonce: String,
    pub verifier: String,
}

/// Whom the provider logged in.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    pub subject: String,
    /// An address that the provider has seen to be the user's.
    pub email: Option<String>,
    pub name: String,
    pub role: Role,
}

/// The provider's answer to a code (section 3.1.3.3).
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: String,
}

/// JSON Web Keys (RFC 7517, section 5). Those of kinds that are not known here are left out.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Provider {
    /// Where a browser is sent to be logged in.
    pub async fn depart(&self, config: &OidcConfig, back: &str) -> Result<Departure, OidcError> {
        let metadata = self.metadata(config).await?;
        let (state, nonce, verifier) = (secret::token::<32>()?, secret::token::<32>()?, secret::token::<32>()?);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let fields = [
            ("response_type", "code"),
            ("client_id", &config.client_id),
            ("redirect_uri", back),
            ("scope", &config.scope),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let joint = if metadata.authorization_endpoint.contains('?') { '&' } else { '?' };
        Ok(Departure { address: format!("{}{joint}{query}", metadata.authorization_endpoint), state, nonce, verifier })
    }

    /// Whom the provider logged in.
    pub async fn arrive(&self, config: &OidcConfig, back: &str, arrival: &Arrival) -> Result<User, OidcError> {
        let metadata = self.metadata(config).await?;
        let wrong_issuer = arrival.issuer != config.issuer;
        if wrong_issuer && (!arrival.issuer.is_empty() || metadata.authorization_response_iss_parameter_supported) {
            return Err(OidcError::Untrusted("the answer is not from the provider that was asked".into()));
        }
        if !arrival.error.is_empty() {
            return Err(OidcError::Refused(arrival.error.chars().filter(|c| c.is_ascii_graphic()).take(60).collect()));
        }
        let tokens = exchange(config, &metadata, back, arrival).await?;
        let mut claims = self.verify(config, &metadata, &tokens.id_token, &arrival.nonce).await?;
        let subject = jwt::subject(&claims)?;
        // What is not in the ID token is asked for (section 5.3); it has to be about the same user.
        if let (Some(address), None) = (&metadata.userinfo_endpoint, claims.get("email")) {
            let request = Request::get(address).header(header::AUTHORIZATION, format!("Bearer {}", tokens.access_token));
            let more: HashMap<String, Value> = ask(request.body(Body::empty())?, "the user's claims").await?;
            if more.get("sub").and_then(Value::as_str) != Some(&subject) {
                return Err(OidcError::Untrusted("the claims are about another user".into()));
            }
            more.into_iter().for_each(|(name, value)| {
                claims.entry(name).or_insert(value);
            });
        }
        Ok(user(config, subject, &claims))
    }

    async fn verify(&self, config: &OidcConfig, metadata: &Metadata, token: &str, nonce: &str) -> Result<jwt::Claims, OidcError> {
        let expected = Expected { issuer: &config.issuer, client_id: &config.client_id, nonce, now: now() };
        let untrusted = |reason| OidcError::Untrusted(format!("its ID token does not hold: {reason}"));
        let keys = self.keys(metadata, BELIEVED).await?;
        match jwt::verify(token, &keys, &expected) {
            // The provider may have a new key since.
            Err(jwt::JwtError::UnknownKey) => {
                let keys = self.keys(metadata, ASK_AGAIN).await?;
                jwt::verify(token, &keys, &expected).map_err(untrusted)
            }
            done => done.map_err(untrusted),
        }
    }

    async fn metadata(&self, config: &OidcConfig) -> Result<Arc<Metadata>, OidcError> {
        if let Some(known) = self.metadata.newer_than(BELIEVED) {
            return Ok(known);
        }
        let address = format!("{}/.well-known/openid-configuration", config.issuer.trim_end_matches('/'));
        let metadata: Metadata = ask(Request::get(address).body(Body::empty())?, "its configuration").await?;
        if metadata.issuer != config.issuer {
            return Err(OidcError::Untrusted("it calls itself by another name than the operator does".into()));
        }
        Ok(self.metadata.keep(metadata))
    }

    async fn keys(&self, metadata: &Metadata, believed: Duration) -> Result<Arc<Vec<Key>>, OidcError> {
        if let Some(known) = self.keys.newer_than(believed) {
            return Ok(known);
        }
        let set: KeySet = ask(Request::get(&metadata.jwks_uri).body(Body::empty())?, "its keys").await?;
        Ok(self.keys.keep(set.keys.iter().filter_map(Key::of).collect()))
    }
}

/// Gives the code for tokens (section 3.1.3). The client shows its secret as the provider wants it (section 9).
async fn exchange(config: &OidcConfig, metadata: &Metadata, back: &str, arrival: &Arrival) -> Result<Tokens, OidcError> {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", &arrival.code),
        ("redirect_uri", back),
        ("code_verifier", &arrival.verifier),
    ];
    let mut request = Request::post(&metadata.token_endpoint).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let secret = match &config.client_secret_file {
        Some(path) => Some(tokio::fs::read_to_string(path).await.map_err(OidcError::Secret)?.trim().to_owned()),
        None => None,
    };
    let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
    let takes_basic = methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
    match &secret {
        Some(secret) if takes_basic => {
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encoded(&config.client_id), encoded(secret));
            request = request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
        }
        Some(secret) => fields.extend([("client_id", config.client_id.as_str()), ("client_secret", secret)]),
        None => fields.push(("client_id", &config.client_id)),
    }
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = request.header(header::CONTENT_LENGTH, body.len());
    ask(request.body(Body::from(body))?, "its token endpoint").await
}

async fn ask<T: DeserializeOwned>(mut request: Request<Body>, what: &'static str) -> Result<T, OidcError> {
    request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    let host = request.uri().host().unwrap_or_default().to_owned();
    let answer = outbound::send(request, Reach::Any, PATIENCE).await?;
    let status = answer.status();
    if !status.is_success() {
        return Err(OidcError::Answer { what, status });
    }
    let bytes = outbound::read(&host, answer, MAX_ANSWER, PATIENCE).await?;
    serde_json::from_slice(&bytes).map_err(|source| OidcError::NotUnderstood { what, source })
}

/// The user of these claims. An address counts only where the provider says that it has seen it to be the user's.
fn user(config: &OidcConfig, subject: String, claims: &jwt::Claims) -> User {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let verified = matches!(claims.get("email_verified"), Some(Value::Bool(true))) || text("email_verified") == Some("true");
    let email = text("email").filter(|email| verified && contract::check_email(email).is_ok()).map(canonical);
    let shown = text("name").or_else(|| text("preferred_username")).unwrap_or_default();
    let name = shown.chars().filter(|c| !c.is_control()).take(100).collect();
    let has = |claim: &Value, wanted: &str| match claim {
        Value::String(text) => text == wanted,
        Value::Array(list) => list.iter().any(|item| item.as_str() == Some(wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    };
    let by_claim = config.operator_claim.as_ref().is_some_and(|o| claims.get(&o.name).is_some_and(|claim| has(claim, &o.value)));
    let operator = by_claim || config.operator_subjects.contains(&subject);
    User { subject, email, name, role: if operator { Role::Operator } else { Role::User } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_make_a_user() {
        let config: OidcConfig = toml::from_str(
            "name = 'P'\nissuer = 'https://p.example'\nclient_id = 'h'\noperator_subjects = ['7']\n[operator_claim]\nname = 'groups'\nvalue = 'ops'\n",
        )
        .unwrap();
        let of = |subject: &str, claims: Value| user(&config, subject.into(), &serde_json::from_value(claims).unwrap());
        let larry =
            of("1", json!({"email": "Larry@example.org", "email_verified": true, "name": "Larry\u{7}", "groups": ["users"]}));
        assert_eq!((larry.email.as_deref(), larry.name.as_str(), larry.role), (Some("larry@example.org"), "Larry", Role::User));
        for unverified in [json!({"email": "a@example.org"}), json!({"email": "a@example.org", "email_verified": false})] {
            assert_eq!(of("1", unverified).email, None);
        }
        assert_eq!(of("1", json!({"groups": ["users", "ops"]})).role, Role::Operator);
        assert_eq!(of("1", json!({"groups": "ops"})).role, Role::Operator);
        assert_eq!(of("1", json!({"groups": {"ops": true}})).role, Role::User);
        assert_eq!(of("7", json!({})).role, Role::Operator);
    }
}
