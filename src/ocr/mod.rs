//! Text on pictures, read by the program tesseract.

mod grey_picture;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::process::Command;

use self::grey_picture::GreyPicture;

const TESSERACT: &str = "tesseract";

/// Tesseract's mode for pieces of text in no order.
const SPARSE_TEXT: &str = "11";

/// How a picture is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picture {
    AsItIs,
    /// Enlarged, in shades of grey from black to white, on a light ground.
    DarkOnLight,
    /// Enlarged, in shades of grey from black to white, on a dark ground.
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
    Picture(io::Error),
    #[error("the picture's processing was broken off")]
    BrokenOff,
}

/// The text on a PNG picture, once for each way to look at it. Processed
/// pictures are left beside it.
///
/// # Errors
/// Returns an error if the program is missing or fails, or the picture is none.
pub async fn read(file: &Path, pictures: &[Picture]) -> Result<Vec<String>, OcrError> {
    let mut texts = Vec::new();
    for picture in pictures {
        let file = file.to_owned();
        let picture = *picture;
        let processed = tokio::task::spawn_blocking(move || process(&file, picture))
            .await
            .map_err(|_| OcrError::BrokenOff)?
            .map_err(OcrError::Picture)?;
        texts.push(recognise(&processed).await?);
    }
    Ok(texts)
}

fn process(file: &Path, picture: Picture) -> io::Result<PathBuf> {
    if picture == Picture::AsItIs {
        return Ok(file.to_owned());
    }
    let mut grey = GreyPicture::read(file)?;
    grey.stretch();
    // Screens show letters of few pixels, and tesseract was made for print: at twice the size it finds most of them.
    let mut grey = grey.doubled();
    if grey.is_dark() != (picture == Picture::LightOnDark) {
        grey.invert();
    }
    let target = file.with_extension("processed.png");
    grey.save(&target)?;
    Ok(target)
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
    fn pictures_are_inverted_for_a_ground() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("screen.png");
        let black = GreyPicture::read(&screen_with(&file, 0)).unwrap();
        assert!(black.is_dark());
        let light = process(&file, Picture::DarkOnLight).unwrap();
        assert!(!GreyPicture::read(&light).unwrap().is_dark());
        let dark = process(&file, Picture::LightOnDark).unwrap();
        assert!(GreyPicture::read(&dark).unwrap().is_dark());
        assert_eq!(process(&file, Picture::AsItIs).unwrap(), file);
    }

    fn screen_with(file: &Path, shade: u8) -> PathBuf {
        let writer = std::fs::File::create(file).unwrap();
        let mut encoder = png::Encoder::new(writer, 2, 1);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[shade, shade]).unwrap();
        writer.finish().unwrap();
        file.to_owned()
    }
}
