//! Prompts for users in other processes: the script waits until one has come, and answers until he leaves.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::engine::{AfterTyped, EngineState, Interaction, Namespace, Prompting};
use crate::model::event::Level;

/// A question about the names of a script, or a text to run among them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamesRequest {
    IsWhole(String),
    /// The names that can follow on a dotted name.
    NamesAfter(Vec<String>),
    Run(String),
}

/// The reply to a [`NamesRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamesReply {
    IsWhole(bool),
    NamesAfter(Vec<String>),
    /// Whether the text was `exit()`.
    Ran {
        leaves: bool,
    },
}

/// A step of a user who has come.
enum Turn {
    Come,
    Asked(NamesRequest, oneshot::Sender<NamesReply>),
    /// The user's process has ended, and another one may come.
    Gone,
    Left,
}

/// Where a user can come to: that of a script, if it waits.
#[derive(Clone, Default)]
pub struct RemotePrompt(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// While the script waits.
    turns: Option<Sender<Turn>>,
    is_taken: bool,
    /// The command that attaches to this run.
    command: String,
}

/// A user who has come. The next one can when it is dropped.
#[derive(Debug)]
pub struct AttachedUser {
    prompt: RemotePrompt,
    turns: Sender<Turn>,
}

impl RemotePrompt {
    /// Returns a prompt for users of `command`.
    #[must_use]
    pub fn for_users_of(command: String) -> Self {
        Self(Arc::new(Mutex::new(State {
            command,
            ..State::default()
        })))
    }

    /// Whether the script waits for a user.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.lock().turns.is_some()
    }

    /// Lets a user in; `None` if the script does not wait, or another user is there.
    #[must_use]
    pub fn attach(&self) -> Option<AttachedUser> {
        let mut state = self.lock();
        let turns = state.turns.clone().filter(|_| !state.is_taken)?;
        turns.send(Turn::Come).ok()?;
        state.is_taken = true;
        let prompt = self.clone();
        Some(AttachedUser { prompt, turns })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AttachedUser {
    /// Asks the script; `None` if it does not wait any more.
    pub async fn ask(&self, request: NamesRequest) -> Option<NamesReply> {
        let (reply, replied) = oneshot::channel();
        self.turns.send(Turn::Asked(request, reply)).ok()?;
        replied.await.ok()
    }

    /// Ends the prompt: the script continues.
    pub fn leave(&self) {
        let _ = self.turns.send(Turn::Left);
    }
}

impl Drop for AttachedUser {
    fn drop(&mut self) {
        self.prompt.lock().is_taken = false;
        let _ = self.turns.send(Turn::Gone);
    }
}

impl Interaction for RemotePrompt {
    fn run(&self, names: &dyn Namespace, state: &EngineState) {
        let (turns, next) = channel();
        let text = {
            let mut waiting = self.lock();
            waiting.turns = Some(turns);
            format!("the script waits: `{}` opens its prompt", waiting.command)
        };
        state.set_prompting(Prompting::Awaited);
        state.note(Level::Warning, &text);
        serve(names, state, &next);
        state.set_prompting(Prompting::No);
        self.lock().turns = None;
    }
}

/// Does what users ask, until one leaves.
fn serve(names: &dyn Namespace, state: &EngineState, turns: &Receiver<Turn>) {
    while let Ok(turn) = turns.recv() {
        match turn {
            Turn::Come => state.set_prompting(Prompting::Attached),
            Turn::Gone => state.set_prompting(Prompting::Awaited),
            Turn::Left => return,
            Turn::Asked(request, reply) => {
                let answer = answer(names, request);
                let leaves = matches!(answer, NamesReply::Ran { leaves: true });
                let _ = reply.send(answer);
                if leaves {
                    return;
                }
            }
        }
    }
}

fn answer(names: &dyn Namespace, request: NamesRequest) -> NamesReply {
    match request {
        NamesRequest::IsWhole(text) => NamesReply::IsWhole(names.is_whole(&text)),
        NamesRequest::NamesAfter(path) => {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            NamesReply::NamesAfter(names.names_after(&path))
        }
        NamesRequest::Run(text) => NamesReply::Ran {
            leaves: names.run(&text) == AfterTyped::Leave,
        },
    }
}

impl fmt::Debug for RemotePrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemotePrompt").finish_non_exhaustive()
    }
}
