//! How large images will be: as large, beside the package files that they are made of, as those that were made before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::Format;

use crate::app::App;
use crate::clock;
use crate::db::{self, MadeSize};

/// So many of the last finished builds are the measure.
const BUILDS: u32 = 100;
/// What was learnt serves for so long.
const FRESH: Duration = Duration::from_secs(60);

/// How large an image of a format is, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    pub format: Format,
    /// All files of the format. Bytes.
    pub bytes: u64,
    /// It is there, and this is its size; else it is what others of the format let expect.
    pub is_made: bool,
}

/// Bytes of image for each byte of package file, by format.
#[derive(Debug, Default, PartialEq)]
pub struct Ratios(BTreeMap<Format, f64>);

/// Keeps the newest ratios.
#[derive(Default)]
pub struct KeptRatios(Mutex<Option<(Instant, Arc<Ratios>)>>);

impl Ratios {
    /// Learns from images that were made.
    fn of(made: &[MadeSize]) -> Ratios {
        let mut sums: BTreeMap<Format, (f64, f64)> = BTreeMap::new();
        for size in made {
            let (images, packages) = sums.entry(size.format).or_default();
            *images += size.image as f64;
            *packages += size.packages as f64;
        }
        Ratios(sums.into_iter().filter(|(_, (_, packages))| *packages > 0.0).map(|(f, (i, p))| (f, i / p)).collect())
    }

    /// The sizes to be expected of the formats that were made before, for this many bytes of package files.
    fn expect(&self, formats: &[Format], download_size: u64) -> Vec<ImageSize> {
        let expected = |format: &Format| {
            let bytes = (download_size as f64 * self.0.get(format)?).clamp(0.0, 1e15).round() as u64;
            Some(ImageSize { format: *format, bytes, is_made: false })
        };
        formats.iter().filter_map(expected).collect()
    }
}

impl ImageSize {
    /// `iso about 120.0 MB`, or without “about” where it is there.
    pub fn words(&self) -> String {
        let size = clock::size(self.bytes);
        let size = if self.is_made { size } else { say!("about {size}", size = size) };
        format!("{} {size}", self.format)
    }
}

/// How large the images of an order are, where they are there (`made` is their build), or will be. A format that was never made is left out.
pub async fn images(app: &App, formats: &[Format], download_size: u64, made: Option<&str>) -> db::Result<Vec<ImageSize>> {
    if let Some(build) = made {
        let mut sizes: BTreeMap<Format, u64> = BTreeMap::new();
        for (artifact, _) in app.db.artifacts(build).await? {
            let sum = sizes.entry(artifact.format).or_default();
            *sum = sum.saturating_add(artifact.size);
        }
        return Ok(sizes.into_iter().map(|(format, bytes)| ImageSize { format, bytes, is_made: true }).collect());
    }
    Ok(ratios(app).await?.expect(formats, download_size))
}

async fn ratios(app: &App) -> db::Result<Arc<Ratios>> {
    let kept = app.ratios.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((_, ratios)) = kept.filter(|(at, _)| at.elapsed() < FRESH) {
        return Ok(ratios);
    }
    let ratios = Arc::new(Ratios::of(&app.db.made_sizes(BUILDS).await?));
    *app.ratios.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), ratios.clone()));
    Ok(ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_as_large_as_those_that_were_made() {
        let made = |format, image, packages| MadeSize { format, image, packages };
        let ratios = Ratios::of(&[made(Format::Iso, 150, 100), made(Format::Iso, 250, 100), made(Format::Zip, 90, 0)]);
        let expected = ratios.expect(&[Format::Zip, Format::Iso, Format::Vmdk], 1_000_000);
        assert_eq!(expected, [ImageSize { format: Format::Iso, bytes: 2_000_000, is_made: false }]);
        assert_eq!(expected[0].words(), "iso about 2.0 MB");
        assert_eq!(ImageSize { is_made: true, ..expected[0] }.words(), "iso 2.0 MB");
    }
}
