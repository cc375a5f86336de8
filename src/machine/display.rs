//! The display of a machine: pictures of it, and the text that they show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::files::at;
use super::{Machine, MachineError};
use crate::folders::private_folder_in;
use crate::model::event::Event;
use crate::ocr::{self, Picture};
use crate::output_folder::SavedFile;

impl Machine {
    /// Saves what the display shows below the output folder, with `.png` added
    /// to a name without an ending.
    ///
    /// # Errors
    /// When the machine is off or has no display, or the name leads out of the
    /// output folder.
    pub async fn screenshot(self: &Arc<Self>, name: &str) -> Result<(), MachineError> {
        self.step(format!("making screenshot {name}"), async {
            let mut name = PathBuf::from(name);
            if name.extension().is_none() {
                name.set_extension("png");
            }
            let path = self.picture(&name).await?;
            self.context.events.emit(Event::FileSaved { path });
            Ok(())
        })
        .await
    }

    /// Saves what the display shows, without an event; returns the path.
    ///
    /// # Errors
    /// As for [`Machine::screenshot`].
    pub async fn picture(self: &Arc<Self>, name: &Path) -> Result<PathBuf, MachineError> {
        let relative = self.in_output(name)?;
        let output = &self.context.output_folder;
        // QEMU follows links: it writes to a folder that no guest has put any in.
        let (folder, screen) = self.screen().await?;
        let picture = std::fs::read(&screen).map_err(|error| at(&screen, error))?;
        drop(folder);
        let path = output.join(&relative);
        SavedFile::at(output, &relative)
            .and_then(|file| file.folder.write(&file.name, &picture))
            .map_err(|error| at(&path, error))?;
        Ok(path)
    }

    /// A picture of the display in a folder that goes away.
    pub(super) async fn screen(&self) -> Result<(TempDir, PathBuf), MachineError> {
        let here = self.state_folder();
        let folder = private_folder_in(here, "screen-").map_err(|error| at(here, error))?;
        let screen = folder.path().join("screen.png");
        self.save_screen(&screen).await?;
        Ok((folder, screen))
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
            let (_folder, screen) = self.screen().await?;
            ocr::read(&screen, pictures)
                .await
                .map_err(|error| self.unable(format!("cannot have its display read: {error}")))
        })
        .await
    }
}
