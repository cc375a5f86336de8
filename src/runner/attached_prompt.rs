//! The prompt of a script that waits in another process.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::error::RunnerError;
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::reports::stdout_lost;
use super::running_machine::{LIST_LIMIT, ask, connect};
use crate::engine::{AfterTyped, Namespace, remember_terminal, restore_terminal};
use crate::event_bus::Events;
use crate::model::event::Event;
use crate::prompt_output::PromptOutput;
use crate::repl::{NamesReply, NamesRequest, converse};
use crate::report::Reports;
use crate::session::{
    ATTACH_SOCKET, AttachReply, AttachRequest, Interrupt, MOST_LINE_BYTES, attach_line,
    folders_of_all_runs, name_of_run,
};

/// A run that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FoundRun {
    socket: PathBuf,
    /// From the name of its folder.
    name: String,
    test: String,
    /// Whether its script waits for a user.
    waits: bool,
}

/// How the conversation with a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachEnd {
    /// The script continues, or its run ends.
    Left,
    Interrupted,
}

/// Makes the terminal of this process that of a script which waits, until the user leaves the prompt. `wanted` is the
/// name of the run or of its test; `None` is the only script that waits.
///
/// # Errors
/// Returns an error if there is not one, or it does not let this user in.
pub async fn attach_prompt(
    wanted: Option<&str>,
    frontend: &dyn Frontend,
    output: PromptOutput,
    interrupts: &mut Interrupts,
) -> Result<AttachEnd, RunnerError> {
    let run = choose(&found_runs(), wanted)?;
    let failed = |error| RunnerError::host(format!("cannot attach to the run {}", run.name))(error);
    let mut replies = connect(&run.socket).map_err(failed)?;
    match ask(&mut replies, &AttachRequest::Prompt, LIST_LIMIT).map_err(failed)? {
        AttachReply::Prompt => {}
        AttachReply::Refused(message) => return Err(RunnerError::Running(message)),
        _ => return Err(failed(io::ErrorKind::InvalidData.into())),
    }
    replies.get_ref().set_read_timeout(None).map_err(failed)?;
    let requests = replies.get_ref().try_clone().map_err(failed)?;
    let reports = Reports::start(frontend.display(), None).map_err(failed)?;
    let (sender, answers) = channel();
    let events = reports.events.clone();
    // With the events that came right after the reply.
    thread::spawn(move || read_replies(replies, &events, &sender));
    let writer = Arc::new(Mutex::new(requests));
    let names = AttachedNames {
        requests: writer.clone(),
        replies: answers,
        events: reports.events.clone(),
    };
    remember_terminal();
    let mut conversation = tokio::task::spawn_blocking(move || converse(&names, &output));
    let end = loop {
        tokio::select! {
            _ = &mut conversation => break AttachEnd::Left,
            interrupt = interrupts.recv() => match interrupt {
                Some(Interrupt::CtrlC) => send(&writer, &AttachRequest::EndCall),
                _ => break AttachEnd::Interrupted,
            },
        }
    };
    restore_terminal();
    if end == AttachEnd::Left {
        send(&writer, &AttachRequest::Leave);
    }
    let (_, showing) = reports.end().map_err(stdout_lost)?;
    showing.finish().map_err(stdout_lost)?;
    Ok(end)
}

/// Sends a request. That of a run which has ended has no effect.
fn send(requests: &Mutex<UnixStream>, request: &AttachRequest) {
    let mut stream = requests.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(line) = attach_line(request) {
        let _ = stream.write_all(&line);
    }
}

/// Passes events on, and replies to `sender`, until the run ends.
fn read_replies(mut lines: BufReader<UnixStream>, events: &Events, sender: &Sender<NamesReply>) {
    loop {
        let mut line = String::new();
        let read = (&mut lines).take(MOST_LINE_BYTES).read_line(&mut line);
        if read.is_err() || line.is_empty() {
            return;
        }
        match serde_json::from_str(&line) {
            Ok(AttachReply::Event(record)) => events.pass(*record),
            Ok(AttachReply::Names(reply)) => drop(sender.send(reply)),
            _ => {}
        }
    }
}

