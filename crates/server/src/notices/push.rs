//! Web push: a browser that asked for it is told of an order although no page is open (RFC 8030). The message is encrypted for that browser
//! (RFC 8291), so that the push service between reads nothing of it, and signed by the site (VAPID, RFC 8292).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use contract::OrderError;
use openssl::bn::{BigNum, BigNumContext};
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private, Public};
use openssl::symm::{Cipher, encrypt_aead};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::Trouble;
use crate::app::App;
use crate::clock::now;
use crate::db::{Notice, NoticeKind};
use crate::orders::number;
use crate::outbound;
use crate::secret::mac;
use crate::status::OrderStatus;

/// How long the push service may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// A browser that is not reached within so many seconds is told no more.
const TIME_TO_LIVE: i64 = 86_400;
/// How long a signature counts; RFC 8292 allows a day. Seconds.
const SIGNED_FOR: i64 = 12 * 3_600;
/// The record size of RFC 8188; a message is one record.
const RECORD: u32 = 4_096;
/// Bytes of a message that every push service takes.
const MAX_MESSAGE: usize = 3_000;
/// The longest address of a push service.
const MAX_ENDPOINT: usize = 1_000;

/// Where a browser wants to be told, as `PushSubscription.toJSON()` of the Push API has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PushSubscription)]
pub struct Subscription {
    /// The address at the push service.
    pub endpoint: String,
    pub keys: Keys,
}

/// The browser's keys, in Base64 for URLs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PushKeys)]
pub struct Keys {
    /// Its public key: a point of P-256, uncompressed.
    pub p256dh: String,
    /// Its secret of 16 bytes.
    pub auth: String,
}

impl Subscription {
    /// Checks what a browser sent.
    pub fn check(&self) -> Result<(), OrderError> {
        let wrong = |message: &str| Err(OrderError::new("push", message));
        let uri: Option<Uri> = self.endpoint.parse().ok().filter(|_| self.endpoint.len() <= MAX_ENDPOINT);
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some()) {
            return wrong("the endpoint is not an address of http or https");
        }
        match self.keys.read() {
            Ok(_) => Ok(()),
            Err(_) => wrong("the keys are not those of a push subscription"),
        }
    }
}

/// A browser's public key, as bytes and as a point of the curve, and its secret.
struct Receiver {
    public: Vec<u8>,
    key: EcKey<Public>,
    auth: Vec<u8>,
}

impl Keys {
    fn read(&self) -> Result<Receiver, PushError> {
        let bytes = |text: &str| BASE64.decode(text.trim_end_matches('=')).map_err(|_| PushError::BadKeys);
        let (public, auth) = (bytes(&self.p256dh)?, bytes(&self.auth)?);
        if auth.len() != 16 || public.len() != 65 {
            return Err(PushError::BadKeys);
        }
        let group = p256()?;
        let point = EcPoint::from_bytes(&group, &public, &mut *BigNumContext::new()?)?;
        let key = EcKey::from_public_key(&group, &point)?;
        key.check_key()?;
        Ok(Receiver { public, key, auth })
    }
}

/// Why a message could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("the browser's keys are not those of a push subscription")]
    BadKeys,
    #[error("the message could not be encrypted or signed: {0}")]
    Failed(#[from] ErrorStack),
    #[error("the address of the push service cannot be used: {0}")]
    BadAddress(String),
}

/// The site's key for signing, made of its secret: each of its servers has the same, and nobody has to keep it.
pub struct SiteKey {
    key: EcKey<Private>,
    public: Vec<u8>,
}

impl SiteKey {
    pub fn of(secret: &str) -> Result<SiteKey, PushError> {
        let group = p256()?;
        let (mut context, mut order) = (BigNumContext::new()?, BigNum::new()?);
        group.order(&mut order, &mut context)?;
        // One of 2^32 numbers is not below the order; then it is the next one's turn.
        for attempt in 0u8..=255 {
            let number = BigNum::from_slice(&mac(secret.as_bytes(), &[b"hatchery web push", &[attempt]]))?;
            if number.num_bits() == 0 || number >= order {
                continue;
            }
            let mut point = EcPoint::new(&group)?;
            point.mul_generator2(&group, &number, &mut context)?;
            let public = point.to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context)?;
            return Ok(SiteKey { key: EcKey::from_private_components(&group, &number, &point)?, public });
        }
        Err(PushError::BadKeys)
    }

    /// What browsers are shown of it (`applicationServerKey`), in Base64 for URLs.
    pub fn shown(&self) -> String {
        BASE64.encode(&self.public)
    }

    /// The value of `Authorization` for a push service (RFC 8292, sections 2 and 3). `contact` is how its operator reaches ours.
    fn authorization(&self, origin: &str, contact: &str, now: i64) -> Result<String, PushError> {
        let part = |value: serde_json::Value| BASE64.encode(value.to_string());
        let claims = json!({ "aud": origin, "exp": now.saturating_add(SIGNED_FOR), "sub": contact });
        let signed = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ES256" })), part(claims));
        let signature = EcdsaSig::sign(&Sha256::digest(signed.as_bytes()), &self.key)?;
        let bytes = [signature.r().to_vec_padded(32)?, signature.s().to_vec_padded(32)?].concat();
        Ok(format!("vapid t={signed}.{}, k={}", BASE64.encode(bytes), self.shown()))
    }
}

