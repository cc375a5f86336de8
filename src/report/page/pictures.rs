//! Pictures of displays, as a strip to scrub through. They are in the page itself.

use std::cell::Cell;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::plain;
use crate::output_folder::SCREENS;
use crate::report::recorded::{Screen, Timeline};

/// Most pictures of an attempt; of more, some in between are left out.
const MOST_PICTURES: usize = 60;

/// Larger files are no pictures of a display.
const MOST_BYTES: u64 = 2 << 20;

/// Bytes that the pictures of a page may take together: a guest shows as many as it likes.
#[derive(Debug)]
pub struct PictureBudget(Cell<usize>);

impl PictureBudget {
    pub fn new() -> Self {
        Self(Cell::new(24 << 20))
    }

    fn take(&self, picture: String) -> Option<String> {
        let left = self.0.get().checked_sub(picture.len())?;
        self.0.set(left);
        Some(picture)
    }
}

/// The largest display that firmware uses by itself, in pixels.
const FIRMWARE_SIZE: (u32, u32) = (720, 480);

/// Firmware lights less than one in so many pixels, a system's console more.
const FIRMWARE_SHARE: usize = 100;

/// The lightest shade that is as good as black.
const DARK: u8 = 40;

/// The first bytes of every picture.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A strip for each display.
pub(super) fn film(budget: &PictureBudget, id: &str, folder: &Path, timeline: &Timeline) -> Markup {
    html! {
        @for machine in timeline.machines() {
            (strip(budget, id, folder, &machine, timeline))
        }
    }
}

fn strip(
    budget: &PictureBudget,
    id: &str,
    folder: &Path,
    machine: &str,
    timeline: &Timeline,
) -> Markup {
    let of_machine = timeline.screens.iter();
    let of_machine = of_machine.filter(|screen| screen.machine == machine);
    // Before the guest's system shows something, there is nothing to see.
    let all: Vec<&Screen> = of_machine
        .skip_while(|screen| picture(folder, &screen.path).is_some_and(|it| is_of_firmware(&it)))
        .collect();
    let step = all.len().div_ceil(MOST_PICTURES).max(1);
    // The last one shows how it ended.
    let shown = all.iter().rev().step_by(step);
    let mut pictures: Vec<(f64, String)> = shown
        .filter_map(|screen| {
            Some((
                screen.time_s - timeline.begin_s,
                budget.take(address(&picture(folder, &screen.path)?))?,
            ))
        })
        .collect();
    pictures.reverse();
    let Some(last) = pictures.len().checked_sub(1) else {
        return html! {};
    };
    html! {
        figure.film #{ "film-" (id) "-" (plain(machine)) } {
            figcaption {
                "Display of " (plain(machine)) ", "
                output { (format!("{:.1} s", pictures[last].0)) }
            }
            input type="range" min="0" max=(last) value=(last) aria-label={ "Moment, display of " (plain(machine)) };
            div.frames {
                @for (time_s, picture) in &pictures {
                    img src=(picture) alt={ "the display at " (format!("{time_s:.1}")) " s" } title={ (format!("{time_s:.1}")) " s" } data-time=(format!("{time_s:.1}"));
                }
            }
        }
    }
}

/// The bytes of a picture; its path is no reason to read elsewhere.
fn picture(folder: &Path, path: &Path) -> Option<Vec<u8>> {
    let path = folder.join(SCREENS).join(path.file_name()?);
    let metadata = fs::symlink_metadata(&path).ok()?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return None;
    }
    let bytes = fs::read(&path).ok()?;
    bytes.starts_with(PNG).then_some(bytes)
}

/// An address that holds a picture.
fn address(picture: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(picture))
}

/// Whether a picture is as good as black: firmware writes a line or two, or QEMU says that the display is not used yet.
fn is_of_firmware(picture: &[u8]) -> bool {
    let share = || {
        let mut reader = png::Decoder::new(Cursor::new(picture)).read_info().ok()?;
        let (width, height) = reader.info().size();
        let is_text_mode = width <= FIRMWARE_SIZE.0 && height <= FIRMWARE_SIZE.1;
        let mut bytes = vec![0; reader.output_buffer_size().filter(|_| is_text_mode)?];
        reader.next_frame(&mut bytes).ok()?;
        let lit = bytes.iter().filter(|byte| **byte > DARK).count();
        Some(lit * FIRMWARE_SHARE < bytes.len())
    };
    share().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grey picture whose first `lit` pixels are white.
    fn drawn(width: u32, height: u32, lit: usize) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Grayscale);
        let mut pixels = vec![0; (width * height) as usize];
        pixels[..lit].fill(255);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&pixels).unwrap();
        writer.finish().unwrap();
        file
    }

    #[test]
    fn pictures_of_firmware_are_told_from_others() {
        assert!(is_of_firmware(&drawn(720, 400, 0)));
        assert!(is_of_firmware(&drawn(640, 480, 1500)));
        assert!(!is_of_firmware(&drawn(720, 400, 3000)));
        // A system has chosen this size.
        assert!(!is_of_firmware(&drawn(1024, 768, 0)));
        assert!(!is_of_firmware(b"\x89PNG\r\n\x1a\nrubbish"));
    }

    #[test]
    fn pictures_have_a_limit_together() {
        let budget = PictureBudget::new();
        let picture = "x".repeat(10 << 20);
        assert!(budget.take(picture.clone()).is_some());
        assert!(budget.take(picture.clone()).is_some());
        assert!(budget.take(picture).is_none());
        assert!(budget.take("x".to_owned()).is_some());
    }
}
