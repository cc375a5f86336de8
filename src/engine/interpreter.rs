//! Runs a script: an interpreter with the test API, on its own thread.

use std::process;
use std::sync::Arc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustpython::InterpreterBuilderExt;
use rustpython_vm::builtins::{PyBaseExceptionRef, PyCode};
use rustpython_vm::scope::Scope;
use rustpython_vm::signal::user_signal_channel;
use rustpython_vm::{
    AsObject, Interpreter, InterpreterBuilder, PyRef, PyResult, Settings, VirtualMachine,
};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::cancellation::Cancellations;
use super::compile::compile_script;
use super::describe::describe;
use super::exceptions::is_api_exception;
use super::input::Script;
use super::interaction::{by_hand, interact};
use super::interrupt::Interrupter;
use super::mode::{Interaction, RunMode};
use super::native::install;
use super::sources::SCRIPT_NAME;
use super::state::EngineState;
use super::values::to_json;
use crate::model::event::{Event, Failure};
use crate::replay::Replay;

/// Python's recursion is the stack's here: room for deep ones.
const STACK_BYTES: usize = 256 << 20;

/// How a script ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    Passed,
    /// A prompt ran instead, and was closed.
    SessionClosed,
    Failed(Box<Failure>),
    /// By an interrupt from outside, at this place in the script.
    Interrupted(Box<Failure>),
}

/// A running script.
#[derive(Debug)]
pub struct Engine {
    pub interrupter: Interrupter,
    /// Whether the user is at a prompt.
    pub prompting: watch::Receiver<bool>,
    pub ended: oneshot::Receiver<Ended>,
}

impl Engine {
    /// Starts a script whose calls go to `replay`, which it lets go of at its end. `breakpoints` is the prompt at each of
    /// them; `None` if the user has no terminal.
    /// The calls run on the runtime that this function is called from.
    ///
    /// # Errors
    /// Returns an error if the system has no thread to give.
    pub async fn start(
        script: Script,
        mode: RunMode,
        breakpoints: Option<Arc<dyn Interaction>>,
        replay: Arc<Replay>,
    ) -> std::io::Result<Self> {
        let handle = Handle::current();
        let (tell_ready, ready) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        thread::Builder::new()
            .name("script".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let ended = run(script, &mode, breakpoints, replay, handle, |state| {
                    let _ =
                        tell_ready.send((state.interrupter.clone(), state.prompting.subscribe()));
                });
                let _ = tell_ended.send(ended);
            })?;
        let (interrupter, prompting) = ready
            .await
            .map_err(|_| std::io::Error::other("the script engine did not start"))?;
        Ok(Self {
            interrupter,
            prompting,
            ended,
        })
    }
}

