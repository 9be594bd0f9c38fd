//! Webhooks, as “Standard Webhooks” 1.0 has them: a POST of JSON with the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`,
//! the last being `v1,` and the Base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY`. Each order has a secret of its own for that.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::Trouble;
use crate::app::App;
use crate::clock::now;
use crate::db::Notice;
use crate::outbound;
use crate::status::OrderStatus;

/// How long the other side may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The secret of an order's webhook, as the receiver's library takes it: `whsec_` and Base64. It follows from the site's secret, so it is kept
/// nowhere.
pub fn secret(site: &str, order: &str) -> String {
    format!("whsec_{}", BASE64.encode(key(site, order)))
}

fn key(site: &str, order: &str) -> Vec<u8> {
    mac(site.as_bytes(), &["hatchery webhook", order])
}

fn mac(key: &[u8], parts: &[&str]) -> Vec<u8> {
    crate::secret::mac(key, &[parts.join(".").as_bytes()])
}

/// The value of `webhook-signature`.
fn sign(site: &str, order: &str, id: &str, timestamp: i64, body: &str) -> String {
    format!("v1,{}", BASE64.encode(mac(&key(site, order), &[id, &timestamp.to_string(), body])))
}

/// Tells of an order. The receiver has to answer 2xx; 410 means that it wants to hear no more.
pub async fn call(app: &App, address: &str, notice: &Notice, status: &OrderStatus) -> Result<(), Trouble> {
    let (id, timestamp) = (format!("notice_{}", notice.id), now());
    let body = json!({ "type": format!("order.{}", notice.kind.name()), "timestamp": timestamp, "data": without_secret(status) })
        .to_string();
    let signature = sign(&app.secret, &notice.order_id, &id, timestamp, &body);
    let request = Request::post(address)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("Hatchery/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .body(Body::from(body))
        .map_err(|e| Trouble::lasting(format!("the webhook's address cannot be used: {e}")))?;
    match outbound::send(request, app.reach(), PATIENCE).await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) if answer.status() == StatusCode::GONE => Err(Trouble::lasting("the webhook answered 410 Gone")),
        Ok(answer) => Err(Trouble::passing(format!("the webhook answered {}", answer.status()))),
        Err(error) => Err(Trouble::passing(error.to_string())),
    }
}

/// The receiver knows the secret already, or is not to know it.
fn without_secret(status: &OrderStatus) -> OrderStatus {
    OrderStatus { webhook_secret: None, ..status.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // RFC 4231, test case 2, shows that this is HMAC-SHA256.
        assert_eq!(
            hex::encode(mac(b"Jefe", &["what do ya want for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let secret = secret("site", "order");
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        assert!((24..=64).contains(&key.len()), "the specification's bounds");
        assert_eq!(sign("site", "order", "notice_1", 7, "{}"), format!("v1,{}", BASE64.encode(mac(&key, &["notice_1.7.{}"]))));
        assert_ne!(secret, super::secret("site", "another"));
    }
}