/// The names of the script, in its process.
struct AttachedNames {
    requests: Arc<Mutex<UnixStream>>,
    replies: Receiver<NamesReply>,
    events: Events,
}

impl AttachedNames {
    fn ask(&self, request: NamesRequest) -> Option<NamesReply> {
        send(&self.requests, &AttachRequest::Names(request));
        self.replies.recv().ok()
    }
}

impl Namespace for AttachedNames {
    fn is_whole(&self, text: &str) -> bool {
        let reply = self.ask(NamesRequest::IsWhole(text.to_owned()));
        !matches!(reply, Some(NamesReply::IsWhole(false)))
    }

    fn names_after(&self, path: &[&str]) -> Vec<String> {
        let path = path.iter().map(|&name| name.to_owned());
        match self.ask(NamesRequest::NamesAfter(path.collect())) {
            Some(NamesReply::NamesAfter(names)) => names,
            _ => Vec::new(),
        }
    }

    fn run(&self, text: &str) -> AfterTyped {
        match self.ask(NamesRequest::Run(text.to_owned())) {
            Some(NamesReply::Ran { leaves: false }) => AfterTyped::Read,
            // The script continues, or its run has ended.
            _ => AfterTyped::Leave,
        }
    }

    fn emit(&self, event: Event) {
        self.events.emit(event);
    }
}

fn found_runs() -> Vec<FoundRun> {
    let folders = folders_of_all_runs();
    folders
        .iter()
        .filter_map(|folder| found_run(folder))
        .collect()
}

/// The run with this folder; `None` if it has ended, or does not answer.
fn found_run(folder: &Path) -> Option<FoundRun> {
    let socket = folder.join(ATTACH_SOCKET);
    let mut run = connect(&socket).ok()?;
    let reply = ask(&mut run, &AttachRequest::Test, LIST_LIMIT).ok()?;
    let AttachReply::Test { name, waits, .. } = reply else {
        return None;
    };
    Some(FoundRun {
        socket,
        name: name_of_run(folder),
        test: name,
        waits,
    })
}

fn choose(runs: &[FoundRun], wanted: Option<&str>) -> Result<FoundRun, RunnerError> {
    let is_wanted = |run: &&FoundRun| match wanted {
        Some(wanted) => run.name == wanted || run.test == wanted,
        None => run.waits,
    };
    let fitting: Vec<&FoundRun> = runs.iter().filter(is_wanted).collect();
    let list = |runs: &[&FoundRun]| {
        let shown = runs
            .iter()
            .map(|run| format!("{} ({})", run.name, run.test));
        shown.collect::<Vec<_>>().join(", ")
    };
    let problem = match (fitting.as_slice(), wanted) {
        ([only], _) => return Ok((*only).clone()),
        ([], Some(wanted)) => format!("no run of a test here is called `{wanted}`"),
        ([], None) => "no script of a test waits here: one does at `breakpoint()`, and with `--on-failure wait`".to_owned(),
        (several, _) => format!("say which of these runs: {}", list(several)),
    };
    Err(RunnerError::Running(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_so_that_there_is_one() {
        let run = |name: &str, test: &str, waits| FoundRun {
            socket: PathBuf::new(),
            name: name.to_owned(),
            test: test.to_owned(),
            waits,
        };
        let runs = [
            run("a1", "web", true),
            run("b2", "web", false),
            run("c3", "db", false),
        ];
        let chosen = |wanted| choose(&runs, wanted);
        assert_eq!(chosen(None).unwrap(), runs[0]);
        assert_eq!(chosen(Some("b2")).unwrap(), runs[1]);
        assert_eq!(chosen(Some("db")).unwrap(), runs[2]);
        let message = |wanted| chosen(wanted).unwrap_err().to_string();
        assert_eq!(
            message(Some("web")),
            "say which of these runs: a1 (web), b2 (web)"
        );
        assert_eq!(message(Some("x")), "no run of a test here is called `x`");
        let none = choose(&runs[1..], None).unwrap_err().to_string();
        assert!(none.starts_with("no script of a test waits here"), "{none}");
    }
}
