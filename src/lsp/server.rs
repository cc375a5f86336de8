//! The messages of an editor: each one changes the open files, or is answered from them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use async_lsp::router::Router;
use async_lsp::{ClientSocket, ErrorCode, ResponseError};
use lsp_types::notification::{self, LogMessage, Notification, PublishDiagnostics, ShowMessage};
use lsp_types::request::{self, Request};
use lsp_types::{
    CodeLensOptions, CompletionOptions, CompletionResponse, Diagnostic, ExecuteCommandOptions,
    ExecuteCommandParams, GotoDefinitionResponse, HoverProviderCapability, InitializeParams,
    InitializeResult, LogMessageParams, MessageType, NumberOrString, OneOf, Position,
    PublishDiagnosticsParams, SaveOptions, ServerCapabilities, ServerInfo, ShowMessageParams,
    SignatureHelpOptions, TextDocumentPositionParams, TextDocumentSyncCapability,
    TextDocumentSyncKind, TextDocumentSyncOptions, TextDocumentSyncSaveOptions, Url,
};
use tokio::sync::Semaphore;

use super::known_tests::KnownTests;
use super::lenses::{DEBUG, LensArguments, RUN, lenses};
use super::open_file::OpenFile;
use super::test_run::{ProgressDisplay, RunEnded};
use super::{Host, diagnostics, help, test_run};
use crate::bounded_file::read_text;
use crate::nix_cli::Test;
use crate::source_map::node_places;

/// The largest file whose tests are evaluated.
const MOST_BYTES: u64 = 4 << 20;

type Flow = ControlFlow<async_lsp::Result<()>>;

/// The state of a server.
struct Server {
    host: Host,
    client: ClientSocket,
    files: BTreeMap<Url, OpenFile>,
    /// By the Nix files of the tests.
    known: HashMap<PathBuf, KnownTests>,
    evaluations: HashMap<PathBuf, EvaluationState>,
    /// Each takes much memory: one at a time.
    turn: Arc<Semaphore>,
    /// Failures of the last run.
    failures: BTreeMap<Url, Vec<Diagnostic>>,
    progress: ProgressDisplay,
    runs: i32,
}

/// The state of an evaluation that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EvaluationState {
    Running,
    /// The file was saved meanwhile: it is evaluated again.
    Outdated,
}

/// The end of an evaluation.
struct Evaluated {
    file: PathBuf,
    nix: String,
    result: Result<Vec<Test>, String>,
}

/// Returns the handlers of all messages.
pub(super) fn router(host: Host, client: ClientSocket) -> Router<impl Send, ResponseError> {
    let mut router = Router::new(Server {
        host,
        client,
        files: BTreeMap::new(),
        known: HashMap::new(),
        evaluations: HashMap::new(),
        turn: Arc::new(Semaphore::new(1)),
        failures: BTreeMap::new(),
        progress: ProgressDisplay::default(),
        runs: 0,
    });
    add_requests(&mut router);
    router
        .notification::<notification::DidOpenTextDocument>(|server, it| {
            server.open(&it.text_document.uri, it.text_document.text);
            Flow::Continue(())
        })
        .notification::<notification::DidChangeTextDocument>(|server, it| {
            // The whole text, as the server has asked for.
            if let Some(change) = it.content_changes.into_iter().last() {
                server.change(&it.text_document.uri, change.text);
            }
            Flow::Continue(())
        })
        .notification::<notification::DidSaveTextDocument>(|server, it| {
            server.save(&it.text_document.uri);
            Flow::Continue(())
        })
        .notification::<notification::DidCloseTextDocument>(|server, it| {
            server.close(&it.text_document.uri);
            Flow::Continue(())
        })
        .notification::<notification::Initialized>(|_, _| Flow::Continue(()))
        .notification::<notification::Exit>(|_, ()| Flow::Continue(()))
        // Later versions of the protocol have more of them.
        .unhandled_notification(|_, _| Flow::Continue(()))
        .event::<Evaluated>(|server, it| {
            server.take(it);
            Flow::Continue(())
        })
        .event::<RunEnded>(|server, it| {
            server.show_failures(it.failures);
            Flow::Continue(())
        });
    router
}

fn add_requests(router: &mut Router<Server, ResponseError>) {
    answer::<request::Initialize>(router, Server::initialize);
    answer::<request::Shutdown>(router, |_, ()| Ok(()));
    answer::<request::Completion>(router, |server, it| {
        let found = server.at(&it.text_document_position, help::completions);
        Ok(found.map(CompletionResponse::Array))
    });
    answer::<request::HoverRequest>(router, |server, it| {
        Ok(server
            .at(&it.text_document_position_params, help::hover)
            .flatten())
    });
    answer::<request::SignatureHelpRequest>(router, |server, it| {
        let found = server.at(&it.text_document_position_params, help::signature_help);
        Ok(found.flatten())
    });
    answer::<request::GotoDefinition>(router, |server, it| {
        let found = server.at(
            &it.text_document_position_params,
            |file, known, position| {
                help::definition(file, known, position, || server.nodes_of(file))
            },
        );
        Ok(found.flatten().map(GotoDefinitionResponse::Scalar))
    });
    answer::<request::CodeLensRequest>(router, |server, it| {
        let file = server.files.get(&it.text_document.uri);
        Ok(file.map(|file| lenses(file, server.known(file), &server.host.options)))
    });
    answer::<request::ExecuteCommand>(router, |server, it| {
        server.execute(it)?;
        Ok(None)
    });
}

