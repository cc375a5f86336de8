//! Machines that a script makes from a command, beyond the test's nodes.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use super::{Machine, MachineContext, MachineError, StateRetention};
use crate::backend::MachineFolders;
use crate::model::manifest::Node;
use crate::qemu::QemuBackend;

impl Machine {
    /// A machine that `command`, shell text such as a run script's path or
    /// QEMU's command line, starts. Its private folder is made below `folder`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn from_command(
        command: &str,
        name: &str,
        folder: &Path,
        context: MachineContext,
    ) -> Result<Arc<Self>, MachineError> {
        let file_name = name.replace('/', "-");
        let state_folder = folder.join(format!("vm-state-{file_name}"));
        let start_script = state_folder.join(format!("run-{file_name}-vm"));
        write_start(&state_folder, &start_script, command).map_err(|source| {
            MachineError::File {
                path: state_folder.clone(),
                source,
            }
        })?;
        let node = Node::of_script(start_script.clone());
        let folders = MachineFolders {
            state: state_folder.clone(),
            shared: context.shared_folder.clone(),
        };
        let backend = QemuBackend::new(start_script, &node, folders, context.qemu.clone());
        let context = MachineContext {
            state_folder,
            state_retention: StateRetention::ThisRun,
            ..context
        };
        Ok(Arc::new(Self::new(name, &node, Box::new(backend), context)))
    }
}

fn write_start(folder: &Path, script: &Path, command: &str) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(folder)?;
    // Run scripts of NixOS would take the options from the environment a second time.
    let text = format!("#!/bin/sh\noptions=$QEMU_OPTS\nunset QEMU_OPTS\nexec {command} $options\n");
    fs::write(script, text)?;
    fs::set_permissions(script, fs::Permissions::from_mode(0o700))
}
