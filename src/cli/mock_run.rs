//! `snowglobe mock-run`: runs a script without machines and prints what it asks of them.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::error::{Failed, exit_code, print_to_stderr};
use super::run_options::block_on;
use crate::input_file::{read_json, read_script};
use crate::language::Vocabulary;
use crate::language::check::seeming_machines;
use crate::model::event::{Event, Record};
use crate::report::{Colours, Report, Reports, sanitise};
use crate::runner::{RunnerError, interrupts, wait_until_shown};
use crate::session::{self, Mock};

#[derive(Debug, Args)]
pub struct MockRunCommand {
    /// The script to run.
    #[arg(long, value_name = "FILE.py")]
    script: PathBuf,
    /// The machines [default: every name that is only used as a machine].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    nodes: Option<Vec<String>>,
    /// Answers, as a JSON object: the keys are `method`, `machine.method`, `method: first argument`
    /// or `machine.method: first argument`; a value `{"in turn": [..]}` gives one after another.
    #[arg(long, value_name = "FILE.json")]
    answers: Option<PathBuf>,
    /// Fail the script after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// Calls on standard output, what the script says on standard error.
struct CallDisplay;

impl Report for CallDisplay {
    fn take(&mut self, record: &Record) {
        let line = match &record.event {
            Event::Called {
                machine,
                method,
                arguments,
            } => json!({ "machine": machine, "method": method, "arguments": arguments }),
            Event::Output { text } | Event::Note { text, .. } => {
                print_to_stderr(format_args!("{}", sanitise(text, Colours::Off)));
                return;
            }
            _ => return,
        };
        // A closed stdout is ignored.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

impl MockRunCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let source_map = read_script(&self.script)?;
        let nodes = match &self.nodes {
            Some(nodes) => nodes.clone(),
            None => seeming_machines(source_map.script(), Vocabulary::standard()),
        };
        let mock = Mock {
            nodes,
            vlans: (1..=9).collect(),
            answers: match &self.answers {
                Some(path) => read_json(path)?,
                None => json!({}),
            },
            limit: Duration::from_secs(self.timeout),
        };
        block_on(async {
            let mut interrupts = interrupts()?;
            let reports = Reports::start(Box::new(CallDisplay), None)
                .map_err(Failed::host("cannot start the threads of the reports"))?;
            let source_map = Arc::new(source_map);
            let run = session::mock_run(source_map, mock, &reports.events, &mut interrupts).await;
            let (_, showing) = reports
                .end()
                .map_err(Failed::host("cannot report on the run"))?;
            wait_until_shown(showing, &mut interrupts).await?;
            let (verdict, failure) = run.map_err(RunnerError::from)?;
            if let Some(failure) = failure {
                let text = format!("{}: {}", failure.kind, failure.message);
                print_to_stderr(format_args!("{}", sanitise(&text, Colours::Off)));
            }
            Ok(exit_code(verdict))
        })
    }
}