/// Answers a request at once, so that answers are those of the text when it came.
fn answer<R: Request>(
    router: &mut Router<Server, ResponseError>,
    handler: impl Fn(&mut Server, R::Params) -> Result<R::Result, ResponseError> + Send + 'static,
) where
    R::Result: Send + 'static,
{
    router.request::<R, _>(move |server, params| std::future::ready(handler(server, params)));
}

fn capabilities() -> ServerCapabilities {
    ServerCapabilities {
        text_document_sync: Some(TextDocumentSyncCapability::Options(
            TextDocumentSyncOptions {
                open_close: Some(true),
                change: Some(TextDocumentSyncKind::FULL),
                save: Some(TextDocumentSyncSaveOptions::SaveOptions(
                    SaveOptions::default(),
                )),
                ..TextDocumentSyncOptions::default()
            },
        )),
        completion_provider: Some(CompletionOptions {
            trigger_characters: Some([".", "\"", "'", "("].map(str::to_owned).into()),
            ..CompletionOptions::default()
        }),
        hover_provider: Some(HoverProviderCapability::Simple(true)),
        signature_help_provider: Some(SignatureHelpOptions {
            trigger_characters: Some(["(", ","].map(str::to_owned).into()),
            ..SignatureHelpOptions::default()
        }),
        definition_provider: Some(OneOf::Left(true)),
        code_lens_provider: Some(CodeLensOptions {
            resolve_provider: Some(false),
        }),
        execute_command_provider: Some(ExecuteCommandOptions {
            commands: [RUN, DEBUG].map(str::to_owned).into(),
            ..ExecuteCommandOptions::default()
        }),
        ..ServerCapabilities::default()
    }
}

