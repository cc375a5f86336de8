//! Interactions of the user with a script: at its end, and at its breakpoints.

use std::sync::Arc;

use rustpython_vm::builtins::{PyDictRef, PyModule, PyStrRef};
use rustpython_vm::function::ArgMapping;
use rustpython_vm::scope::Scope;
use rustpython_vm::{PyRef, PyResult, VirtualMachine};

use super::mode::Interaction;
use super::state::EngineState;
use super::terminal::remember_terminal;
use crate::model::event::{Excerpt, Level};

/// How many lines before a breakpoint, and after it, are shown.
const AROUND: usize = 4;

/// Opens a prompt among the names of a scope.
pub(super) fn interact(
    vm: &VirtualMachine,
    scope: &Scope,
    state: &EngineState,
    interaction: &dyn Interaction,
) {
    by_hand(state, || interaction.run(vm, scope, state));
}

/// Does `work`, which the user ends at the terminal.
pub(super) fn by_hand(state: &EngineState, work: impl FnOnce()) {
    remember_terminal();
    state.prompting.send_replace(true);
    work();
    state.prompting.send_replace(false);
}

/// Adds the function that opens a prompt among the names at a line of the script, if the user has a terminal. The script
/// goes on when the prompt is left.
pub(super) fn add_breakpoints(
    vm: &VirtualMachine,
    native: &PyRef<PyModule>,
    state: &Arc<EngineState>,
    prompt: Option<Arc<dyn Interaction>>,
) -> PyResult<()> {
    let state = state.clone();
    let stop = move |locals: PyDictRef,
                     globals: PyDictRef,
                     file: PyStrRef,
                     line: usize,
                     vm: &VirtualMachine| {
        let place = place(&state, &file.to_string_lossy(), line);
        if let Some(prompt) = &prompt {
            stop_at(vm, &state, [locals, globals], &place, prompt.as_ref());
        } else {
            let text = format!("breakpoint at {place}: there is no terminal, the test continues");
            state.note(Level::Warning, &text);
        }
    };
    native.set_attr("stop_at", vm.new_function("stop_at", stop), vm)
}

fn stop_at(
    vm: &VirtualMachine,
    state: &EngineState,
    [locals, globals]: [PyDictRef; 2],
    place: &str,
    prompt: &dyn Interaction,
) {
    state.print_rest();
    state.note(Level::Info, &format!("breakpoint at {place}"));
    state.note(Level::Info, "Ctrl-D continues the script");
    // The calls that the user makes are in no recording.
    if let Some(replay) = state.replay() {
        vm.allow_threads(|| state.handle.block_on(replay.end_recording()));
    }
    let scope = Scope::with_builtins(Some(ArgMapping::from_dict_exact(locals)), globals, vm);
    let interact = || interact(vm, &scope, state, prompt);
    state.interrupter.while_disarmed(interact);
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
