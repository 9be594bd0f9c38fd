//! The sizes of packages as areas: a squarified treemap (Bruls, Huizing, van Wijk, 2000).

use std::collections::BTreeMap;

use contract::PlannedPackage;

use super::percent;
use crate::clock;

/// Packages with an area of their own; the smaller ones share one.
const MOST: usize = 48;
/// How the picture is drawn, for the shapes to come out near squares. Pixels.
const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 340.0;
/// Shades for categories; all further categories share the last one.
const SHADES: usize = 8;

/// The treemap of a plan.
pub struct Treemap {
    pub cells: Vec<Cell>,
    /// All packages, the largest first.
    pub rows: Vec<Row>,
    /// Areas are what the packages take as installed, not their files.
    pub is_installed: bool,
    pub height: f64,
}

/// A package with its sizes.
pub struct Row {
    pub cpv: String,
    /// As installed; where all packages say it.
    pub installed: Option<String>,
    /// Of the package file.
    pub file: String,
}

/// The area of one package.
pub struct Cell {
    /// Percents of the width.
    pub x: String,
    pub width: String,
    /// Pixels.
    pub y: String,
    pub height: String,
    /// The name without category and version, where there is room for letters.
    pub label: String,
    /// Name and size.
    pub title: String,
    pub shade: usize,
}

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rect {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Treemap {
    /// By what the packages take as installed, where each has said it (it is read when the package is fetched); else by their files.
    pub fn of(packages: &[PlannedPackage]) -> Treemap {
        let is_installed = packages.iter().all(|package| installed(package).is_some());
        let size = |package: &PlannedPackage| installed(package).filter(|_| is_installed).unwrap_or(package.size);
        let mut sorted: Vec<(&PlannedPackage, u64)> = packages.iter().map(|package| (package, size(package))).collect();
        sorted.sort_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cpv.cmp(&b.cpv)));
        let row = |(package, size): &(&PlannedPackage, u64)| Row {
            cpv: package.cpv.clone(),
            installed: is_installed.then(|| clock::size(*size)),
            file: clock::size(package.size),
        };
        let rows = sorted.iter().map(row).collect();
        let shades = shades(&sorted);
        let (own, small) = sorted.split_at(sorted.len().min(MOST));
        let mut shown: Vec<(String, String, u64, usize)> = own.iter().map(|sized| shown(*sized, &shades)).collect();
        let rest = small.iter().fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
        if rest > 0 {
            let others = say_n!(small.len(), "{n} smaller package", "{n} smaller packages");
            shown.push((others.clone(), others, rest, SHADES - 1));
        }
        shown.retain(|(_, _, size, _)| *size > 0);
        shown.sort_by_key(|(_, _, size, _)| std::cmp::Reverse(*size));
        let areas: Vec<f64> = shown.iter().map(|(_, _, size, _)| *size as f64).collect();
        let rects = squarify(&areas, Rect { x: 0.0, y: 0.0, width: WIDTH, height: HEIGHT });
        let cells = shown.into_iter().zip(rects).map(|((name, title, size, shade), rect)| Cell {
            x: percent(rect.x / WIDTH),
            width: percent(rect.width / WIDTH),
            y: format!("{:.1}", rect.y),
            height: format!("{:.1}", rect.height),
            label: if rect.height >= 18.0 && rect.width >= 40.0 { name } else { String::new() },
            title: format!("{title}, {}", clock::size(size)),
            shade,
        });
        Treemap { cells: cells.collect(), rows, is_installed, height: HEIGHT }
    }
}

/// The categories that weigh most, each with its shade.
fn shades<'a>(packages: &[(&'a PlannedPackage, u64)]) -> BTreeMap<&'a str, usize> {
    let mut weights: BTreeMap<&str, u64> = BTreeMap::new();
    for (package, size) in packages {
        let weight = weights.entry(category(&package.cpv)).or_default();
        *weight = weight.saturating_add(*size);
    }
    let mut heaviest: Vec<(&str, u64)> = weights.into_iter().collect();
    heaviest.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    heaviest.into_iter().zip(0..SHADES - 1).map(|((category, _), shade)| (category, shade)).collect()
}

fn installed(package: &PlannedPackage) -> Option<u64> {
    package.origin.as_ref()?.installed_size
}

fn category(cpv: &str) -> &str {
    cpv.split('/').next().unwrap_or_default()
}

fn shown((package, size): (&PlannedPackage, u64), shades: &BTreeMap<&str, usize>) -> (String, String, u64, usize) {
    let name = gentoo::Cpv::parse(&package.cpv).map_or_else(|_| package.cpv.clone(), |cpv| cpv.package);
    let shade = shades.get(category(&package.cpv)).copied().unwrap_or(SHADES - 1);
    (name, package.cpv.clone(), size, shade)
}

/// Divides a rectangle into ones of these areas (any unit; positive, the largest first), each as near to a square as it can be.
fn squarify(areas: &[f64], whole: Rect) -> Vec<Rect> {
    let sum: f64 = areas.iter().sum();
    let scale = whole.width * whole.height / sum.max(f64::MIN_POSITIVE);
    let mut free = whole;
    let mut rects = Vec::with_capacity(areas.len());
    let mut rest = areas;
    while !rest.is_empty() {
        let side = free.width.min(free.height);
        // A row takes areas as long as its worst shape gets better.
        let mut count = 1;
        while count < rest.len() && worst(rest, count + 1, scale, side) <= worst(rest, count, scale, side) {
            count += 1;
        }
        let (row, after) = rest.split_at(count);
        free = lay(row, scale, free, &mut rects);
        rest = after;
    }
    rects
}

