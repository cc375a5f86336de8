//! The language server: the check, and help for writing, in editors.
//!
//! Scripts are read in the text that the editor has, which need not be saved, nor evaluate. The nodes come from the last
//! evaluation of the file, which is made when it is opened or saved.

mod diagnostics;
mod help;
mod input;
mod known_tests;
mod lenses;
mod open_file;
mod positions;
mod server;
mod test_run;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use async_lsp::MainLoop;
use async_lsp::concurrency::ConcurrencyLayer;
use async_lsp::panic::CatchUnwindLayer;
use async_lsp::server::LifecycleLayer;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};
use tower::ServiceBuilder;

pub use input::InputError;

use crate::nix_cli::Test;

/// How many bytes of messages wait to be parsed.
const PIPE_BYTES: usize = 64 << 10;

/// Evaluates the tests of a file; the error is a message.
pub type EvaluateTests = dyn Fn(PathBuf) -> Pin<Box<dyn Future<Output = Result<Vec<Test>, String>> + Send>>
    + Send
    + Sync;

/// The services of the program around the server.
#[derive(Clone)]
pub struct Host {
    pub evaluate: Arc<EvaluateTests>,
    /// The program that runs tests.
    pub program: PathBuf,
    /// Options of the server that are those of its runs, too.
    pub options: Vec<String>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut host = formatter.debug_struct("Host");
        host.field("program", &self.program).finish_non_exhaustive()
    }
}

/// Why a server ends early.
#[derive(Debug, Error)]
pub enum ServerError {
    #[error("the editor sends what is no message of the language server protocol: {0}")]
    Input(#[from] InputError),
    #[error("the editor sends a wrong message: {0}")]
    Protocol(String),
    #[error("cannot answer the editor: {0}")]
    Output(std::io::Error),
}

/// Serves an editor until it says `exit`, or closes the input.
///
/// # Errors
/// Returns an error if the input is no stream of messages, or the output cannot be written.
pub async fn serve(
    host: Host,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
) -> Result<(), ServerError> {
    let (main_loop, _) = MainLoop::new_server(|client| {
        ServiceBuilder::new()
            .layer(LifecycleLayer::default())
            .layer(CatchUnwindLayer::default())
            .layer(ConcurrencyLayer::default())
            .service(server::router(host, client))
    });
    let (checked, messages) = tokio::io::simplex(PIPE_BYTES);
    let copy = async {
        let copied = input::copy_messages(BufReader::new(input), messages).await;
        match copied {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    tokio::select! {
        ended = main_loop.run_buffered(checked.compat(), output.compat_write()) => match ended {
            Ok(()) | Err(async_lsp::Error::Eof) => Ok(()),
            Err(async_lsp::Error::Io(source)) if source.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(async_lsp::Error::Io(source)) => Err(ServerError::Output(source)),
            Err(error) => Err(ServerError::Protocol(error.to_string())),
        },
        error = copy => Err(error.into()),
    }
}
