//! `snowglobe doctor`: what this host has for tests, and what it lacks.

use std::process::ExitCode;

use clap::Args;

use super::error::{Failed, code};
use super::write_stdout;
use crate::runner::{HostPart, Need, PartState, administrator_request, examine_host, is_unfit};

#[derive(Debug, Args)]
pub struct DoctorCommand {}

impl DoctorCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let Self {} = self;
        let parts = examine_host();
        let text: String = parts.iter().map(describe).collect();
        let text = text + &administrator_request(&parts).unwrap_or_default();
        write_stdout(&text)?;
        Ok(ExitCode::from(if is_unfit(&parts) {
            code::HOST_FAILED
        } else {
            code::PASSED
        }))
    }
}

fn describe(part: &HostPart) -> String {
    let name = part.name;
    match &part.state {
        PartState::Present(found) => format!("ok       {name}: {found}\n"),
        PartState::Missing {
            found,
            remedy,
            need,
            ..
        } => {
            let need = match need {
                Need::Every => "all tests",
                Need::Some(what) => what,
            };
            format!("missing  {name}: {found}\n         for {need}: {remedy}\n")
        }
    }
}
