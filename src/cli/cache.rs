//! `snowglobe cache`: the checkpoints of earlier runs, and how much room they take.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::error::Failed;
use super::write_stdout;
use crate::checkpoint::{CheckpointStore, Summary};
use crate::report::age;

#[derive(Debug, Args)]
pub struct CacheCommand {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Remove all checkpoints except those of runs in progress.
    Clear,
}

impl CacheCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let store = CheckpointStore::own().ok_or_else(|| {
            Failed::Usage("there is no cache folder: set HOME or XDG_CACHE_HOME".to_owned())
        })?;
        let text = match self.action {
            Some(Action::Clear) => {
                let removed = store
                    .clear()
                    .map_err(Failed::host_at("cannot remove all of", store.folder()))?;
                format!("{} removed\n", size(removed))
            }
            None => list(&store)?,
        };
        write_stdout(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn list(store: &CheckpointStore) -> Result<String, Failed> {
    let summaries = store
        .summaries()
        .map_err(Failed::host_at("cannot read", store.folder()))?;
    let total: u64 = summaries.iter().map(|summary| summary.bytes).sum();
    let mut lines: Vec<String> = summaries.iter().map(describe).collect();
    lines.push(format!(
        "{} of at most {} in {}\n",
        size(total),
        size(store.bound_bytes()),
        store.folder().display()
    ));
    Ok(lines.join("\n"))
}

fn describe(summary: &Summary) -> String {
    let checkpoints = match summary.checkpoints {
        1 => "1 checkpoint".to_owned(),
        count => format!("{count} checkpoints"),
    };
    let used = summary.used.elapsed().unwrap_or_default();
    format!(
        "{}: {checkpoints}, {}, used {} ago",
        summary.test,
        size(summary.bytes),
        age(used.as_secs())
    )
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
