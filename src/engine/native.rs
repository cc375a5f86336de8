//! The native module `_snowglobe`, which the test API is built on.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use rustpython_vm::builtins::{PyBaseExceptionRef, PyDictRef, PyModule, PyStr, PyStrRef};
use rustpython_vm::{AsObject, PyObjectRef, PyRef, PyResult, VirtualMachine};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::call_place::find_place;
use super::call_report::{CallMade, reason_of, shown_arguments};
use super::cancellation::{self, CancelCause, CancelScope};
use super::describe::describe;
use super::difference::text_difference;
use super::embedded::Embedded;
use super::exceptions::api_exception;
use super::imports::add_imports;
use super::interaction::add_breakpoints;
use super::mode::Interaction;
use super::session_data::describe_session;
use super::values::{from_json, to_json};
use crate::host::{Call, CallError};
use crate::replay::Caller;

/// The Python package of the test API.
const API_PACKAGE: &str = "snowglobe";

/// Creates `_snowglobe` and imports the test API; returns the names of scripts.
pub(super) fn install(
    vm: &VirtualMachine,
    embedded: &Arc<Embedded>,
    breakpoints: Option<Arc<dyn Interaction>>,
) -> PyResult {
    let modules = vm.sys_module.get_attr("modules", vm)?;
    let native = native_module(vm, embedded)?;
    add_breakpoints(vm, &native, embedded, breakpoints)?;
    modules.set_item("_snowglobe", native.into(), vm)?;
    let package = vm.import(API_PACKAGE, 0)?;
    for module in embedded.state.script.further_modules {
        vm.import(*module, 0)?;
    }
    let names = package.get_attr("script", vm)?;
    names.get_attr("script_names", vm)?.call((package,), vm)
}

/// Adds a function to a native module.
macro_rules! function {
    ($native:ident, $vm:ident, $name:literal, $function:expr) => {
        $native.set_attr($name, $vm.new_function($name, $function), $vm)?;
    };
}

fn native_module(vm: &VirtualMachine, embedded: &Arc<Embedded>) -> PyResult<PyRef<PyModule>> {
    let native = vm.new_module("_snowglobe", vm.ctx.new_dict(), None);
    let shared = embedded.clone();
    function!(native, vm, "call", move |target: PyStrRef,
                                        operation: PyStrRef,
                                        arguments: PyDictRef,
                                        pause: Option<f64>,
                                        on_pause: PyObjectRef,
                                        vm: &VirtualMachine|
          -> PyResult {
        let mut arguments = to_json(arguments.as_object(), vm)?;
        arguments["operation"] = json!(operation.to_string_lossy());
        let pause = pause.map(|seconds| (Duration::from_secs_f64(seconds), on_pause));
        call(&shared, &target, arguments, pause.as_ref(), vm)
    });
    let shared = embedded.clone();
    function!(native, vm, "write", move |text: PyStrRef,
                                         vm: &VirtualMachine|
          -> usize {
        let lossy = text.to_string_lossy().into_owned();
        vm.allow_threads(|| shared.state.print(&lossy));
        text.char_len()
    });
    let shared = embedded.clone();
    function!(
        native,
        vm,
        "describe",
        move |exception: PyBaseExceptionRef, vm: &VirtualMachine| -> PyResult {
            let failure = describe(vm, &exception, &shared.state);
            let failure = serde_json::to_value(failure).unwrap_or_default();
            from_json(failure, vm)
        }
    );
    function!(native, vm, "text_difference", |left: PyStrRef,
                                              right: PyStrRef,
                                              _vm: &VirtualMachine|
     -> String {
        text_difference(&left.to_string_lossy(), &right.to_string_lossy())
    });
    let shared = embedded.clone();
    function!(
        native,
        vm,
        "fail",
        move |exception: PyBaseExceptionRef, vm: &VirtualMachine| {
            let failure = describe(vm, &exception, &shared.state);
            shared.state.fail(failure);
        }
    );
    let shared = embedded.clone();
    function!(
        native,
        vm,
        "run_script",
        move |vm: &VirtualMachine| -> PyResult {
            match shared.compiled() {
                Some((code, globals)) => vm.run_code_obj(code, globals),
                None => Err(vm.new_runtime_error("there is no script yet")),
            }
        }
    );
    add_scopes(vm, &native, embedded)?;
    add_imports(vm, &native, &embedded.state)?;
    if let Some(replay) = embedded.state.replay() {
        let session = describe_session(&embedded.state.script, &replay);
        native.set_attr("session", from_json(session, vm)?, vm)?;
    }
    Ok(native)
}

