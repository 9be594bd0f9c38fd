//! The trade-off as a picture: orders served against builds.

use std::fmt::Write as _;

use crate::report::builds;
use crate::{Advice, Point};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 44.0;
const TOP: f64 = 16.0;
const RIGHT: f64 = 16.0;

/// An SVG picture: a step line of what is served when one goes on building, above it the line that no choice can pass, and the choice
/// itself as a dot. Its colours are those of the text around it, so it serves on light and dark pages. What it says in English passes through
/// `say`, for readers of another language.
pub fn svg(advice: &Advice, say: impl Fn(&str) -> String) -> String {
    let most_builds = advice.curve.last().map_or(1, |p| p.builds.max(1)).max(advice.cost.builds);
    let most_orders = advice.orders.max(1);
    let x = |builds: u64| LEFT + (WIDTH - LEFT - RIGHT) * builds as f64 / most_builds as f64;
    let y = |orders: u64| HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * orders.min(most_orders) as f64 / most_orders as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" fill=\"none\" stroke=\"currentColor\" \
         font-family=\"sans-serif\" font-size=\"12\"><title>{}</title>\n",
        say(&advice.in_short())
    );
    let _ = writeln!(text, "<path d=\"M{LEFT} {TOP}V{}H{}\"/>", y(0), WIDTH - RIGHT);
    for (value, at) in ticks(most_orders).into_iter().map(|v| (v, y(v))) {
        let _ = writeln!(text, "<path d=\"M{LEFT} {at:.1}h-5\"/>{}", label(LEFT - 8.0, at + 4.0, "end", &value.to_string()));
    }
    for (value, at) in ticks(most_builds).into_iter().map(|v| (v, x(v))) {
        let _ = writeln!(text, "<path d=\"M{at:.1} {}v5\"/>{}", y(0), label(at, y(0) + 18.0, "middle", &value.to_string()));
    }
    text.push_str(&label((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0, "middle", &say("builds more than today")));
    text.push_str(&label(LEFT + 4.0, TOP - 4.0, "start", &say("orders served")));
    let line = |part: fn(&Point) -> u64| {
        let mut path = String::new();
        for (index, point) in advice.curve.iter().enumerate() {
            let (at, height) = (x(point.builds), y(part(point)));
            let _ = if index == 0 { write!(path, "M{at:.1} {height:.1}") } else { write!(path, "H{at:.1}V{height:.1}") };
        }
        path
    };
    let _ = writeln!(text, "<path stroke-width=\"2\" d=\"{}\"/>", line(|p| p.served));
    let _ = writeln!(text, "<path stroke-dasharray=\"4 4\" opacity=\"0.6\" d=\"{}\"/>", line(|p| p.at_most));
    let _ = writeln!(
        text,
        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"currentColor\"/>",
        x(advice.cost.builds),
        y(advice.served)
    );
    let note = format!("{}: {}", say(&builds(advice.cost.builds)), advice.served);
    // Towards the right edge the words stand before the dot.
    let at = x(advice.cost.builds);
    let (shift, anchor) = if at > WIDTH * 0.75 { (-8.0, "end") } else { (8.0, "start") };
    text.push_str(&label(at + shift, y(advice.served) + 16.0, anchor, &note));
    text.push_str("</svg>\n");
    text
}

fn label(x: f64, y: f64, anchor: &str, words: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" stroke=\"none\" fill=\"currentColor\">{words}</text>\n")
}

/// Round numbers from 0 up to `most`, four to eight of them.
fn ticks(most: u64) -> Vec<u64> {
    let rough = (most / 5).max(1);
    let mut ten = 1;
    while ten * 10 <= rough {
        ten *= 10;
    }
    let step = [1, 2, 5].into_iter().map(|n| n * ten).rfind(|step| *step <= rough).unwrap_or(1);
    (0..=most / step).map(|n| n * step).collect()
}