/// The worst ratio of sides in a row of the first so many areas along a side.
fn worst(areas: &[f64], count: usize, scale: f64, side: f64) -> f64 {
    let row = areas.get(..count).unwrap_or(areas);
    let sum: f64 = row.iter().sum::<f64>() * scale;
    let ratio = |area: f64| (side * side * area / (sum * sum)).max(sum * sum / (side * side * area));
    row.iter().map(|area| ratio(area * scale)).fold(0.0, f64::max)
}

/// Lays a row along the shorter side of what is free; returns what is free then.
fn lay(row: &[f64], scale: f64, free: Rect, rects: &mut Vec<Rect>) -> Rect {
    let sum: f64 = row.iter().sum::<f64>() * scale;
    let upright = free.width >= free.height;
    let side = if upright { free.height } else { free.width };
    let thickness = if side > 0.0 { sum / side } else { 0.0 };
    let mut at = 0.0;
    for area in row {
        let length = if thickness > 0.0 { area * scale / thickness } else { 0.0 };
        rects.push(match upright {
            true => Rect { x: free.x, y: free.y + at, width: thickness, height: length },
            false => Rect { x: free.x + at, y: free.y, width: length, height: thickness },
        });
        at += length;
    }
    match upright {
        true => Rect { x: free.x + thickness, width: (free.width - thickness).max(0.0), ..free },
        false => Rect { y: free.y + thickness, height: (free.height - thickness).max(0.0), ..free },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn areas_are_as_large_as_they_should_be_and_lie_beside_each_other(mut areas in prop::collection::vec(1.0..1e9f64, 1..60)) {
            areas.sort_by(|a, b| b.total_cmp(a));
            let whole = Rect { x: 0.0, y: 0.0, width: WIDTH, height: HEIGHT };
            let rects = squarify(&areas, whole);
            prop_assert_eq!(rects.len(), areas.len());
            let scale = WIDTH * HEIGHT / areas.iter().sum::<f64>();
            for (i, (rect, area)) in rects.iter().zip(&areas).enumerate() {
                prop_assert!((rect.width * rect.height - area * scale).abs() < 1e-3 * WIDTH, "{:?} is not {}", rect, area * scale);
                prop_assert!(rect.x > -1e-6 && rect.x + rect.width < WIDTH + 1e-3 && rect.y > -1e-6 && rect.y + rect.height < HEIGHT + 1e-3, "{:?}", rect);
                for other in &rects[..i] {
                    let across = (rect.x + rect.width).min(other.x + other.width) - rect.x.max(other.x);
                    let down = (rect.y + rect.height).min(other.y + other.height) - rect.y.max(other.y);
                    prop_assert!(across < 1e-3 || down < 1e-3, "{:?} and {:?} overlap", rect, other);
                }
            }
        }
    }

    #[test]
    fn areas_are_what_packages_take_as_installed_where_all_say_it() {
        let package = |cpv: &str, size: u64, installed: Option<u64>| -> PlannedPackage {
            serde_json::from_value(serde_json::json!({
                "cpv": cpv, "slot": "0", "build_time": 1, "use": [], "binhost": "b", "path": cpv, "size": size, "format": "gpkg",
                "origin": {"installed_size": installed}, "because": [],
            }))
            .unwrap()
        };
        let said = Treemap::of(&[package("a/small-1", 1_000, Some(9_000)), package("a/packed-1", 2_000, Some(3_000))]);
        assert!(said.is_installed);
        assert_eq!(said.cells[0].title, "a/small-1, 9.0 kB");
        assert_eq!((said.cells[0].width.as_str(), said.cells[1].width.as_str()), ("75.00%", "25.00%"));
        let row = &said.rows[1];
        assert_eq!((row.cpv.as_str(), row.installed.as_deref(), row.file.as_str()), ("a/packed-1", Some("3.0 kB"), "2.0 kB"));
        let unsaid = Treemap::of(&[package("a/small-1", 1_000, Some(9_000)), package("a/packed-1", 2_000, None)]);
        assert!(!unsaid.is_installed && unsaid.rows[0].installed.is_none());
        assert_eq!(unsaid.cells[0].title, "a/packed-1, 2.0 kB");
    }

    #[test]
    fn the_example_of_the_paper() {
        // Areas 6, 6, 4, 3, 2, 2, 1 in 6 × 4: the first row is the two sixes, upright.
        let rects = squarify(&[6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0], Rect { x: 0.0, y: 0.0, width: 6.0, height: 4.0 });
        assert_eq!(rects[0], Rect { x: 0.0, y: 0.0, width: 3.0, height: 2.0 });
        assert_eq!(rects[1], Rect { x: 0.0, y: 2.0, width: 3.0, height: 2.0 });
        assert!((rects[2].width - 12.0 / 7.0).abs() < 1e-9 && (rects[2].height - 7.0 / 3.0).abs() < 1e-9, "{:?}", rects[2]);
    }
}
