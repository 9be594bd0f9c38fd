//! The queue as lanes on a line of time: what is built, whose turn is next, and when each will be ready. It says of nobody who they are.

use super::percent;
use crate::clock;
use crate::db::{Build, BuildState};
use crate::held_up::Held;
use crate::outlook::Outlook;

/// Builds drawn; the table beside the picture has all.
const MOST: usize = 15;
/// Pixels from one lane to the next.
const ROW: usize = 38;

/// The queue as a picture.
pub struct QueuePicture {
    pub lanes: Vec<Lane>,
    /// Pixels.
    pub height: usize,
    /// The time in the middle and at the end of the line.
    pub half: String,
    pub end: String,
    /// Lanes that are not drawn.
    pub more: usize,
}

/// One build.
pub struct Lane {
    pub label: String,
    pub words: String,
    pub is_built: bool,
    /// Pixels from the top.
    pub y: usize,
    /// Percents of the width: where nine of ten times it is ready, where every other time, and the middle.
    pub x90: String,
    pub width90: String,
    pub x50: String,
    pub width50: String,
    pub middle: String,
}

impl QueuePicture {
    /// Of the builds that wait or run, in the order in which they are served. None when no time can be told of any.
    pub fn of(builds: &[Build], outlook: &Outlook, held: &Held) -> Option<QueuePicture> {
        let open = builds.iter().filter(|b| matches!(b.state, BuildState::Waiting | BuildState::Building));
        let known: Vec<(&Build, queue::Range)> = open.filter_map(|b| Some((b, held.ready(b, outlook)?))).collect();
        let shown = known.get(..MOST).unwrap_or(&known);
        let end = shown.iter().map(|(_, range)| range.high90).fold(0.0, f64::max).max(1.0);
        let lanes: Vec<Lane> = shown
            .iter()
            .zip(0..)
            .map(|((build, range), row)| Lane {
                label: match outlook.position(&build.id) {
                    Some(place) => say!("{place}. in turn", place = place),
                    None => say!("is built"),
                },
                words: clock::between(whole(range.low90), whole(range.high90)),
                is_built: build.state == BuildState::Building,
                y: row * ROW,
                x90: percent(range.low90 / end),
                width90: percent((range.high90 - range.low90) / end),
                x50: percent(range.low50 / end),
                width50: percent((range.high50 - range.low50) / end),
                middle: percent(range.middle / end),
            })
            .collect();
        if lanes.is_empty() {
            return None;
        }
        let (half, end) = (clock::measured(whole(end / 2.0)), clock::measured(whole(end)));
        Some(QueuePicture { height: lanes.len() * ROW, more: known.len() - lanes.len(), lanes, half, end })
    }
}

fn whole(seconds: f64) -> u64 {
    seconds.clamp(0.0, 1e9).round() as u64
}
