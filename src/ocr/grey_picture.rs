//! PNG pictures in shades of grey, made easier to read.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::Path;

use png::{BitDepth, ColorType, Decoder, Encoder, Transformations};

/// Weights of four neighbours in a row for a point a quarter of a pixel from the second one, by the spline of Catmull
/// and Rom, in 128ths.
const QUARTER: [i32; 4] = [-9, 111, 29, -3];

/// Weights of red, green and blue in the lightness of a pixel, in 256ths (ITU-R BT.709).
const LIGHTNESS: [u32; 3] = [54, 183, 19];

/// A picture with a byte for each pixel, row by row: 0 is black.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GreyPicture {
    width: usize,
    pixels: Vec<u8>,
}

impl GreyPicture {
    /// Reads a PNG file in any colours. Transparency is ignored.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or is no whole PNG picture.
    pub fn read(file: &Path) -> io::Result<Self> {
        let mut decoder = Decoder::new(BufReader::new(File::open(file)?));
        decoder.set_transformations(Transformations::normalize_to_color8());
        let mut reader = decoder.read_info()?;
        let size = reader
            .output_buffer_size()
            .ok_or_else(|| io::Error::other("the picture is too large"))?;
        let mut bytes = vec![0; size];
        let frame = reader.next_frame(&mut bytes)?;
        bytes.truncate(frame.buffer_size());
        let pixels = match frame.color_type {
            ColorType::Grayscale => bytes,
            ColorType::GrayscaleAlpha => bytes.chunks_exact(2).map(|pixel| pixel[0]).collect(),
            ColorType::Rgba => bytes.chunks_exact(4).map(lightness).collect(),
            ColorType::Rgb | ColorType::Indexed => bytes.chunks_exact(3).map(lightness).collect(),
        };
        Ok(Self {
            width: frame.width as usize,
            pixels,
        })
    }

    /// Writes a PNG file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let size = |length: usize| u32::try_from(length).map_err(io::Error::other);
        let writer = BufWriter::new(File::create(file)?);
        let mut encoder = Encoder::new(writer, size(self.width)?, size(self.height())?);
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        Ok(writer.finish()?)
    }

    fn height(&self) -> usize {
        self.pixels.len() / self.width.max(1)
    }

    /// Makes the darkest shade black and the lightest white.
    pub fn stretch(&mut self) {
        let darkest = self.pixels.iter().copied().min().unwrap_or(0);
        let lightest = self.pixels.iter().copied().max().unwrap_or(255);
        let range = u16::from(lightest - darkest).max(1);
        for pixel in &mut self.pixels {
            let above = u16::from(*pixel - darkest);
            *pixel = u8::try_from(above * 255 / range).unwrap_or(u8::MAX);
        }
    }

    /// Turns each shade into its opposite.
    pub fn invert(&mut self) {
        for pixel in &mut self.pixels {
            *pixel = u8::MAX - *pixel;
        }
    }

    /// Whether the picture is darker than a medium grey.
    pub fn is_dark(&self) -> bool {
        let sum: u64 = self.pixels.iter().copied().map(u64::from).sum();
        sum < self.pixels.len() as u64 * 128
    }

    /// Returns the picture at twice its width and height.
    pub fn doubled(&self) -> Self {
        self.widened().turned().widened().turned()
    }

    /// Returns the picture at twice its width.
    fn widened(&self) -> Self {
        let rows = self.pixels.chunks_exact(self.width.max(1));
        let pixels = rows.flat_map(|row| {
            let at = |place: usize, step: isize| {
                let place = place.saturating_add_signed(step).min(row.len() - 1);
                i32::from(row[place])
            };
            (0..row.len()).flat_map(move |place| {
                [-1, 1].map(|side: isize| {
                    let steps = [-side, 0, side, 2 * side];
                    let sum: i32 = QUARTER
                        .iter()
                        .zip(steps)
                        .map(|(weight, step)| weight * at(place, step))
                        .sum();
                    u8::try_from((sum / 128).clamp(0, 255)).unwrap_or(u8::MAX)
                })
            })
        });
        Self {
            width: self.width * 2,
            pixels: pixels.collect(),
        }
    }

    /// Returns the picture with its rows as columns.
    fn turned(&self) -> Self {
        let height = self.height();
        let columns = 0..self.width;
        let pixels = columns.flat_map(|column| (0..height).map(move |row| (row, column)));
        Self {
            width: height,
            pixels: pixels
                .map(|(row, column)| self.pixels[row * self.width + column])
                .collect(),
        }
    }
}

fn lightness(pixel: &[u8]) -> u8 {
    let sum: u32 = LIGHTNESS
        .iter()
        .zip(pixel)
        .map(|(weight, colour)| weight * u32::from(*colour))
        .sum();
    u8::try_from(sum / 256).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, pixels: &[u8]) -> GreyPicture {
        GreyPicture {
            width,
            pixels: pixels.to_owned(),
        }
    }

    #[test]
    fn shades_are_stretched_and_a_dark_ground_is_found() {
        let mut grey = picture(2, &[40, 40, 40, 90]);
        grey.stretch();
        assert_eq!(grey.pixels, [0, 0, 0, 255]);
        assert!(picture(2, &[0, 200]).is_dark());
        assert!(!picture(2, &[255, 200]).is_dark());
    }

    #[test]
    fn a_doubled_picture_keeps_its_shades_and_places() {
        let grey = picture(2, &[0, 255, 0, 255, 0, 255]);
        let doubled = grey.doubled();
        assert_eq!((doubled.width, doubled.height()), (4, 6));
        let rows: Vec<&[u8]> = doubled.pixels.chunks(4).collect();
        assert!(rows.iter().all(|row| *row == rows[0]), "{rows:?}");
        assert_eq!(rows[0], [0, 51, 203, 255]);
        assert!(picture(0, &[]).doubled().pixels.is_empty());
    }

    #[test]
    fn files_of_any_colours_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("picture.png");
        let write = |colours: ColorType, bytes: &[u8]| {
            let mut encoder = Encoder::new(File::create(&file).unwrap(), 2, 1);
            encoder.set_color(colours);
            if colours == ColorType::Indexed {
                encoder.set_palette(&[255, 255, 255, 0, 0, 0]);
            }
            let mut writer = encoder.write_header().unwrap();
            writer.write_image_data(bytes).unwrap();
            writer.finish().unwrap();
            GreyPicture::read(&file).unwrap().pixels
        };
        assert_eq!(write(ColorType::Rgb, &[255, 255, 255, 0, 0, 0]), [255, 0]);
        let with_alpha = [255, 255, 255, 255, 0, 0, 0, 255];
        assert_eq!(write(ColorType::Rgba, &with_alpha), [255, 0]);
        assert_eq!(write(ColorType::Grayscale, &[7, 9]), [7, 9]);
        assert_eq!(write(ColorType::GrayscaleAlpha, &[7, 255, 9, 255]), [7, 9]);
        assert_eq!(write(ColorType::Indexed, &[0, 1]), [255, 0]);
        std::fs::write(&file, "no picture").unwrap();
        assert!(GreyPicture::read(&file).is_err());
        let grey = picture(2, &[1, 2, 3, 4]);
        grey.save(&file).unwrap();
        assert_eq!(GreyPicture::read(&file).unwrap(), grey);
    }
}
