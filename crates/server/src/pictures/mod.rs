//! Pictures drawn on the server. What is here works out where things lie; templates of `pictures/` draw it as SVG. Lengths across are
//! percents of the picture's width, so that letters keep their size on every screen.

mod queue;
mod timeline;
mod treemap;

pub use self::queue::QueuePicture;
pub use timeline::Timeline;
pub use treemap::Treemap;

/// A percentage as SVG has it.
fn percent(share: f64) -> String {
    let value = if share.is_finite() { share.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    format!("{value:.2}%")
}
