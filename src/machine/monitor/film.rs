//! Pictures of a display whenever it shows something else: what a report has to scrub through.

use std::path::Path;
use std::time::{Duration, Instant};

use super::MachineMonitor;
use crate::backend::Ability;
use crate::machine::MachineError;
use crate::model::event::Event;
use crate::output_folder::{SCREENS, SavedFile};

/// How often to look at a display at most.
const PAUSE: Duration = Duration::from_secs(1);

/// QEMU does nothing else while it draws: looking takes at most this part of its time.
const PART_OF_TIME: u32 = 20;

/// More pictures than anyone looks at.
const MOST_PICTURES: usize = 600;

impl MachineMonitor {
    /// Takes pictures of the display into the output folder until the caller has enough. Returns if the machine has no
    /// display, or the folder cannot take more.
    pub async fn film(&self) {
        if self.life.require(Ability::Display).is_err() {
            return;
        }
        // A cursor that blinks shows the last two in turn.
        let mut last = [Vec::new(), Vec::new()];
        let mut taken = 0;
        let mut pause = PAUSE;
        while taken < MOST_PICTURES {
            tokio::time::sleep(pause).await;
            if !self.life.is_up() {
                continue;
            }
            let begin = Instant::now();
            let Ok(picture) = self.picture_bytes().await else {
                if self.life.is_up() {
                    // It has none, or its monitor is gone.
                    return;
                }
                continue;
            };
            pause = PAUSE.max(begin.elapsed() * PART_OF_TIME);
            if last.contains(&picture) {
                continue;
            }
            taken += 1;
            if self.keep_picture(taken, &picture).is_err() {
                return;
            }
            last.rotate_left(1);
            last[1] = picture;
        }
    }

    async fn picture_bytes(&self) -> Result<Vec<u8>, MachineError> {
        let (_folder, screen) = self.screen().await?;
        std::fs::read(&screen).map_err(|error| crate::machine::error::at(&screen, error))
    }

    fn keep_picture(&self, number: usize, picture: &[u8]) -> std::io::Result<()> {
        let name = format!("{}-{number:04}.png", self.life.name());
        let path = Path::new(SCREENS).join(name);
        let file = SavedFile::at(&self.life.context.output_folder, &path)?;
        file.folder.write(&file.name, picture)?;
        let machine = self.life.name().to_owned();
        self.life
            .context
            .events
            .emit(Event::ScreenTaken { machine, path });
        Ok(())
    }
}
