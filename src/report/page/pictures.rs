//! Pictures of displays, as a strip to scrub through. They are in the page itself.

use std::cell::Cell;
use std::fs;
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
    let all: Vec<&Screen> = timeline
        .screens
        .iter()
        .filter(|screen| screen.machine == machine)
        .collect();
    let step = all.len().div_ceil(MOST_PICTURES).max(1);
    // The last one shows how it ended.
    let shown = all.iter().rev().step_by(step);
    let mut pictures: Vec<(f64, String)> = shown
        .filter_map(|screen| {
            Some((
                screen.time_s - timeline.begin_s,
                budget.take(read(folder, &screen.path)?)?,
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

/// A picture as an address that holds it; its path is no reason to read elsewhere.
fn read(folder: &Path, path: &Path) -> Option<String> {
    let path = folder.join(SCREENS).join(path.file_name()?);
    let metadata = fs::symlink_metadata(&path).ok()?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return None;
    }
    let bytes = fs::read(&path)
        .ok()
        .filter(|bytes| bytes.starts_with(PNG))?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
