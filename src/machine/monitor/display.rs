//! The display of a machine: pictures of it, and the text that they show.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::MachineMonitor;
use crate::folders::private_folder_in;
use crate::machine::MachineError;
use crate::machine::error::at;
use crate::model::event::Event;
use crate::ocr::{self, Picture};
use crate::output_folder::SavedFile;

impl MachineMonitor {
    /// Saves what the display shows below the output folder, with `.png` added
    /// to a name without an ending.
    ///
    /// # Errors
    /// Returns an error if the machine is off or has no display, or the name leads out of the output folder.
    pub async fn screenshot(&self, name: &str) -> Result<(), MachineError> {
        self.life
            .step(format!("making screenshot {name}"), async {
                let mut name = PathBuf::from(name);
                if name.extension().is_none() {
                    name.set_extension("png");
                }
                let path = self.picture(&name).await?;
                self.life.context.events.emit(Event::FileSaved { path });
                Ok(())
            })
            .await
    }

    /// Saves what the display shows, without an event; returns the path.
    ///
    /// # Errors
    /// As for [`MachineMonitor::screenshot`].
    pub async fn picture(&self, name: &Path) -> Result<PathBuf, MachineError> {
        let relative = self.life.in_output(name)?;
        let output = &self.life.context.output_folder;
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
    pub(in crate::machine) async fn screen(&self) -> Result<(TempDir, PathBuf), MachineError> {
        let here = self.life.state_folder();
        let folder = private_folder_in(here, "screen-").map_err(|error| at(here, error))?;
        let screen = folder.path().join("screen.png");
        self.save_screen(&screen).await?;
        Ok((folder, screen))
    }

    async fn save_screen(&self, path: &Path) -> Result<(), MachineError> {
        let running = self.life.running()?;
        let monitor = self.qmp(&running).await?;
        self.life
            .guard(&running, async { Ok(monitor.screenshot(path).await?) })
            .await
    }

    /// The text on the display, as far as tesseract can read it: once for each
    /// of these ways to look at it.
    ///
    /// # Errors
    /// Returns an error if the machine is off or has no display, or tesseract is missing or fails.
    pub async fn screen_text(&self, pictures: &[Picture]) -> Result<Vec<String>, MachineError> {
        self.life
            .step("reading the display".to_owned(), async {
                let (_folder, screen) = self.screen().await?;
                ocr::read(&screen, pictures).await.map_err(|error| {
                    self.life
                        .unable(format!("cannot have its display read: {error}"))
                })
            })
            .await
    }
}
