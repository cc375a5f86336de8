//! Text on pictures, read by the program tesseract.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageError};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::process::Command;

const TESSERACT: &str = "tesseract";

/// Screens show letters of few pixels, and tesseract was made for print: at
/// twice the size it finds most of them.
const ENLARGEMENT: u32 = 2;

/// Tesseract's mode for pieces of text in no order.
const SPARSE_TEXT: &str = "11";

/// How a picture is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picture {
    AsItIs,
    /// Enlarged, in shades of grey from black to white, on a light ground.
    DarkOnLight,
    /// The same on a dark ground.
    LightOnDark,
}

/// Why a picture cannot be read.
#[derive(Debug, Error)]
pub enum OcrError {
    #[error(
        "the program `{TESSERACT}` is not on PATH (Debian's package is tesseract-ocr, that of nixpkgs tesseract)"
    )]
    Missing,
    #[error("`{TESSERACT}` cannot be started: {0}")]
    Start(io::Error),
    #[error("`{TESSERACT}` failed ({status}): {words}")]
    Failed { status: String, words: String },
    #[error("the picture cannot be processed: {0}")]
    Picture(#[from] ImageError),
    #[error("the picture's processing was broken off")]
    BrokenOff,
}

/// The text on a PNG picture, once for each way to look at it. Processed
/// pictures are left beside it.
///
/// # Errors
/// When the program is missing or fails, or the picture is none.
pub async fn read(file: &Path, pictures: &[Picture]) -> Result<Vec<String>, OcrError> {
    let mut texts = Vec::new();
    for picture in pictures {
        let file = file.to_owned();
        let picture = *picture;
        let processed = tokio::task::spawn_blocking(move || process(&file, picture))
            .await
            .map_err(|_| OcrError::BrokenOff)??;
        texts.push(recognise(&processed).await?);
    }
    Ok(texts)
}

fn process(file: &Path, picture: Picture) -> Result<PathBuf, ImageError> {
    if picture == Picture::AsItIs {
        return Ok(file.to_owned());
    }
    let mut grey = enlarge(&image::open(file)?);
    if is_dark(&grey) != (picture == Picture::LightOnDark) {
        imageops::invert(&mut grey);
    }
    let target = file.with_extension("processed.png");
    grey.save(&target)?;
    Ok(target)
}

fn enlarge(image: &DynamicImage) -> GrayImage {
    let mut grey = image.to_luma8();
    stretch(&mut grey);
    let (width, height) = grey.dimensions();
    imageops::resize(
        &grey,
        width * ENLARGEMENT,
        height * ENLARGEMENT,
        FilterType::CatmullRom,
    )
}

/// Makes the darkest shade black and the lightest white.
fn stretch(grey: &mut GrayImage) {
    let darkest = grey.pixels().map(|pixel| pixel.0[0]).min().unwrap_or(0);
    let lightest = grey.pixels().map(|pixel| pixel.0[0]).max().unwrap_or(255);
    let range = u16::from(lightest - darkest).max(1);
    for pixel in grey.pixels_mut() {
        let above = u16::from(pixel.0[0] - darkest);
        pixel.0[0] = u8::try_from(above * 255 / range).unwrap_or(u8::MAX);
    }
}

fn is_dark(grey: &GrayImage) -> bool {
    let sum: u64 = grey.pixels().map(|pixel| u64::from(pixel.0[0])).sum();
    let count = u64::from(grey.width()) * u64::from(grey.height());
    sum < count * 128
}

async fn recognise(file: &Path) -> Result<String, OcrError> {
    let output = Command::new(TESSERACT)
        .arg(file)
        .args(["-", "--psm", SPARSE_TEXT, "-c", "debug_file=/dev/null"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OcrError::Missing,
            _ => OcrError::Start(error),
        })?;
    if !output.status.success() {
        return Err(OcrError::Failed {
            status: output.status.to_string(),
            words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_are_stretched_and_a_dark_ground_is_found() {
        let mut grey = GrayImage::from_raw(2, 2, vec![40, 40, 40, 90]).unwrap();
        stretch(&mut grey);
        assert_eq!(grey.into_raw(), [0, 0, 0, 255]);
        assert!(is_dark(&GrayImage::from_raw(2, 1, vec![0, 200]).unwrap()));
        assert!(!is_dark(
            &GrayImage::from_raw(2, 1, vec![255, 200]).unwrap()
        ));
    }

    #[test]
    fn pictures_are_enlarged_and_inverted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("screen.png");
        GrayImage::from_raw(2, 1, vec![0, 0])
            .unwrap()
            .save(&file)
            .unwrap();
        let light = process(&file, Picture::DarkOnLight).unwrap();
        let light = image::open(light).unwrap().to_luma8();
        assert_eq!(light.dimensions(), (4, 2));
        assert!(light.pixels().all(|pixel| pixel.0[0] == 255));
        let dark = process(&file, Picture::LightOnDark).unwrap();
        let dark = image::open(dark).unwrap().to_luma8();
        assert!(dark.pixels().all(|pixel| pixel.0[0] == 0));
        assert_eq!(process(&file, Picture::AsItIs).unwrap(), file);
    }
}
