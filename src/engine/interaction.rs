//! Interactions of the user with a script: at its end, and at its breakpoints.

use std::sync::Arc;

use rustpython_vm::builtins::{PyDictRef, PyModule, PyStrRef};
use rustpython_vm::function::ArgMapping;
use rustpython_vm::scope::Scope;
use rustpython_vm::{PyRef, PyResult, VirtualMachine};

use super::embedded::Embedded;
use super::ended::Ended;
use super::mode::{Interaction, Namespace, RunMode};
use super::namespace::EmbeddedNames;
use super::prompting::Prompting;
use super::state::EngineState;
use super::terminal::remember_terminal;
use crate::model::event::{Event, Excerpt, Failure, Level};

/// The name of the checkpoint at a place where the script stops for its user.
const HERE: &str = "here";

/// How many lines before a breakpoint, and after it, are shown.
const AROUND: usize = 4;

/// Does `work`, which the user ends at the terminal.
pub fn by_hand(state: &EngineState, work: impl FnOnce()) {
    remember_terminal();
    state.set_prompting(Prompting::AtTerminal);
    work();
    state.set_prompting(Prompting::No);
}

/// Asks the machines of a script that was not interrupted whether they still are, where its calls were answered from an
/// earlier run; until `interrupted`.
pub(super) fn settle<T>(state: &EngineState, ended: &Ended, interrupted: impl Future<Output = T>) {
    let Some(replay) = state.replay() else {
        return;
    };
    if matches!(ended, Ended::Interrupted(_)) {
        return;
    }
    state.handle.block_on(async {
        tokio::select! {
            () = replay.settle() => {}
            _ = interrupted => {}
        }
    });
}

/// Gives the user what the mode has at the end of a script, or in its place; returns the end of the run. `wait` does
/// work that other threads of the script go on during.
pub(super) fn conclude(
    names: &dyn Namespace,
    state: &EngineState,
    mode: &RunMode,
    ended: Ended,
    wait: impl Fn(&mut dyn FnMut()),
) -> Ended {
    match (mode, ended) {
        (RunMode::Prompt(interaction), Ended::Passed) => {
            interaction.run(names, state);
            Ended::SessionClosed
        }
        (RunMode::OneShot, Ended::Passed) => Ended::SessionClosed,
        (mode, Ended::Failed(failure)) => {
            stay(names, state, mode, &failure, wait);
            Ended::Failed(failure)
        }
        (_, ended) => ended,
    }
}

/// Keeps the machines of a failed script for the user, if that is wanted.
fn stay(
    names: &dyn Namespace,
    state: &EngineState,
    mode: &RunMode,
    failure: &Failure,
    wait: impl Fn(&mut dyn FnMut()),
) {
    if matches!(mode, RunMode::Script | RunMode::OneShot) {
        return;
    }
    state.emit(Event::CallFailed {
        failure: Box::new(failure.clone()),
    });
    wait(&mut || end_recording(state));
    match (mode, state.host()) {
        (RunMode::PromptOnFailure(interaction), _) => interaction.run(names, state),
        (RunMode::ShellOnFailure, Some(host)) => by_hand(state, || {
            wait(&mut || state.handle.block_on(host.attach_shell(failure)));
        }),
        _ => {}
    }
}

/// Adds the function that opens a prompt among the names at a line of the script, if the user has a terminal. The script
/// goes on when the prompt is left.
pub(super) fn add_breakpoints(
    vm: &VirtualMachine,
    native: &PyRef<PyModule>,
    embedded: &Arc<Embedded>,
    prompt: Option<Arc<dyn Interaction>>,
) -> PyResult<()> {
    let embedded = embedded.clone();
    let stop = move |locals: PyDictRef,
                     globals: PyDictRef,
                     file: PyStrRef,
                     line: usize,
                     vm: &VirtualMachine| {
        stop_at(
            &embedded.state,
            &file.to_string_lossy(),
            line,
            prompt.as_ref(),
            |prompt| {
                vm.allow_threads(|| hand_over(&embedded.state));
                let locals = Some(ArgMapping::from_dict_exact(locals));
                let scope = &Scope::with_builtins(locals, globals, vm);
                let names = EmbeddedNames {
                    vm,
                    scope,
                    embedded: &embedded,
                };
                let interact = || prompt.run(&names, &embedded.state);
                embedded.interrupter.while_disarmed(interact);
            },
        );
    };
    native.set_attr("stop_at", vm.new_function("stop_at", stop), vm)
}

/// Has `open` open the prompt of a breakpoint, if there is one.
pub(super) fn stop_at(
    state: &EngineState,
    file: &str,
    line: usize,
    prompt: Option<&Arc<dyn Interaction>>,
    open: impl FnOnce(&dyn Interaction),
) {
    let place = place(state, file, line);
    let Some(prompt) = prompt else {
        let text = format!("breakpoint at {place}: there is no terminal, the test continues");
        state.note(Level::Warning, &text);
        return;
    };
    state.print_rest();
    state.note(Level::Info, &format!("breakpoint at {place}"));
    state.note(Level::Info, "Ctrl-D continues the script");
    open(prompt.as_ref());
}

/// The calls that the user makes are in no recording.
pub(super) fn end_recording(state: &EngineState) {
    if let Some(replay) = state.replay() {
        state.handle.block_on(replay.end_recording());
    }
}

/// Gives the machines to the user of a breakpoint. Where the script stops for its user, they run by then, and a
/// checkpoint of them is taken.
pub(super) fn hand_over(state: &EngineState) {
    let Some(replay) = state.replay() else {
        return;
    };
    state.handle.block_on(async {
        if state.script.stop.is_some() {
            replay.settle().await;
        }
        replay.end_recording().await;
        if state.script.stop.is_some() {
            replay.take_checkpoint(HERE).await;
        }
    });
}

/// Returns the file and the line of a place in the script, with the lines around it.
fn place(state: &EngineState, file: &str, line: usize) -> String {
    let Some(source_map) = state.sources.find(file) else {
        return format!("{file}:{line}");
    };
    let offset = |line: usize| source_map.offset(line, 1);
    let last = source_map.script().lines().count();
    let excerpt = source_map.excerpt(offset(line)..offset(line));
    let Excerpt { file, start, .. } = excerpt;
    let name = file.map_or_else(
        || "the script".to_owned(),
        |file| file.display().to_string(),
    );
    let shown = line.saturating_sub(AROUND).max(1)..=(line + AROUND).min(last);
    let lines = shown.map(|number| {
        let text = source_map.script().lines().nth(number - 1);
        let mark = if number == line { ">" } else { " " };
        let number = start.line + number - line;
        format!("\n{mark} {number:>4} {}", text.unwrap_or_default())
    });
    format!("{name}:{}{}", start.line, lines.collect::<String>())
}
