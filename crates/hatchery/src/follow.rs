//! Following an order to its end.

use std::time::{Duration, Instant};

use contract::Step;
use serde_json::Value;

use crate::Outcome;
use crate::progress::Display;
use crate::site::{Placed, Site};

/// How often the site is asked.
const PERIOD: Duration = Duration::from_millis(700);
/// A site that is started again meanwhile is waited for so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for the end of an order, showing its steps; the order as it stands then.
pub fn follow(site: &Site, placed: &Placed) -> anyhow::Result<Value> {
    let display = Display::new();
    let (mut position, mut answered) = (None, Instant::now());
    loop {
        match site.status(placed) {
            Ok(status) => {
                answered = Instant::now();
                match status["state"].as_str().unwrap_or_default() {
                    "waiting" => show_position(&display, &status, &mut position),
                    "building" => show_step(&display, &status),
                    _ => {
                        display.finish();
                        return Ok(status);
                    }
                }
            }
            Err(error) if answered.elapsed() > PATIENCE || !format!("{error:#}").contains("cannot be reached") => {
                display.finish();
                return Err(error);
            }
            Err(_) => {}
        }
        std::thread::sleep(PERIOD);
    }
}

/// Of an order that is ready: that it is, its files with their sizes, and how they are had.
pub fn ready_text(status: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let files: Vec<&Value> = status["artifacts"].as_array().into_iter().flatten().collect();
    let sizes: Vec<String> = files.iter().map(|file| size(file["size"].as_u64().unwrap_or(0))).collect();
    let widest = sizes.iter().map(String::len).max().unwrap_or(0);
    let files = files.iter().zip(&sizes).map(|(file, size)| format!("  {size:>widest$}  {}\n", text(&file["name"])));
    let (name, page) = (text(&status["image_name"]), text(&status["url"]));
    format!("Ready: {name}\n{}Download: hatchery download {page}\nPage:     {page}", files.collect::<String>())
}

/// Bytes as people say them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..100_000 => format!("{}.{} kB", bytes / 1_000, bytes / 100 % 10),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// How the command ends for an order that is over; what went wrong is printed.
pub fn outcome(status: &Value) -> Outcome {
    match status["state"].as_str().unwrap_or_default() {
        "ready" => Outcome::Done,
        "failed" => {
            eprintln!("{}", failure_text(&status["failure"]));
            Outcome::BuildFailed
        }
        "expired" => {
            eprintln!("the images were removed when their time was over; `hatchery again` has them built once more");
            Outcome::NoImages
        }
        "cancelled" => {
            eprintln!("the order was cancelled");
            Outcome::NoImages
        }
        other => {
            eprintln!("the order is {other}, not ready; `hatchery order --wait` and `hatchery logs -f` wait for its end");
            Outcome::NoImages
        }
    }
}

fn show_position(display: &Display, status: &Value, position: &mut Option<u64>) {
    let now = status["position"].as_u64();
    if now.is_some() && now != *position {
        let ready = status["ready"]["text"].as_str().unwrap_or_default();
        display.line(&format!("waiting, number {} in the queue; ready {ready}", now.unwrap_or(0)));
        *position = now;
    }
}

fn show_step(display: &Display, status: &Value) {
    let progress = &status["progress"];
    let Ok(step) = serde_json::from_value::<Step>(progress["step"].clone()) else { return };
    let number = |key: &str| progress[key].as_u64().unwrap_or(0);
    display.step(step, number("done"), number("total"), progress["what"].as_str().unwrap_or_default());
}

fn failure_text(failure: &Value) -> String {
    let text = |key: &str| failure[key].as_str().unwrap_or_default().to_owned();
    let package = failure["package"].as_str().map(|p| format!(" ({p})")).unwrap_or_default();
    format!("the build failed at “{}”{package}: {}\n{}", text("step"), text("message"), text("advice"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn an_order_that_is_ready_says_how_it_is_downloaded() {
        let status = json!({
            "image_name": "larry", "url": "https://h.example/orders/ab12",
            "artifacts": [{"name": "larry.iso", "size": 121_102_336}, {"name": "larry.netboot.ipxe", "size": 310}],
        });
        let expected = "Ready: larry\n  121.1 MB  larry.iso\n    0.3 kB  larry.netboot.ipxe\n\
            Download: hatchery download https://h.example/orders/ab12\nPage:     https://h.example/orders/ab12";
        assert_eq!(super::ready_text(&status), expected);
    }
}
