//! ID tokens: JSON Web Tokens (RFC 7519) that a provider signed (RFC 7515), and the checks of OpenID Connect Core 1.0, section 3.1.3.7.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Verifier};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::OidcError;

/// What a token says of its user.
pub type Claims = Map<String, Value>;

/// Clocks may differ by so much. Seconds.
const LEEWAY: i64 = 60;
/// Bytes of the longest token.
const MAX_TOKEN: usize = 64 << 10;
/// Bits of the shortest RSA key whose signatures count.
const MIN_RSA: u32 = 2_048;
/// Bytes of the longest name of a user (Core 1.0, section 2).
const MAX_SUBJECT: usize = 255;

/// Why a token does not hold.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    #[error("it is not a signed token")]
    NotAToken,
    #[error("it is signed by an algorithm that is not taken here: {0}")]
    Algorithm(String),
    #[error("it is signed by a key that the provider does not show")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("the signature could not be checked: {0}")]
    Failed(#[from] ErrorStack),
    #[error("its claim “{0}” is not as it has to be")]
    Claim(&'static str),
}

/// What a token has to be about.
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    /// Seconds since the epoch.
    pub now: i64,
}

/// A key of the provider (RFC 7517) that ID tokens may be signed with.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    public: PublicKey,
}

/// Each algorithm has its kind of key, so that none is taken for another.
#[derive(Clone)]
enum PublicKey {
    Rsa(PKey<Public>),
    /// Of the curve P-256.
    Ec(EcKey<Public>),
}

impl Key {
    /// A key, if it is of a kind for signatures that is known here (RFC 7518, section 6).
    pub fn of(jwk: &Value) -> Option<Key> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let number = |name: &str| BigNum::from_slice(&BASE64.decode(text(name)?).ok()?).ok();
        let public = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let rsa = Rsa::from_public_components(number("n")?, number("e")?).ok()?;
                if rsa.size() * 8 < MIN_RSA {
                    return None;
                }
                PublicKey::Rsa(PKey::from_rsa(rsa).ok()?)
            }
            ("EC", Some("P-256")) => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).ok()?;
                // It is checked to be a point of the curve.
                PublicKey::Ec(EcKey::from_public_key_affine_coordinates(&group, &*number("x")?, &*number("y")?).ok()?)
            }
            _ => return None,
        };
        Some(Key { id: text("kid").map(str::to_owned), public })
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that would have to be understood (RFC 7515, section 4.1.11).
    #[serde(default)]
    crit: Option<Value>,
}

/// The claims of a token, if one of the keys signed it and it is what was expected.
pub fn verify(token: &str, keys: &[Key], expected: &Expected<'_>) -> Result<Claims, JwtError> {
    if token.len() > MAX_TOKEN {
        return Err(JwtError::NotAToken);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::NotAToken)?;
    let (head, payload) = signed.split_once('.').ok_or(JwtError::NotAToken)?;
    let bytes = |part: &str| BASE64.decode(part).map_err(|_| JwtError::NotAToken);
    let header: Header = serde_json::from_slice(&bytes(head)?).map_err(|_| JwtError::NotAToken)?;
    if header.crit.is_some() {
        return Err(JwtError::NotAToken);
    }
    let signature = bytes(signature)?;
    let fits = |key: &&Key| header.kid.is_none() || key.id.is_none() || key.id == header.kid;
    let mut tried = false;
    let mut good = false;
    for key in keys.iter().filter(fits) {
        if let Some(result) = is_signed_by(key, &header.alg, signed, &signature)? {
            (tried, good) = (true, good || result);
        }
    }
    match (tried, good) {
        (_, true) => {}
        (true, false) => return Err(JwtError::Signature),
        (false, false) if matches!(header.alg.as_str(), "RS256" | "PS256" | "ES256") => return Err(JwtError::UnknownKey),
        (false, false) => {
            return Err(JwtError::Algorithm(header.alg.chars().filter(char::is_ascii_alphanumeric).take(20).collect()));
        }
    }
    let claims: Claims = serde_json::from_slice(&bytes(payload)?).map_err(|_| JwtError::NotAToken)?;
    check(&claims, expected)?;
    Ok(claims)
}