/// Tells the browsers of an order that were not told yet, all at once, so that one whose push service is slow keeps no other waiting. One
/// whose push service does not know it is forgotten; where another could not be told, the notice is given again to those that are left.
pub async fn push_to_all(app: &Arc<App>, notice: &Notice, status: &OrderStatus) -> crate::db::Result<Result<(), Trouble>> {
    let Some(message) = message(notice.kind, status) else { return Ok(Ok(())) };
    let mut telling = JoinSet::new();
    for browser in app.db.browsers_to_tell(&notice.order_id, notice.id).await? {
        let (app, notice, message) = (app.clone(), notice.clone(), message.clone());
        telling.spawn(async move { tell(&app, &browser, &notice, &message).await });
    }
    let mut left = Ok(());
    for told in telling.join_all().await {
        if let Err(trouble) = told? {
            left = Err(trouble);
        }
    }
    Ok(left)
}

/// Tells one browser, and notes it.
async fn tell(app: &App, browser: &Subscription, notice: &Notice, message: &str) -> crate::db::Result<Result<(), Trouble>> {
    match push(app, browser, message).await {
        Ok(()) => app.db.browser_told(&notice.order_id, &browser.endpoint, notice.id).await?,
        Err(trouble) if trouble.last => {
            tracing::info!(order = number(&notice.order_id), error = %trouble, "a browser is told no more");
            app.db.forget_browser(&browser.endpoint).await?;
        }
        Err(trouble) => return Ok(Err(trouble)),
    }
    Ok(Ok(()))
}

/// What the site's service worker shows, in the reader's language.
fn message(kind: NoticeKind, status: &OrderStatus) -> Option<String> {
    let text = match kind {
        NoticeKind::Ready => say!("It is ready to be downloaded."),
        NoticeKind::Failed => say!("It could not be built; its page says why."),
        NoticeKind::Cancelled => say!("The operator has cancelled it."),
        NoticeKind::Expiring => say!("It will be removed soon."),
        NoticeKind::Answered => say!("The operator has answered what you reported."),
        NoticeKind::Confirm => return None,
    };
    Some(json!({ "title": status.image_name, "text": text, "url": format!("/orders/{}", status.id) }).to_string())
}

/// Sends one browser a message. Trouble that is lasting is the browser's own: it is not to be tried again.
async fn push(app: &App, to: &Subscription, message: &str) -> Result<(), Trouble> {
    let lasting = |error: PushError| Trouble::lasting(error.to_string());
    let body = encrypt(to, message.as_bytes(), &fresh().map_err(lasting)?).map_err(lasting)?;
    let authorization = origin(&to.endpoint).and_then(|origin| app.push_key.authorization(&origin, &contact(app), now()));
    let request = Request::post(&to.endpoint)
        .header(header::AUTHORIZATION, authorization.map_err(lasting)?)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_ENCODING, "aes128gcm")
        .header(header::CONTENT_LENGTH, body.len())
        .header("ttl", TIME_TO_LIVE)
        .header("urgency", "normal")
        .body(Body::from(body))
        .map_err(|e| Trouble::lasting(format!("the address of the push service cannot be used: {e}")))?;
    match outbound::send(request, app.reach(), PATIENCE).await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        // The browser wants to hear no more, or is gone (RFC 8030, section 7.3).
        Ok(answer) if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::GONE) => {
            Err(Trouble::lasting(format!("the push service answered {}", answer.status())))
        }
        Ok(answer) => Err(Trouble::passing(format!("the push service answered {}", answer.status()))),
        Err(error) => Err(Trouble::passing(error.to_string())),
    }
}

/// How a push service's operator reaches this site's: the mail address of its notices, or else its own.
fn contact(app: &App) -> String {
    let mail = app.config.mail.as_ref().map(|mail| mail.from.rsplit('<').next().unwrap_or_default().trim_end_matches('>'));
    mail.map_or_else(|| app.public_url.clone(), |address| format!("mailto:{address}"))
}

/// The origin (RFC 6454) of an address.
fn origin(endpoint: &str) -> Result<String, PushError> {
    let bad = || PushError::BadAddress(endpoint.to_owned());
    let uri: Uri = endpoint.parse().map_err(|_| bad())?;
    let (scheme, authority) = (uri.scheme_str().ok_or_else(bad)?, uri.authority().ok_or_else(bad)?);
    Ok(format!("{scheme}://{}", authority.as_str().rsplit('@').next().unwrap_or_default()))
}

