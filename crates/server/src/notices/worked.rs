//! The worked example of the book's chapter “Adding a preset, a format, a way to tell”: notices by ntfy, whose messages are a POST of
//! plain text to a topic's address. It is compiled and tried by the tests, and no part of the server.

// ANCHOR: way
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};

use super::Trouble;
use crate::outbound::{self, Reach};

/// How long the other side may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Publishes a message to a topic. Whoever knows the topic's address reads it, so the text must not hold the order's.
pub async fn publish(topic: &str, title: &str, text: &str, reach: Reach) -> Result<(), Trouble> {
    let request = Request::post(topic)
        .header("Title", title)
        .body(Body::from(text.to_owned()))
        .map_err(|e| Trouble::lasting(format!("the topic's address cannot be used: {e}")))?;
    match outbound::send(request, reach, PATIENCE).await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) if answer.status() == StatusCode::NOT_FOUND => Err(Trouble::lasting("there is no such topic")),
        Ok(answer) => Err(Trouble::passing(format!("the topic answered {}", answer.status()))),
        Err(error) => Err(Trouble::passing(error.to_string())),
    }
}
// ANCHOR_END: way

// ANCHOR: test
#[tokio::test]
async fn what_passes_is_tried_again_and_what_lasts_is_not() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let topics = axum::Router::new()
        .route("/mine", axum::routing::post(|text: String| async move { assert_eq!(text, "An image is ready.") }))
        .route("/ill", axum::routing::post(|| async { StatusCode::INTERNAL_SERVER_ERROR }));
    tokio::spawn(async move { axum::serve(listener, topics).await });
    let tell = |topic: String, reach| async move { publish(&topic, "Ready", "An image is ready.", reach).await };
    tell(format!("{base}/mine"), Reach::Any).await.unwrap();
    assert!(!tell(format!("{base}/ill"), Reach::Any).await.unwrap_err().last, "another time it may be well");
    assert!(tell(format!("{base}/none"), Reach::Any).await.unwrap_err().last);
    let inside = tell(format!("{base}/mine"), Reach::Public).await.unwrap_err();
    assert!(inside.to_string().contains("inside this network"), "{inside}");
}
// ANCHOR_END: test