/// Whether a key made a signature; none where the key is not one of the algorithm (RFC 7518, section 3.1).
fn is_signed_by(key: &Key, alg: &str, signed: &str, signature: &[u8]) -> Result<Option<bool>, JwtError> {
    Ok(match (alg, &key.public) {
        ("RS256" | "PS256", PublicKey::Rsa(key)) => {
            let mut verifier = Verifier::new(MessageDigest::sha256(), key)?;
            if alg == "PS256" {
                verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
                verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            }
            // A signature of a wrong form is an error to OpenSSL, and just wrong here.
            Some(verifier.verify_oneshot(signature, signed.as_bytes()).unwrap_or(false))
        }
        ("ES256", PublicKey::Ec(key)) => match (signature.len(), signature.split_at_checked(32)) {
            (64, Some((r, s))) => {
                let signature = EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
                Some(signature.verify(&Sha256::digest(signed.as_bytes()), key).unwrap_or(false))
            }
            _ => Some(false),
        },
        _ => None,
    })
}

fn check(claims: &Claims, expected: &Expected<'_>) -> Result<(), JwtError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let time = |name: &str| claims.get(name).and_then(Value::as_f64).map(|seconds| seconds as i64);
    let holds = |claim: &'static str, holds: bool| if holds { Ok(()) } else { Err(JwtError::Claim(claim)) };
    holds("iss", text("iss") == Some(expected.issuer))?;
    let (for_us, for_others) = match claims.get("aud") {
        Some(Value::String(one)) => (one == expected.client_id, false),
        Some(Value::Array(all)) => (all.iter().any(|one| one.as_str() == Some(expected.client_id)), all.len() > 1),
        _ => (false, false),
    };
    holds("aud", for_us)?;
    holds("azp", text("azp").map_or(!for_others, |party| party == expected.client_id))?;
    holds("exp", time("exp").is_some_and(|end| end.saturating_add(LEEWAY) > expected.now))?;
    holds("iat", time("iat").is_some_and(|made| made <= expected.now.saturating_add(LEEWAY)))?;
    holds("nonce", text("nonce") == Some(expected.nonce))?;
    holds("sub", subject(claims).is_ok())
}

