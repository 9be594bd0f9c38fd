//! The few files that pages need, built into the executable. Their addresses carry their hash, so that browsers may keep them.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::problem::Problem;

const STYLE: &str = include_str!("../../assets/site.css");
const LIVE: &str = include_str!("../../assets/live.js");
const ORDER: &str = include_str!("../../assets/order.js");
const PUSH: &str = include_str!("../../assets/push.js");
const SERVICE_WORKER: &str = include_str!("../../assets/service-worker.js");
const ICON: &str = include_str!("../../assets/icon.svg");

/// Changes whenever an asset does.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    [STYLE, LIVE, ORDER, PUSH, ICON].iter().for_each(|text| hash.update(text));
    hex::encode(hash.finalize()).chars().take(12).collect()
});

/// `GET /assets/{name}`
pub async fn asset(Path(name): Path<String>) -> Response {
    let (content_type, text) = match name.as_str() {
        "site.css" => ("text/css; charset=utf-8", STYLE),
        "live.js" => ("text/javascript; charset=utf-8", LIVE),
        "order.js" => ("text/javascript; charset=utf-8", ORDER),
        "push.js" => ("text/javascript; charset=utf-8", PUSH),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Problem::new(StatusCode::NOT_FOUND, "There is no such file.").into_response(),
    };
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")], text).into_response()
}

/// `GET /service-worker.js`: what shows notices in a browser. It serves the folder that it lies in, so it lies at the top.
pub async fn service_worker() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], SERVICE_WORKER)
        .into_response()
}

/// `GET /favicon.ico`, which some browsers ask for whatever the page says.
pub async fn favicon() -> Response {
    asset(Path("icon.svg".to_owned())).await
}

/// `GET /robots.txt`: orders are nobody's business.
pub async fn robots() -> &'static str {
    "User-agent: *\nDisallow: /orders/\nDisallow: /api/\n"
}
