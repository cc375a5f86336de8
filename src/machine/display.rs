//! The display of a machine: pictures of it, and the text that they show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::at;
use super::{Machine, MachineError};
use crate::event::Event;
use crate::ocr::{self, Picture};

impl Machine {
    /// Saves what the display shows: a bare name goes into the output folder,
    /// with `.png` added where it has no ending.
    ///
    /// # Errors
    /// When the machine is off or has no display.
    pub async fn screenshot(self: &Arc<Self>, name: &str) -> Result<(), MachineError> {
        self.step(format!("making screenshot {name}"), async {
            let mut path = if name.contains('/') {
                PathBuf::from(name)
            } else {
                self.in_output(name)?
            };
            if path.extension().is_none() {
                path.set_extension("png");
            }
            let path = std::path::absolute(&path).map_err(|error| at(&path, error))?;
            self.save_screen(&path).await?;
            self.surroundings.events.tell(Event::FileSaved { path });
            Ok(())
        })
        .await
    }

    /// Saves what the display shows, without a word about it; gives where.
    ///
    /// # Errors
    /// When the machine is off or has no display.
    pub async fn picture(self: &Arc<Self>, name: &str) -> Result<PathBuf, MachineError> {
        let path = self.in_output(name)?;
        self.save_screen(&path).await?;
        Ok(path)
    }

    async fn save_screen(&self, path: &Path) -> Result<(), MachineError> {
        let running = self.running()?;
        let monitor = self.monitor(&running).await?;
        self.guard(&running, async { Ok(monitor.screenshot(path).await?) })
            .await
    }

    /// The text on the display, as far as tesseract can read it: once for each
    /// of these ways to look at it.
    ///
    /// # Errors
    /// When the machine is off or has no display, or tesseract is missing or fails.
    pub async fn screen_text(
        self: &Arc<Self>,
        pictures: &[Picture],
    ) -> Result<Vec<String>, MachineError> {
        self.step("reading the display".to_owned(), async {
            let folder = tempfile::tempdir_in(self.state_folder())
                .map_err(|error| at(self.state_folder(), error))?;
            let screen = folder.path().join("screen.png");
            self.save_screen(&screen).await?;
            ocr::read(&screen, pictures)
                .await
                .map_err(|error| self.unable(format!("cannot have its display read: {error}")))
        })
        .await
    }
}