/// The provider's name for the user.
pub fn subject(claims: &Claims) -> Result<String, OidcError> {
    let subject = claims.get("sub").and_then(Value::as_str).filter(|sub| !sub.is_empty() && sub.len() <= MAX_SUBJECT);
    subject.map(str::to_owned).ok_or_else(|| OidcError::Untrusted("its ID token names no user".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::sign::Signer;
    use serde_json::json;

    const EXPECTED: Expected = Expected { issuer: "https://p.example", client_id: "h", nonce: "n", now: 1_000 };

    fn claims() -> Value {
        json!({"iss": "https://p.example", "aud": "h", "exp": 1_100, "iat": 990, "nonce": "n", "sub": "larry"})
    }

    fn with(change: Value) -> Value {
        let mut claims = claims();
        change.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        claims
    }

    fn part(value: &Value) -> String {
        BASE64.encode(value.to_string())
    }

    struct Maker {
        rsa: PKey<openssl::pkey::Private>,
        keys: Vec<Key>,
    }

    impl Maker {
        fn new() -> Maker {
            let rsa = Rsa::generate(2_048).unwrap();
            let jwk =
                json!({"kty": "RSA", "kid": "k", "n": BASE64.encode(rsa.n().to_vec()), "e": BASE64.encode(rsa.e().to_vec())});
            let small = Rsa::generate(1_024).unwrap();
            let weak = json!({"kty": "RSA", "n": BASE64.encode(small.n().to_vec()), "e": BASE64.encode(small.e().to_vec())});
            assert!(Key::of(&weak).is_none(), "too short");
            Maker { rsa: PKey::from_rsa(rsa).unwrap(), keys: vec![Key::of(&jwk).unwrap()] }
        }

        fn token(&self, head: Value, claims: &Value) -> String {
            let signed = format!("{}.{}", part(&head), part(claims));
            let mut signer = Signer::new(MessageDigest::sha256(), &self.rsa).unwrap();
            let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
            format!("{signed}.{}", BASE64.encode(signature))
        }

        fn of(&self, claims: &Value) -> Result<Claims, JwtError> {
            verify(&self.token(json!({"alg": "RS256", "kid": "k"}), claims), &self.keys, &EXPECTED)
        }
    }

    #[test]
    fn a_token_counts_only_when_all_of_it_is_right() {
        let maker = Maker::new();
        assert_eq!(maker.of(&claims()).unwrap()["sub"], "larry");
        assert!(maker.of(&with(json!({"aud": ["h"]}))).is_ok());
        assert!(maker.of(&with(json!({"aud": ["h", "x"], "azp": "h"}))).is_ok());
        for (change, claim) in [
            (json!({"iss": "https://q.example"}), "iss"),
            (json!({"aud": "x"}), "aud"),
            (json!({"aud": ["h", "x"]}), "azp"),
            (json!({"azp": "x"}), "azp"),
            (json!({"exp": 939}), "exp"),
            (json!({"exp": "never"}), "exp"),
            (json!({"iat": 2_000}), "iat"),
            (json!({"nonce": "m"}), "nonce"),
            (json!({"sub": ""}), "sub"),
        ] {
            let error = maker.of(&with(change)).unwrap_err();
            assert!(matches!(error, JwtError::Claim(of) if of == claim), "{claim}: {error}");
        }
    }

    #[test]
    fn nothing_but_a_signature_by_the_providers_key_is_taken() {
        let maker = Maker::new();
        let verify = |token: &str| verify(token, &maker.keys, &EXPECTED);
        let unsigned = format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims()));
        assert!(matches!(verify(&unsigned), Err(JwtError::Algorithm(_))));
        // Signed with the public key as if it were a shared secret.
        let hmac = maker.token(json!({"alg": "HS256", "kid": "k"}), &claims());
        assert!(matches!(verify(&hmac), Err(JwtError::Algorithm(_))));
        let unknown = maker.token(json!({"alg": "RS256", "kid": "another"}), &claims());
        assert!(matches!(verify(&unknown), Err(JwtError::UnknownKey)));
        let critical = maker.token(json!({"alg": "RS256", "kid": "k", "crit": ["x"]}), &claims());
        assert!(matches!(verify(&critical), Err(JwtError::NotAToken)));
        let good = maker.token(json!({"alg": "RS256", "kid": "k"}), &claims());
        let (head, rest) = good.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let forged = format!("{head}.{}.{signature}", part(&with(json!({"sub": "olga"}))));
        assert!(matches!(verify(&forged), Err(JwtError::Signature)));
        let other = Maker::new().token(json!({"alg": "RS256", "kid": "k"}), &claims());
        assert!(matches!(verify(&other), Err(JwtError::Signature)));
        for broken in ["", ".", "..", "a.b.c", "\u{1f984}.x.y"] {
            assert!(verify(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_signature_of_p256_is_taken_and_checked() {
        // RFC 7515, appendix A.3: header, payload, signature and key.
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
        let key = Key::of(&jwk).unwrap();
        let signed =
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let signature = BASE64.decode(signature).unwrap();
        assert_eq!(is_signed_by(&key, "ES256", signed, &signature).unwrap(), Some(true));
        assert_eq!(is_signed_by(&key, "ES256", &signed.replace('Q', "R"), &signature).unwrap(), Some(false));
        assert_eq!(is_signed_by(&key, "ES256", signed, &signature[..63]).unwrap(), Some(false));
        assert_eq!(is_signed_by(&key, "RS256", signed, &signature).unwrap(), None);
        let off_the_curve = json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"});
        assert!(Key::of(&off_the_curve).is_none());
    }
}
