//! Answers the requests of a CPython: each of its connections on a thread of its own.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use serde_json::{Value, json};
use tokio::sync::{mpsc as async_mpsc, oneshot, watch};

use super::conversation::Conversation;
use super::messages::{PromptRequest, Request, error, value};
use super::names::RemoteNames;
use super::{Happening, child_modules};
use crate::engine::call_report::{CallMade, CallPlace, reason_of, shown_arguments};
use crate::engine::difference::text_difference;
use crate::engine::ended::Ended;
use crate::engine::failure::is_api_class;
use crate::engine::imports::{found_module, read_script_module};
use crate::engine::interaction::{conclude, hand_over, settle, stop_at};
use crate::engine::marks::{marks_of, marks_of_script};
use crate::engine::mode::{Interaction, RunMode};
use crate::engine::raised::RaisedException;
use crate::engine::session_data::describe_session;
use crate::engine::state::EngineState;
use crate::host::{Call, CallError};
use crate::replay::Caller;

/// A demand that the script be interrupted, for a reason; and the channel for whether it was.
pub(super) type InterruptDemand = (String, oneshot::Sender<bool>);

/// State that all connections of a CPython share.
pub(super) struct Server {
    pub state: Arc<EngineState>,
    pub mode: RunMode,
    pub breakpoints: Option<Arc<dyn Interaction>>,
    pub happenings: mpsc::Sender<Happening>,
    /// For the connection that interrupts.
    pub demands: Mutex<Option<async_mpsc::UnboundedReceiver<InterruptDemand>>>,
    /// Counts the interrupts.
    pub interrupted: watch::Receiver<u64>,
}

impl Server {
    /// Answers a connection until it is closed.
    pub fn serve(&self, mut conversation: Conversation) {
        while let Some(request) = conversation.receive() {
            match request {
                Request::Begin => conversation.send(&self.beginning()),
                Request::Control => self.interrupt(&mut conversation),
                Request::Passed => self.end(&mut conversation, None),
                Request::Raised { raised } => self.end(&mut conversation, Some(&raised)),
                Request::StopAt { file, line } => self.stop_at(&mut conversation, &file, line),
                Request::Describe { raised } => {
                    conversation.describe(&raised, &self.state);
                }
                Request::Fail { raised } => {
                    let failure = conversation.describe(&raised, &self.state);
                    self.state.fail(failure);
                }
                Request::Call {
                    target,
                    operation,
                    mut arguments,
                    is_beside,
                    place,
                } => {
                    arguments["operation"] = operation.into();
                    let caller = if is_beside {
                        Caller::Beside
                    } else {
                        Caller::Script
                    };
                    let result = self.call(&mut conversation, &target, arguments, caller, place);
                    match result {
                        Ok(result) => conversation.send(&value(result)),
                        Err(reason) => conversation.send(&error(&reason)),
                    }
                }
                Request::Write { text } => {
                    self.state.print(&text);
                    conversation.send(&value(Value::Null));
                }
                Request::TextDifference { left, right } => {
                    conversation.send(&value(text_difference(&left, &right)));
                }
                Request::FindModule { name, folders } => {
                    conversation.send(&value(found_module(&self.state, &name, folders)));
                }
                Request::ReadModule { file } => conversation.send(&self.module(&file)),
            }
        }
    }

    /// A module beside the test, or why it cannot be read.
    fn module(&self, file: &str) -> Value {
        match read_script_module(&self.state, file) {
            Ok(source_map) => {
                let text = source_map.script();
                value(json!({ "text": text, "marks": marks_of(text) }))
            }
            Err(message) => error(&CallError {
                class: "OSError",
                message,
                details: None,
            }),
        }
    }

    fn beginning(&self) -> Value {
        let session = self
            .state
            .replay()
            .map(|replay| describe_session(&self.state.script, &replay));
        json!({
            "modules": child_modules(),
            "session": session,
            "text": self.state.script.source_map.script(),
            "marks": marks_of_script(&self.state),
            "runs": !matches!(self.mode, RunMode::Prompt(_)),
        })
    }

    fn call(
        &self,
        conversation: &mut Conversation,
        target: &str,
        arguments: Value,
        caller: Caller,
        place: CallPlace,
    ) -> Result<Value, CallError> {
        let over = || CallError {
            class: "Interrupted",
            message: "the script is over".to_owned(),
            details: None,
        };
        let replay = self.state.replay().ok_or_else(over)?;
        let shown = shown_arguments(&arguments);
        let call = Call::parse(target, arguments)?;
        let made = CallMade::new(&call, shown, || place);
        // A call that no caller waits for any more is ended.
        let Some(result) = conversation.while_there(replay.call(call, caller)) else {
            made.report(&self.state, Err("ended early".to_owned()));
            return Err(over());
        };
        made.report(&self.state, result.as_ref().map_err(reason_of));
        result
    }

    /// Sends interrupts, as they are demanded.
    fn interrupt(&self, conversation: &mut Conversation) {
        let demands = || self.demands.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut demands) = demands().take() else {
            return;
        };
        while let Some(Some((reason, report))) = conversation.while_there(demands.recv()) {
            let _ = report.send(conversation.interrupt(&reason));
        }
    }

    fn stop_at(&self, conversation: &mut Conversation, file: &str, line: usize) {
        let state = &self.state;
        stop_at(state, file, line, self.breakpoints.as_ref(), |prompt| {
            hand_over(state);
            prompt.run(&RemoteNames::new(conversation, state), state);
        });
        conversation.send(&PromptRequest::Leave);
    }

    /// The script has ended, or was none to run.
    fn end(&self, conversation: &mut Conversation, raised: Option<&RaisedException>) {
        let state = &self.state;
        let ended = match raised {
            None => state.at_end(),
            Some(raised) => {
                let failure = Box::new(conversation.describe(raised, state));
                if is_api_class(raised, "Interrupted") {
                    Ended::Interrupted(failure)
                } else {
                    Ended::Failed(failure)
                }
            }
        };
        let mut interrupted = self.interrupted.clone();
        interrupted.mark_unchanged();
        settle(state, &ended, interrupted.changed());
        let names = RemoteNames::new(conversation, state);
        let ended = conclude(&names, state, &self.mode, ended, |work| work());
        let _ = self.happenings.send(Happening::Ended(ended));
        conversation.send(&PromptRequest::Leave);
    }
}
