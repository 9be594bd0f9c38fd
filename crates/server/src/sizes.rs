//! How large images will be: as large, beside the package files that they are made of, as those that were made before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::Format;

use crate::app::App;
use crate::clock;
use crate::db::{self, MadeSize};

/// So many of the last finished builds are the measure.
const BUILDS: u32 = 100;
/// What was learnt serves for so long.
const FRESH: Duration = Duration::from_secs(60);

/// So many times larger or smaller than usual an image is guessed to be at most, by what was made here.
const MOST_OFF: f64 = 4.0;

/// How large an image of a format is, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    pub format: Format,
    /// All files of the format. Bytes.
    pub bytes: u64,
    pub basis: Basis,
}

/// What a size is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The image is there.
    Made,
    /// Other images of the format.
    Learnt,
    /// None of the format was made here: what it usually is beside the others, see docs/ordering.md.
    Guessed,
}

/// Bytes of image for each byte of package file, by format.
#[derive(Debug, Default, PartialEq)]
pub struct Ratios(BTreeMap<Format, f64>);

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

    /// The sizes to be expected for this many bytes of package files.
    fn expect(&self, formats: &[Format], download_size: u64) -> Vec<ImageSize> {
        let packages = download_size as f64;
        // How far the formats that were made here are from what is usual; a format that was not is taken to be as far.
        let off: Vec<f64> = self.0.iter().map(|(format, ratio)| packages * ratio / usual(*format, packages).max(1.0)).collect();
        let off = if off.is_empty() { 1.0 } else { (off.iter().sum::<f64>() / off.len() as f64).clamp(1.0 / MOST_OFF, MOST_OFF) };
        let expected = |format: &Format| {
            let (bytes, basis) = match self.0.get(format) {
                Some(ratio) => (packages * ratio, Basis::Learnt),
                None => (usual(*format, packages) * off, Basis::Guessed),
            };
            ImageSize { format: *format, bytes: bytes.clamp(0.0, 1e15).round() as u64, basis }
        };
        formats.iter().map(expected).collect()
    }
}

/// What an image of a format usually takes for so many bytes of package file (GPKG with zstd). The factors are sizes of docs/benchmarks.md
/// beside the root they are of, and 3.1 bytes of root for each of package file; what starts by itself has kernel, initramfs and boot loader
/// beside the root besides.
fn usual(format: Format, packages: f64) -> f64 {
    const START: f64 = 33e6;
    match format {
        Format::TarGz | Format::Oci => packages * 1.17,
        Format::TarBz2 => packages * 1.03,
        Format::TarXz => packages * 0.75,
        Format::TarZst => packages * 0.96,
        Format::Zip => packages * 1.19,
        Format::Squashfs => packages * 1.02,
        Format::Iso | Format::Netboot => packages * 1.02 + START,
        Format::Qcow2 => packages * 1.31 + START,
        Format::Vmdk => packages * 1.15 + START,
        Format::ImgGz => packages * 1.12 + START,
    }
}

impl ImageSize {
    /// `iso about 120.0 MB`, or without “about” where it is there, or with a word that it is a guess.
    pub fn words(&self) -> String {
        let size = clock::size(self.bytes);
        let size = match self.basis {
            Basis::Made => size,
            Basis::Learnt => say!("about {size}", size = size),
            Basis::Guessed => say!("about {size}, a guess", size = size),
        };
        format!("{} {size}", self.format)
    }
}

/// How large the images of an order are, where they are there (`made` is their build), or will be.
pub async fn images(app: &App, formats: &[Format], download_size: u64, made: Option<&str>) -> db::Result<Vec<ImageSize>> {
    if let Some(build) = made {
        let mut sizes: BTreeMap<Format, u64> = BTreeMap::new();
        for (artifact, _) in app.db.artifacts(build).await? {
            let sum = sizes.entry(artifact.format).or_default();
            *sum = sum.saturating_add(artifact.size);
        }
        return Ok(sizes.into_iter().map(|(format, bytes)| ImageSize { format, bytes, basis: Basis::Made }).collect());
    }
    Ok(ratios(app).await?.expect(formats, download_size))
}

async fn ratios(app: &App) -> db::Result<Arc<Ratios>> {
    match app.ratios.newer_than(FRESH) {
        Some(ratios) => Ok(ratios),
        None => Ok(app.ratios.keep(Ratios::of(&app.db.made_sizes(BUILDS).await?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_as_large_as_those_that_were_made() {
        let made = |format, image, packages| MadeSize { format, image, packages };
        let ratios = Ratios::of(&[made(Format::Iso, 150, 100), made(Format::Iso, 250, 100), made(Format::Zip, 90, 0)]);
        let expected = ratios.expect(&[Format::Iso, Format::TarXz], 1_000_000_000);
        assert_eq!(expected[0], ImageSize { format: Format::Iso, bytes: 2_000_000_000, basis: Basis::Learnt });
        assert_eq!(expected[0].words(), "iso about 2.0 GB");
        assert_eq!(ImageSize { basis: Basis::Made, ..expected[0] }.words(), "iso 2.0 GB");
        // Those made here are 1.9 times as large as is usual, so this one is guessed to be.
        assert_eq!((expected[1].format, expected[1].basis), (Format::TarXz, Basis::Guessed));
        assert!((1_400_000_000..1_450_000_000).contains(&expected[1].bytes), "{expected:?}");
        assert!(expected[1].words().ends_with("GB, a guess"), "{}", expected[1].words());
        // A site that has made nothing guesses all, and none is more than ten times another.
        let guessed = Ratios::default().expect(&Format::ALL, 100_000_000);
        assert_eq!(guessed.len(), Format::ALL.len());
        assert!(
            guessed.iter().all(|size| size.basis == Basis::Guessed && (70_000_000..170_000_000).contains(&size.bytes)),
            "{guessed:?}"
        );
        assert_eq!(Ratios::default().expect(&[Format::Zip], 0)[0].bytes, 0);
    }
}
