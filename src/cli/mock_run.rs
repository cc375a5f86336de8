//! `snowglobe mock-run`: runs a script without machines and prints what it asks of them.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::check::read_script;
use super::conduct::{block_on, exit_code, interrupts, wait_for};
use super::error::Failed;
use super::source::read_json;
use crate::event::{Event, Events, Record};
use crate::language::Vocabulary;
use crate::language::check::seeming_machines;
use crate::report::{self, Report};
use crate::session::{self, Mock};

#[derive(Debug, Args)]
pub struct MockRunCommand {
    /// The script.
    #[arg(long, value_name = "FILE.py")]
    script: PathBuf,
    /// Its machines [default: every name that is used only as one].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    nodes: Option<Vec<String>>,
    /// Answers, as a JSON object: the keys are `method`, `machine.method`, `method: first argument`
    /// or `machine.method: first argument`; a value `{"in turn": [..]}` gives one after another.
    #[arg(long, value_name = "FILE.json")]
    answers: Option<PathBuf>,
    /// How long the script may take, in seconds.
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
                eprintln!("{text}");
                return;
            }
            _ => return,
        };
        // Whoever reads may leave early.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

impl MockRunCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let origin = read_script(&self.script)?;
        let nodes = match &self.nodes {
            Some(nodes) => nodes.clone(),
            None => seeming_machines(origin.script(), Vocabulary::standard()),
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
            let (sender, receiver) = channel();
            let events = Events::new(sender);
            let reports = report::spawn(receiver, vec![Box::new(CallDisplay)])?;
            let run = session::mock_run(Arc::new(origin), mock, &events, &mut interrupts()?).await;
            drop(events);
            wait_for(&reports);
            let (verdict, failure) = run?;
            if let Some(failure) = failure {
                eprintln!("{}: {}", failure.kind, failure.message);
            }
            Ok(ExitCode::from(exit_code(verdict)))
        })
    }
}
