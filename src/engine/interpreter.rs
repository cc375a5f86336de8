//! The embedded interpreter: RustPython with the test API.

use std::process;
use std::sync::Arc;

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

use super::cancellation::Cancellations;
use super::compile::compile_script;
use super::describe::describe;
use super::embedded::Embedded;
use super::ended::Ended;
use super::exceptions::is_api_exception;
use super::interaction::{conclude, settle};
use super::interrupt::Interrupter;
use super::mode::{Interaction, RunMode};
use super::namespace::EmbeddedNames;
use super::native::install;
use super::sources::SCRIPT_NAME;
use super::state::EngineState;
use super::values::to_json;

/// Runs a script to its end. `tell_ready` gets what interrupts it.
pub(super) fn run(
    state: Arc<EngineState>,
    mode: &RunMode,
    breakpoints: Option<Arc<dyn Interaction>>,
    tell_ready: impl FnOnce(Interrupter),
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
    tell_ready(interrupter.clone());
    let embedded = Arc::new(Embedded::new(state, cancellations, interrupter));
    let ended = interpreter.enter(|vm| match prepare(vm, &embedded, breakpoints) {
        Ok(scope) => {
            if !matches!(mode, RunMode::Script) {
                embedded.interrupter.set_begun();
            }
            execute(vm, &scope, &embedded, mode)
        }
        Err(exception) => ended_by(vm, &exception, &embedded.state),
    });
    embedded.interrupter.set_begun();
    if process::id() != begun_as {
        // A process that the script forked: the end is not its to make.
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
    finish(interpreter, &embedded);
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
    embedded: &Arc<Embedded>,
    breakpoints: Option<Arc<dyn Interaction>>,
) -> PyResult<Scope> {
    let names = install(vm, embedded, breakpoints)?;
    let scope = vm.new_scope_with_main()?;
    scope
        .globals
        .as_object()
        .to_owned()
        .get_attr("update", vm)?
        .call((names,), vm)?;
    Ok(scope)
}

fn execute(vm: &VirtualMachine, scope: &Scope, embedded: &Embedded, mode: &RunMode) -> Ended {
    let state = &embedded.state;
    let code = match compile_script(vm, state) {
        Ok(code) => code,
        Err(exception) => return ended_by(vm, &exception, state),
    };
    embedded.keep_compiled(code.clone(), scope.clone());
    let names = EmbeddedNames {
        vm,
        scope,
        embedded,
    };
    if let RunMode::Prompt(_) = mode {
        return conclude(&names, state, mode, Ended::Passed, |work| work());
    }
    let ended = run_whole(vm, code, scope.clone(), embedded);
    let mut watch = embedded.cancellations.watch();
    vm.allow_threads(|| settle(state, &ended, watch.cancelled()));
    conclude(&names, state, mode, ended, |work| vm.allow_threads(work))
}

fn run_whole(vm: &VirtualMachine, code: PyRef<PyCode>, scope: Scope, embedded: &Embedded) -> Ended {
    match embedded
        .interrupter
        .while_armed(|| vm.run_code_obj(code, scope))
    {
        Ok(_) => embedded.state.at_end(),
        Err(exception) => ended_by(vm, &exception, &embedded.state),
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
fn finish(interpreter: Interpreter, embedded: &Embedded) {
    // Threads that the script left are not waited for; their calls end.
    embedded.cancellations.interrupt();
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
        embedded.forget_compiled();
    });
    interpreter.finalize(None);
    embedded.state.print_rest();
    embedded.state.close();
}
