//! The prompt: reads a statement, and has it run among the script's names.

use std::borrow::Cow;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console::measure_text_width;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, Helper};

use crate::engine::{AfterTyped, EngineState, Interaction, Namespace, by_hand};
use crate::folders;
use crate::model::event::{Event, Level};
use crate::prompt_output::PromptOutput;

const PROMPT: &str = ">>> ";

/// How much of what was typed is kept for other sessions.
const HISTORY_LINES: usize = 2000;

/// How long what was said before may take to be shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// A prompt, whose lines appear above what is typed.
#[derive(Debug, Default)]
pub struct Prompt(pub PromptOutput);

impl Interaction for Prompt {
    /// Reads and runs statements until Ctrl-D or `exit()`.
    fn run(&self, names: &dyn Namespace, state: &EngineState) {
        by_hand(state, || converse(names, &self.0));
    }
}

/// Reads and runs statements until Ctrl-D or `exit()`, on the terminal of this process.
pub fn converse(names: &dyn Namespace, output: &PromptOutput) {
    let mut editor = match open(names) {
        Ok(editor) => editor,
        Err(error) => {
            names.emit(Event::note(
                Level::Error,
                format!("there is no prompt: {error}"),
            ));
            return;
        }
    };
    let history = history_file();
    if let Some(file) = &history {
        // The first session has none.
        let _ = editor.load_history(file);
    }
    loop {
        names.emit(Event::Prompting);
        output.wait_for_prompt(PATIENCE);
        let typed = Typed::default();
        if let Some(completion) = editor.helper_mut() {
            completion.typed = typed.clone();
        }
        let read = || editor.readline(PROMPT);
        let text = match output.while_reading(move |line| typed.print_above(line), read) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => {
                names.emit(Event::note(
                    Level::Error,
                    format!("nothing can be read: {error}"),
                ));
                break;
            }
        };
        if text.trim().is_empty() {
            continue;
        }
        let _ = editor.add_history_entry(text.as_str());
        if let Some(file) = &history {
            // A session without a history is one all the same.
            let _ = editor.append_history(file);
        }
        if names.run(&text) == AfterTyped::Leave {
            break;
        }
    }
}

fn open(names: &dyn Namespace) -> rustyline::Result<Editor<CompletionNames<'_>, FileHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES)?
        .history_ignore_dups(true)?
        .completion_type(rustyline::CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(CompletionNames {
        names,
        typed: Typed::default(),
    }));
    Ok(editor)
}

/// `$XDG_STATE_HOME/snowglobe/history`, its folder made; None without a home folder.
fn history_file() -> Option<PathBuf> {
    let state = folders::own(folders::UserFolder::State)?;
    std::fs::create_dir_all(&state).ok()?;
    Some(state.join("history"))
}

/// The names of the script that the prompt can complete.
struct CompletionNames<'a> {
    names: &'a dyn Namespace,
    typed: Typed,
}

/// Where the last dotted name of a line begins.
fn last_name(line: &str) -> usize {
    let before = line.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
    before.len()
}

impl Completer for CompletionNames<'_> {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let line = &line[..position];
        let whole = &line[last_name(line)..];
        let mut path: Vec<&str> = whole.split('.').collect();
        let begun = path.pop().unwrap_or_default();
        if whole.is_empty() {
            return Ok((position, Vec::new()));
        }
        let mut found = self.names.names_after(&path);
        found.retain(|name| name.starts_with(begun));
        // What is private is for who asks for it.
        if !begun.starts_with('_') {
            found.retain(|name| !name.starts_with('_'));
        }
        found.sort_unstable();
        found.dedup();
        Ok((position - begun.len(), found))
    }
}

impl Validator for CompletionNames<'_> {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if self.names.is_whole(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Highlighter for CompletionNames<'_> {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if console::colors_enabled() {
            Cow::Owned(console::style(prompt).green().bold().to_string())
        } else {
            Cow::Borrowed(prompt)
        }
    }
}

/// The text that the user is typing, and the cursor in it. Clones share both.
#[derive(Debug, Clone, Default)]
struct Typed(Arc<Mutex<(String, usize)>>);

impl Typed {
    fn note(&self, text: &str, position: usize) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (text.to_owned(), position);
    }

    /// Puts a line on the terminal above the prompt, and the cursor back to
    /// where the editor takes it to be.
    fn print_above(&self, line: &str) {
        let typed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut output = std::io::stdout().lock();
        // A terminal that is gone shows nothing.
        let _ = write!(output, "{}", redrawn(line, &typed.0, typed.1));
        let _ = output.flush();
    }
}

/// Erases what is being typed, prints a line, and what is being typed anew.
fn redrawn(line: &str, text: &str, position: usize) -> String {
    let (before, after) = text.split_at(position);
    let rows_up = before.matches('\n').count();
    let row = before.rsplit('\n').next().unwrap_or_default();
    let column = measure_text_width(row) + if rows_up == 0 { PROMPT.len() } else { 0 };
    let up = |rows: usize| match rows {
        0 => String::new(),
        rows => format!("\x1b[{rows}A"),
    };
    format!(
        "{}\r\x1b[J{line}\n{PROMPT}{text}{}\r\x1b[{column}C",
        up(rows_up),
        up(after.matches('\n').count())
    )
}

impl Hinter for CompletionNames<'_> {
    type Hint = String;

    /// Asked after each key: this is how the text is known.
    fn hint(&self, line: &str, position: usize, _: &Context<'_>) -> Option<String> {
        self.typed.note(line, position);
        None
    }
}

impl Helper for CompletionNames<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_of_a_line_is_completed() {
        assert_eq!(last_name("x = server.succ"), 4);
        assert_eq!(last_name("f(a.b.c"), 2);
        assert_eq!(last_name("server"), 0);
        assert_eq!(last_name("f("), 2);
    }

    #[test]
    fn lines_appear_above_what_is_typed() {
        assert_eq!(
            redrawn("news", "f(1)", 2),
            "\r\x1b[Jnews\n>>> f(1)\r\x1b[6C"
        );
        assert_eq!(
            redrawn("news", "if x:\n  y\nz", 8),
            "\x1b[1A\r\x1b[Jnews\n>>> if x:\n  y\nz\x1b[1A\r\x1b[2C"
        );
    }
}
