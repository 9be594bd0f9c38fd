//! What there is to do for a build, and what of it a worker is spared that has made something of the same packages before.

use std::sync::Arc;
use std::time::Duration;

use contract::{Format, Step, Summary};
use queue::{Known, Part, Sketch, Work};

use crate::app::App;
use crate::db::{self, step_number};

/// The packages' files, which a worker keeps.
const FILES: &str = "files";
/// What the workers have serves for so long.
const FRESH: Duration = Duration::from_secs(5);

/// What there is to do for a plan in these formats. The guesses hold until builds were seen.
pub fn work_of(summary: &Summary, formats: &[Format]) -> Work {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let (fetched, installed, packages) =
        (megabytes(summary.download_size), megabytes(summary.installed_size), summary.packages as f64);
    let part = |step: Step, kind: &str, amount: f64, guess: f64| Part::new(step_number(step), kind, amount, guess);
    let mut parts = vec![
        part(Step::Fetch, "fetch MB", fetched, 0.03).spared_by(FILES),
        part(Step::Fetch, "fetch package", packages, 0.02).spared_by(FILES),
        // What a worker has is looked at again before it is used.
        part(Step::Fetch, "check MB", fetched, 0.01),
        part(Step::Merge, "merge MB", installed, 0.01),
        part(Step::Merge, "merge package", packages, 0.1),
        part(Step::Configure, "configure", 1.0, 1.0),
    ];
    if formats.iter().any(|f| f.is_bootable()) {
        parts.push(part(Step::Configure, "boot", 1.0, 3.0));
    }
    for format in formats {
        parts.push(part(Step::Write, &format!("write {format}"), installed, 0.005));
        let (form, guess) = compressed(*format);
        let pressed = part(Step::Write, &format!("compress {format}"), installed, guess);
        parts.push(match form {
            Some(form) => pressed.spared_by(form),
            None => pressed,
        });
    }
    parts.push(part(Step::Upload, "upload MB", installed * formats.len() as f64, 0.005));
    Work { parts }
}

/// The compressed form of files that is kept for a format, if one is, and what making it takes on two processors. Seconds for a megabyte.
fn compressed(format: Format) -> (Option<&'static str>, f64) {
    match format {
        Format::Iso | Format::Squashfs | Format::Netboot => (Some("squashfs"), 0.01),
        Format::Oci => (Some("oci"), 0.01),
        Format::TarBz2 => (Some("tar.bz2"), 0.03),
        Format::TarXz => (Some("tar.xz"), 0.24),
        Format::TarZst => (Some("tar.zst"), 0.015),
        Format::TarGz => (Some("tar.gz"), 0.01),
        Format::Zip => (Some("zip"), 0.01),
        // A disk is written as it is.
        Format::Qcow2 | Format::Vmdk | Format::ImgGz => (None, 0.015),
    }
}

/// Notes that a worker made these packages into these formats.
pub fn made(known: &mut Known, sketch: &Sketch, formats: &[Format]) {
    known.add(FILES, sketch);
    for form in formats.iter().filter_map(|format| compressed(*format).0) {
        known.add(form, sketch);
    }
}

/// What is left of the work to the worker that has most of these packages: builds go where their packages are.
pub fn left_to_the_best(work: &Work, sketch: &Sketch, workers: &[Known]) -> Work {
    let best = workers.iter().max_by(|a, b| a.share(FILES, sketch).total_cmp(&b.share(FILES, sketch)));
    work.left_to(best.unwrap_or(&Known::default()), sketch)
}

/// What each worker at hand has, a moment old at most.
pub async fn known_by_workers(app: &App) -> db::Result<Arc<Vec<Known>>> {
    if let Some(known) = app.known.newer_than(FRESH) {
        return Ok(known);
    }
    let mut known = Vec::new();
    for worker in app.db.workers().await? {
        known.push(app.db.known_by(&worker.name).await?);
    }
    Ok(app.known.keep(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_before_is_copied() {
        let summary = Summary { packages: 50, download_size: 100_000_000, installed_size: 300_000_000, measured: false };
        let work = work_of(&summary, &[Format::Squashfs, Format::TarXz]);
        let sketch = Sketch::of([(1, 60_000_000), (2, 40_000_000)]);
        let mut known = Known::default();
        made(&mut known, &sketch, &[Format::Iso]);
        let to_do = |work: &Work, kind: &str| work.parts.iter().find(|part| part.kind == kind).unwrap().to_do();
        let left = left_to_the_best(&work, &sketch, &[Known::default(), known]);
        for (kind, expected) in [
            ("fetch MB", 0.0),
            ("merge MB", 300.0),
            ("write squashfs", 300.0),
            ("compress squashfs", 0.0),
            ("compress tar.xz", 300.0),
        ] {
            assert_eq!(to_do(&left, kind), expected, "{kind}");
        }
        assert_eq!(left_to_the_best(&work, &sketch, &[]), work, "without a worker nothing is had");
        // What was kept of a build by an earlier version says nothing of it.
        let old: Part = serde_json::from_str(r#"{"step":0,"kind":"fetch MB","amount":2.0,"guess":0.1}"#).unwrap();
        assert_eq!(old, Part::new(0, "fetch MB", 2.0, 0.1));
    }
}