/// What is new with each message.
struct Fresh {
    key: EcKey<Private>,
    salt: [u8; 16],
}

fn fresh() -> Result<Fresh, PushError> {
    let mut salt = [0; 16];
    openssl::rand::rand_bytes(&mut salt)?;
    Ok(Fresh { key: EcKey::generate(&*p256()?)?, salt })
}

/// Encrypts a message for a browser: RFC 8291, section 3.4, in the form of RFC 8188, section 2.
fn encrypt(to: &Subscription, message: &[u8], fresh: &Fresh) -> Result<Vec<u8>, PushError> {
    let theirs = to.keys.read()?;
    let ours = fresh.key.public_key().to_bytes(&*p256()?, PointConversionForm::UNCOMPRESSED, &mut *BigNumContext::new()?)?;
    let (own, peer) = (PKey::from_ec_key(fresh.key.clone())?, PKey::from_ec_key(theirs.key)?);
    let mut deriver = Deriver::new(&own)?;
    deriver.set_peer(&peer)?;
    let shared = deriver.derive_to_vec()?;
    // HKDF (RFC 5869) with outputs of at most one block: each is one HMAC.
    let material = mac(&mac(&theirs.auth, &[&shared]), &[b"WebPush: info\0", &theirs.public, &ours, &[1]]);
    let random = mac(&fresh.salt, &[&material]);
    let key = mac(&random, &[b"Content-Encoding: aes128gcm\0", &[1]]);
    let nonce = mac(&random, &[b"Content-Encoding: nonce\0", &[1]]);
    let (Some(key), Some(nonce)) = (key.get(..16), nonce.get(..12)) else { return Err(PushError::BadKeys) };
    // Nothing comes after the last record's delimiter.
    let mut plain = message.get(..message.len().min(MAX_MESSAGE)).unwrap_or_default().to_vec();
    plain.push(2);
    let mut tag = [0; 16];
    let sealed = encrypt_aead(Cipher::aes_128_gcm(), key, Some(nonce), &[], &plain, &mut tag)?;
    let length = u8::try_from(ours.len()).map_err(|_| PushError::BadKeys)?;
    Ok([&fresh.salt[..], &RECORD.to_be_bytes(), &[length], &ours, &sealed, &tag].concat())
}

fn p256() -> Result<EcGroup, ErrorStack> {
    EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application_server_key(secret: &str) -> Result<String, PushError> {
        SiteKey::of(secret).map(|key| key.shown())
    }

    #[test]
    fn a_message_is_encrypted_as_the_rfc_shows() {
        // RFC 8291, section 5 and appendix A.
        let decoded = |text: &str| BASE64.decode(text).unwrap();
        let keys = Keys {
            p256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4".into(),
            auth: "BTBZMqHH6r4Tts7J_aSIgg".into(),
        };
        let to = Subscription { endpoint: "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV".into(), keys };
        to.check().unwrap();
        let group = p256().unwrap();
        let public = decoded("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8");
        let point = EcPoint::from_bytes(&group, &public, &mut BigNumContext::new().unwrap()).unwrap();
        let private = BigNum::from_slice(&decoded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")).unwrap();
        let key = EcKey::from_private_components(&group, &private, &point).unwrap();
        let fresh = Fresh { key, salt: decoded("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap() };
        let body = encrypt(&to, b"When I grow up, I want to be a watermelon", &fresh).unwrap();
        assert_eq!(
            BASE64.encode(body),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4\
             Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }

    #[test]
    fn what_is_no_subscription_is_refused() {
        let good = Subscription {
            endpoint: "https://push.example.net/x".into(),
            keys: Keys { p256dh: application_server_key("site").unwrap(), auth: BASE64.encode([7; 16]) },
        };
        good.check().unwrap();
        for endpoint in ["", "ftp://x/", "/only/a/path", "https://", &format!("https://x/{}", "y".repeat(2_000))] {
            assert!(Subscription { endpoint: endpoint.into(), ..good.clone() }.check().is_err(), "{endpoint}");
        }
        let mut off_the_curve = vec![4; 65];
        off_the_curve[64] = 1;
        for p256dh in [String::new(), "?".into(), BASE64.encode([4; 64]), BASE64.encode(off_the_curve)] {
            assert!(Subscription { keys: Keys { p256dh, ..good.keys.clone() }, ..good.clone() }.check().is_err());
        }
        let short = Keys { auth: BASE64.encode([7; 15]), ..good.keys.clone() };
        assert!(Subscription { keys: short, ..good }.check().is_err());
    }

    #[test]
    fn the_sites_key_is_the_same_each_time() {
        assert_eq!(application_server_key("site").unwrap(), application_server_key("site").unwrap());
        assert_ne!(application_server_key("site").unwrap(), application_server_key("another").unwrap());
        assert_eq!(origin("https://user@push.example.net:8443/a?b").unwrap(), "https://push.example.net:8443");
    }
}