/// Functions for scopes, which deadlines and parallel functions end.
fn add_scopes(
    vm: &VirtualMachine,
    native: &PyRef<PyModule>,
    embedded: &Arc<Embedded>,
) -> PyResult<()> {
    let shared = embedded.clone();
    function!(
        native,
        vm,
        "begin_scope",
        move |_vm: &VirtualMachine| -> u64 { shared.cancellations.new_scope() }
    );
    let shared = embedded.clone();
    function!(native, vm, "begin_deadline", move |seconds: f64,
                                                  _vm: &VirtualMachine|
          -> u64 {
        begin_deadline(&shared, seconds)
    });
    let shared = embedded.clone();
    function!(
        native,
        vm,
        "cancel_scope",
        move |scope: u64, _vm: &VirtualMachine| {
            shared.cancellations.cancel(scope);
        }
    );
    let shared = embedded.clone();
    function!(
        native,
        vm,
        "end_scope",
        move |scope: u64, _vm: &VirtualMachine| {
            shared.cancellations.forget(scope);
        }
    );
    function!(native, vm, "scopes", |vm: &VirtualMachine| -> PyResult {
        from_json(json!(cancellation::entered()), vm)
    });
    function!(native, vm, "enter_scopes", |scopes: PyObjectRef,
                                           vm: &VirtualMachine|
     -> PyResult<()> {
        let scopes = to_json(&scopes, vm)?;
        cancellation::enter(serde_json::from_value(scopes).unwrap_or_default());
        Ok(())
    });
    function!(native, vm, "after_fork", |_vm: &VirtualMachine| {
        // Where the kernel refuses, the child ends when it is done.
        let _ = set_pdeathsig(Signal::SIGKILL);
    });
    Ok(())
}

/// Ends what the calling thread does in the scope that it gives, after a time.
fn begin_deadline(embedded: &Arc<Embedded>, seconds: f64) -> CancelScope {
    let scope = embedded.cancellations.new_scope();
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
    let main = embedded.interrupter.is_this_thread();
    let (interrupter, cancellations) =
        (embedded.interrupter.clone(), embedded.cancellations.clone());
    let timer = embedded.state.handle.spawn(async move {
        tokio::time::sleep(limit).await;
        if main {
            interrupter.cancel(scope).await;
        } else {
            cancellations.cancel(scope);
        }
    });
    embedded.cancellations.keep_timer(scope, timer);
    scope
}

/// Work that goes on while Python looks after something else, and no longer
/// than anyone waits for it.
struct Work(JoinHandle<Result<Value, CallError>>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum CallStep {
    Done(Result<Value, CallError>),
    CancelCause(CancelCause),
    Pause,
}

fn call(
    embedded: &Embedded,
    target: &PyStr,
    arguments: Value,
    pause: Option<&(Duration, PyObjectRef)>,
    vm: &VirtualMachine,
) -> PyResult {
    let Some(replay) = embedded.state.replay() else {
        return Err(api_exception(vm, "Interrupted", "the script is over"));
    };
    // Before the check, so that no interrupt falls between the two.
    let mut watch = embedded.cancellations.watch();
    vm.check_signals()?;
    let arguments_shown = shown_arguments(&arguments);
    let call = Call::parse(&target.to_string_lossy(), arguments)
        .map_err(|error| exception_of(vm, &error))?;
    let made = CallMade::new(&call, arguments_shown, || find_place(vm));
    let caller = match pause {
        None if embedded.interrupter.is_this_thread() => Caller::Script,
        _ => Caller::Beside,
    };
    let mut work = Work(
        embedded
            .state
            .handle
            .spawn(async move { replay.call(call, caller).await }),
    );
    loop {
        let step = vm.allow_threads(|| {
            embedded.state.handle.block_on(async {
                tokio::select! {
                    biased;
                    alarm = watch.cancelled() => CallStep::CancelCause(alarm),
                    done = &mut work.0 => CallStep::Done(done.unwrap_or_else(|error| Err(CallError::broken(&error)))),
                    () = wait(pause) => CallStep::Pause,
                }
            })
        });
        match (step, pause) {
            (CallStep::Done(Ok(value)), _) => {
                made.report(&embedded.state, Ok(&value));
                return from_json(value, vm);
            }
            (CallStep::Done(Err(error)), _) => {
                made.report(&embedded.state, Err(reason_of(&error)));
                return Err(exception_of(vm, &error));
            }
            (CallStep::CancelCause(alarm), _) => {
                made.report(&embedded.state, Err("ended early".to_owned()));
                return Err(raise(alarm, vm)?);
            }
            (CallStep::Pause, Some((_, callback))) => {
                if let Err(exception) = callback.call((), vm) {
                    made.report(&embedded.state, Err("ended early".to_owned()));
                    return Err(exception);
                }
            }
            (CallStep::Pause, None) => {}
        }
    }
}

async fn wait(pause: Option<&(Duration, PyObjectRef)>) {
    match pause {
        Some((pause, _)) => tokio::time::sleep(*pause).await,
        None => std::future::pending().await,
    }
}

/// The exception for an alarm, unless the main thread's signal brings it.
fn raise(alarm: CancelCause, vm: &VirtualMachine) -> PyResult<PyBaseExceptionRef> {
    vm.check_signals()?;
    Ok(match alarm {
        CancelCause::Cancelled(scope) => {
            cancellation::leave(scope);
            api_exception(vm, "Cancelled", &scope.to_string())
        }
        // Other threads than the main one have no signals.
        CancelCause::Interrupt => api_exception(vm, "Interrupted", "interrupted"),
    })
}

fn exception_of(vm: &VirtualMachine, error: &CallError) -> PyBaseExceptionRef {
    let exception = api_exception(vm, error.class, &error.message);
    if let Some(details) = &error.details
        && let Ok(details) = serde_json::to_value(details)
        && let Ok(details) = from_json(details, vm)
    {
        // Without them the message has to do.
        let _ = exception.as_object().set_attr("_details", details, vm);
    }
    exception
}