fn run(
    script: Script,
    mode: &RunMode,
    breakpoints: Option<Arc<dyn Interaction>>,
    replay: Arc<Replay>,
    handle: Handle,
    tell_ready: impl FnOnce(&EngineState),
) -> Ended {
    let begun_as = process::id();
    let (sender, receiver) = user_signal_channel();
    let interpreter = InterpreterBuilder::new()
        .settings(settings())
        .init_stdlib()
        .add_frozen_modules(rustpython_vm::py_freeze!(dir = "../language/api"))
        .init_hook(move |vm| vm.set_user_signal_channel(receiver))
        .interpreter();
    let cancellations = Arc::new(Cancellations::default());
    let interrupter = Interrupter::for_this_thread(sender, cancellations.clone());
    let state = Arc::new(EngineState::new(
        script,
        replay,
        handle,
        cancellations,
        interrupter,
    ));
    tell_ready(&state);
    let ended = interpreter.enter(|vm| match prepare(vm, &state, breakpoints) {
        Ok(scope) => {
            if !matches!(mode, RunMode::Script) {
                state.interrupter.set_begun();
            }
            execute(vm, &scope, &state, mode)
        }
        Err(exception) => ended_by(vm, &exception, &state),
    });
    state.interrupter.set_begun();
    if process::id() != begun_as {
        // A process that the script forked: the end is not its to make.
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
    finish(interpreter, &state);
    ended
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.utf8_mode = 1;
    // Ctrl-C is this program's: see `Interrupter`.
    settings.install_signal_handlers = false;
    settings.ignore_environment = true;
    settings.isolated = true;
    settings.import_site = false;
    settings.user_site_directory = false;
    settings.write_bytecode = false;
    settings.argv = vec![SCRIPT_NAME.to_owned()];
    settings
}

/// Installs the test API; returns the script's globals.
fn prepare(
    vm: &VirtualMachine,
    state: &Arc<EngineState>,
    breakpoints: Option<Arc<dyn Interaction>>,
) -> PyResult<Scope> {
    let names = install(vm, state, breakpoints)?;
    let scope = vm.new_scope_with_main()?;
    scope
        .globals
        .as_object()
        .to_owned()
        .get_attr("update", vm)?
        .call((names,), vm)?;
    Ok(scope)
}

fn execute(vm: &VirtualMachine, scope: &Scope, state: &Arc<EngineState>, mode: &RunMode) -> Ended {
    let code = match compile_script(vm, state) {
        Ok(code) => code,
        Err(exception) => return ended_by(vm, &exception, state),
    };
    state.keep_compiled(code.clone(), scope.clone());
    if let RunMode::Prompt(interaction) = mode {
        interact(vm, scope, state, interaction.as_ref());
        return Ended::SessionClosed;
    }
    let ended = run_whole(vm, code, scope.clone(), state);
    settle(vm, state, &ended);
    if let (RunMode::OneShot, Ended::Passed) = (mode, &ended) {
        return Ended::SessionClosed;
    }
    if let Ended::Failed(failure) = &ended {
        stay(vm, scope, state, mode, failure);
    }
    ended
}

/// Where the calls were answered from an earlier run, the machines have not
/// been asked yet whether they still are.
fn settle(vm: &VirtualMachine, state: &EngineState, ended: &Ended) {
    if matches!(ended, Ended::Interrupted(_)) {
        return;
    }
    let Some(replay) = state.replay() else {
        return;
    };
    let mut watch = state.cancellations.watch();
    vm.allow_threads(|| {
        state.handle.block_on(async {
            tokio::select! {
                () = replay.settle() => {}
                _ = watch.cancelled() => {}
            }
        });
    });
}

/// Keeps the machines of a failed script for an interactive session, if one is wanted.
fn stay(
    vm: &VirtualMachine,
    scope: &Scope,
    state: &EngineState,
    mode: &RunMode,
    failure: &Failure,
) {
    if matches!(mode, RunMode::Script | RunMode::OneShot) {
        return;
    }
    state.emit(Event::CallFailed {
        failure: Box::new(failure.clone()),
    });
    if let Some(replay) = state.replay() {
        state.handle.block_on(replay.end_recording());
    }
    match (mode, state.host()) {
        (RunMode::PromptOnFailure(interaction), _) => {
            interact(vm, scope, state, interaction.as_ref());
        }
        (RunMode::ShellOnFailure, Some(host)) => by_hand(state, || {
            vm.allow_threads(|| state.handle.block_on(host.attach_shell(failure)));
        }),
        _ => {}
    }
}

fn run_whole(
    vm: &VirtualMachine,
    code: PyRef<PyCode>,
    scope: Scope,
    state: &Arc<EngineState>,
) -> Ended {
    match state
        .interrupter
        .while_armed(|| vm.run_code_obj(code, scope))
    {
        Ok(_) => match state.failed() {
            Some(failure) => Ended::Failed(Box::new(failure)),
            None => Ended::Passed,
        },
        Err(exception) => ended_by(vm, &exception, state),
    }
}

fn ended_by(vm: &VirtualMachine, exception: &PyBaseExceptionRef, state: &EngineState) -> Ended {
    if is_api_exception(vm, exception, "Interrupted") {
        return Ended::Interrupted(Box::new(describe(vm, exception, state)));
    }
    if exception.fast_isinstance(vm.ctx.exceptions.system_exit) && exits_well(vm, exception) {
        return Ended::Passed;
    }
    Ended::Failed(Box::new(describe(vm, exception, state)))
}

/// As Python takes it: no code, and the code 0, mean success.
fn exits_well(vm: &VirtualMachine, exception: &PyBaseExceptionRef) -> bool {
    let code = exception.as_object().get_attr("code", vm);
    code.and_then(|code| to_json(&code, vm))
        .is_ok_and(|code| code == json!(null) || code == json!(0) || code == json!(false))
}

/// Ends the interpreter: what was printed is flushed, exit handlers run.
fn finish(interpreter: Interpreter, state: &EngineState) {
    // Threads that the script left are not waited for; their calls end.
    state.cancellations.interrupt();
    interpreter.enter(|vm| {
        let forget = || -> PyResult<()> {
            let modules = vm.sys_module.get_attr("modules", vm)?;
            if let Ok(threading) = modules.get_item("threading", vm) {
                let nothing = vm.new_function("_shutdown", |_vm: &VirtualMachine| {});
                threading.set_attr("_shutdown", nothing, vm)?;
            }
            Ok(())
        };
        // Nothing depends on it but how long the end takes.
        let _ = forget();
        state.forget_compiled();
    });
    interpreter.finalize(None);
    state.print_rest();
    state.close();
}