impl Server {
    #[expect(clippy::unnecessary_wraps, reason = "a handler of a request may fail")]
    fn initialize(&mut self, params: InitializeParams) -> Result<InitializeResult, ResponseError> {
        let shows = params
            .capabilities
            .window
            .and_then(|it| it.work_done_progress);
        if shows == Some(true) {
            self.progress = ProgressDisplay::Shown;
        }
        Ok(InitializeResult {
            capabilities: capabilities(),
            server_info: Some(ServerInfo {
                name: "snowglobe".to_owned(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }),
        })
    }

    fn open(&mut self, url: &Url, text: String) {
        if let Some(file) = OpenFile::new(url.clone(), text) {
            self.files.insert(url.clone(), file);
            self.publish(url);
            self.evaluate(url);
        }
    }

    fn change(&mut self, url: &Url, text: String) {
        // A failure of a run is at a line that may be another one now.
        self.failures.remove(url);
        match self.files.get_mut(url) {
            Some(file) => {
                file.text = text;
                self.publish(url);
            }
            None => self.open(url, text),
        }
    }

    fn close(&mut self, url: &Url) {
        if self.files.remove(url).is_some() {
            self.send_diagnostics(url.clone(), Vec::new());
        }
    }

    /// The tests of an open file, as far as they are known.
    fn known(&self, file: &OpenFile) -> &KnownTests {
        static NOTHING: std::sync::LazyLock<KnownTests> =
            std::sync::LazyLock::new(KnownTests::default);
        self.known.get(&file.test_file).unwrap_or(&NOTHING)
    }

    fn at<T>(
        &self,
        place: &TextDocumentPositionParams,
        work: impl FnOnce(&OpenFile, &KnownTests, Position) -> T,
    ) -> Option<T> {
        let file = self.files.get(&place.text_document.uri)?;
        Some(work(file, self.known(file), place.position))
    }

    /// The nodes of the Nix file of an open file, with its text: that of the editor, if it has the file open.
    fn nodes_of(
        &self,
        file: &OpenFile,
    ) -> Option<(Url, String, Vec<crate::source_map::NodePlace>)> {
        let url = Url::from_file_path(&file.test_file).ok()?;
        let text = match self.files.get(&url) {
            Some(open) => open.text.clone(),
            None => read_text(&file.test_file, MOST_BYTES).ok()?,
        };
        let nodes = node_places(&text);
        Some((url, text, nodes))
    }

    fn publish(&self, url: &Url) {
        let Some(file) = self.files.get(url) else {
            return;
        };
        let mut found = diagnostics::diagnostics(file, self.known(file));
        found.extend(self.failures.get(url).into_iter().flatten().cloned());
        self.send_diagnostics(file.url.clone(), found);
    }

    fn send_diagnostics(&self, uri: Url, diagnostics: Vec<Diagnostic>) {
        self.notify::<PublishDiagnostics>(PublishDiagnosticsParams {
            uri,
            diagnostics,
            version: None,
        });
    }

    /// Sends a notification. An editor that is gone needs none.
    fn notify<N: Notification>(&self, params: N::Params) {
        let _ = self.client.notify::<N>(params);
    }

    /// Evaluates what a saved file may be a part of: its own tests, or those of all open files.
    fn save(&mut self, url: &Url) {
        let has_tests = |file: &OpenFile| file.may_have_tests();
        if self.files.get(url).is_some_and(has_tests) {
            return self.evaluate(url);
        }
        let urls: Vec<Url> = self.files.keys().cloned().collect();
        for url in urls {
            self.evaluate(&url);
        }
    }

    /// Evaluates the tests of an open file.
    fn evaluate(&mut self, url: &Url) {
        let Some(file) = self.files.get(url).filter(|file| file.may_have_tests()) else {
            return;
        };
        let path = file.test_file.clone();
        match self.evaluations.get_mut(&path) {
            Some(state) => *state = EvaluationState::Outdated,
            None => self.start_evaluation(path),
        }
    }

    fn start_evaluation(&mut self, file: PathBuf) {
        self.evaluations
            .insert(file.clone(), EvaluationState::Running);
        let (evaluate, client) = (self.host.evaluate.clone(), self.client.clone());
        let turn = self.turn.clone();
        tokio::spawn(async move {
            let _turn = turn.acquire().await;
            let nix = read_text(&file, MOST_BYTES);
            let (nix, result) = match nix {
                Ok(nix) => (nix, evaluate(file.clone()).await),
                Err(error) => (String::new(), Err(error.to_string())),
            };
            let _ = client.emit(Evaluated { file, nix, result });
        });
    }

    fn take(&mut self, evaluated: Evaluated) {
        let Evaluated { file, nix, result } = evaluated;
        let state = self.evaluations.remove(&file);
        match result {
            Ok(tests) => {
                let known = KnownTests::new(nix, tests);
                let mut urls = Vec::new();
                for open in self.files.values_mut().filter(|it| it.test_file == file) {
                    open.compare(&known);
                    urls.push(open.url.clone());
                }
                self.known.insert(file.clone(), known);
                for url in urls {
                    self.publish(&url);
                }
            }
            // What was known of its tests stays so.
            Err(error) => self.notify::<LogMessage>(LogMessageParams {
                typ: MessageType::LOG,
                message: format!("{} does not evaluate: {error}", file.display()),
            }),
        }
        if state == Some(EvaluationState::Outdated) {
            self.start_evaluation(file);
        }
    }

    fn execute(&mut self, params: ExecuteCommandParams) -> Result<(), ResponseError> {
        let wrong = |reason: &str| ResponseError::new(ErrorCode::INVALID_PARAMS, reason);
        let argument = params.arguments.into_iter().next();
        let argument = argument.ok_or_else(|| wrong("the command has no argument"))?;
        let arguments: LensArguments =
            serde_json::from_value(argument).map_err(|error| wrong(&error.to_string()))?;
        let subcommand = arguments.arguments.first().map(String::as_str);
        match (params.command.as_str(), subcommand) {
            (RUN, Some("run")) => self.run(arguments),
            (DEBUG, Some("debug")) => {
                let words = std::iter::once("snowglobe")
                    .chain(arguments.arguments.iter().map(String::as_str));
                let line = shlex::try_join(words).unwrap_or_default();
                self.notify::<ShowMessage>(ShowMessageParams {
                    typ: MessageType::INFO,
                    message: format!("run this in a terminal: {line}"),
                });
            }
            _ => {
                let reason = format!("`{}` is no command of snowglobe", params.command);
                return Err(wrong(&reason));
            }
        }
        Ok(())
    }

    fn run(&mut self, arguments: LensArguments) {
        self.show_failures(BTreeMap::new());
        self.runs += 1;
        let token = NumberOrString::String(format!("snowglobe-{}", self.runs));
        let program = self.host.program.clone();
        let client = self.client.clone();
        tokio::spawn(test_run::run(
            program,
            arguments,
            client,
            token,
            self.progress,
        ));
    }

    /// Shows the failures of a run in the place of those before.
    fn show_failures(&mut self, failures: BTreeMap<Url, Vec<Diagnostic>>) {
        let before = std::mem::replace(&mut self.failures, failures);
        let urls: HashSet<Url> = before
            .into_keys()
            .chain(self.failures.keys().cloned())
            .collect();
        for url in urls {
            if self.files.contains_key(&url) {
                self.publish(&url);
            } else {
                let found = self.failures.get(&url).cloned().unwrap_or_default();
                self.send_diagnostics(url, found);
            }
        }
    }
}
