//! The names of a script in a CPython, for a prompt.

use std::cell::RefCell;

use serde::de::DeserializeOwned;

use super::conversation::Conversation;
use super::messages::{Answer, PromptRequest, Typed};
use crate::engine::failure::is_api_class;
use crate::engine::mode::{AfterTyped, Namespace};
use crate::engine::state::EngineState;
use crate::model::event::Event;

/// Names in a conversation at a breakpoint, or at the end of the script.
pub(super) struct RemoteNames<'a> {
    conversation: RefCell<&'a mut Conversation>,
    state: &'a EngineState,
}

impl<'a> RemoteNames<'a> {
    pub fn new(conversation: &'a mut Conversation, state: &'a EngineState) -> Self {
        Self {
            conversation: RefCell::new(conversation),
            state,
        }
    }

    fn ask<T: DeserializeOwned>(&self, request: &PromptRequest<'_>) -> Option<T> {
        let mut conversation = self.conversation.borrow_mut();
        conversation.send(request);
        let answer: Answer<T> = conversation.receive()?;
        Some(answer.value)
    }
}

impl Namespace for RemoteNames<'_> {
    fn emit(&self, event: Event) {
        self.state.emit(event);
    }

    fn is_whole(&self, text: &str) -> bool {
        self.ask(&PromptRequest::IsWhole { text }).unwrap_or(true)
    }

    fn names_after(&self, path: &[&str]) -> Vec<String> {
        let names = self.ask(&PromptRequest::NamesAfter { path });
        names.unwrap_or_default()
    }

    fn run(&self, text: &str) -> AfterTyped {
        let name = self.state.sources.add(text);
        let mut conversation = self.conversation.borrow_mut();
        conversation.send(&PromptRequest::Run { text, name: &name });
        let typed = conversation.receive();
        self.state.print_rest();
        let raised = match typed {
            Some(Typed::Done) => return AfterTyped::Read,
            Some(Typed::Raised { raised }) => raised,
            // Nor can anything more be run in a process that is gone.
            Some(Typed::Leave) | None => return AfterTyped::Leave,
        };
        let failure = conversation.describe(&raised, self.state);
        let is_interrupt = is_api_class(&raised, "Interrupted");
        self.state.report_typed((!is_interrupt).then_some(failure));
        AfterTyped::Read
    }
}
