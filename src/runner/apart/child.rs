//! The process of a test: reads its input, runs it, and prints its events.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::messages::{FromTest, ToTest};
use crate::event_bus::{Events, Message};
use crate::output_folder;
use crate::report::OutputStream;
use crate::runner::error::RunnerError;
use crate::runner::interrupts::Interrupts;
use crate::session;

/// The hidden subcommand that [`run_test_process`] serves.
pub const TEST_PROCESS: &str = "test-process";

/// Runs the test whose input is on standard input. What scripts print goes to standard error.
///
/// # Errors
/// Returns an error if there is no input, or its results cannot be printed.
pub async fn run_test_process(interrupts: &mut Interrupts) -> Result<(), RunnerError> {
    let unreadable = RunnerError::host("cannot read the input of a test");
    let ToTest { input, start_ns } =
        serde_json::from_reader(io::stdin()).map_err(|error| unreadable(error.into()))?;
    // Before the script can move it.
    output_folder::claim(&input.output_folder)
        .map_err(RunnerError::host("cannot open the output folder"))?;
    let (sender, receiver) = channel();
    let events = Events::since(start_ns, sender);
    let waiting = events.waiting();
    // Before the script can print.
    let stdout = OutputStream::exclusive();
    let printer = thread::Builder::new()
        .name("events".to_owned())
        .spawn(move || print_events(&receiver, &waiting, stdout))
        .map_err(RunnerError::host("cannot start a thread"))?;
    let result = session::run(&input, &events, interrupts).await;
    events.end();
    let mut stdout = printer.join().map_err(|_| {
        RunnerError::host("cannot print events")(io::Error::other("a thread has panicked"))
    })?;
    let end = match result {
        Ok(outcome) => FromTest::Ended(outcome),
        Err(error) => FromTest::Failed(error.to_string()),
    };
    print_line(&mut stdout, &end);
    stdout
        .finish()
        .map_err(RunnerError::host("cannot print the end of a test"))
}

fn print_events(
    messages: &Receiver<Message>,
    waiting: &AtomicUsize,
    mut stdout: OutputStream,
) -> OutputStream {
    for message in messages {
        let Message::Record(record) = message else {
            break;
        };
        print_line(&mut stdout, &FromTest::Event(record));
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
    stdout
}

fn print_line(stdout: &mut OutputStream, line: &FromTest) {
    if let Ok(mut text) = serde_json::to_string(line) {
        text.push('\n');
        stdout.print(text.as_bytes());
    }
}
