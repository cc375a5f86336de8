//! `snowglobe lsp`: the language server, on standard input and output.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::error::Failed;
use super::run_options::block_on;
use super::source::SourceOptions;
use crate::config::Config;
use crate::lsp::{Host, ServerError, serve};
use crate::nix_cli::{self, Test};
use crate::runner::TestSelection;

#[derive(Debug, Args)]
pub struct LspCommand {
    #[command(flatten)]
    options: SourceOptions,
    /// Accepted for compatibility: the server always uses standard input and output.
    #[arg(long = "stdio")]
    _stdio: bool,
}

impl LspCommand {
    pub fn run(self) -> Result<ExitCode, Failed> {
        let program = std::env::current_exe().map_err(Failed::host("cannot find this program"))?;
        let options = Arc::new(self.options);
        let host = Host {
            evaluate: Arc::new(move |file| {
                let options = options.clone();
                Box::pin(async move {
                    let tests = evaluate(&options, &file).await;
                    tests.map_err(|error| error.to_string())
                })
            }),
            program,
            options: own_options(),
        };
        block_on(async {
            serve(host, tokio::io::stdin(), tokio::io::stdout()).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// The options of this command as they were given: its runs take them, too.
fn own_options() -> Vec<String> {
    let arguments = std::env::args().skip_while(|it| it != "lsp").skip(1);
    arguments.filter(|it| it != "--stdio").collect()
}

/// Evaluates the tests of a file, as the configuration of its folder says.
async fn evaluate(options: &SourceOptions, file: &Path) -> Result<Vec<Test>, Failed> {
    let config = Config::of_folder(file.parent().unwrap_or(Path::new("/")))?;
    let TestSelection {
        nix,
        library,
        evaluation,
        ..
    } = options.select_with(file, &config)?;
    Ok(nix_cli::evaluate(&nix, &library, &evaluation).await?)
}

impl From<ServerError> for Failed {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Output(source) => Self::host("cannot answer the editor")(source),
            wrong => Self::Usage(format!(
                "{wrong} (start `snowglobe lsp` from an editor: see \"In your editor\" in the manual)"
            )),
        }
    }
}
