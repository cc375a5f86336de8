//! The command line: which command, which display, which exit code. Each command makes a request of `runner`.

mod attach;
mod build;
mod cache;
mod candidates;
mod check;
mod completion;
mod debug;
mod doctor;
mod driver;
mod error;
mod eval;
mod filter;
mod findings;
mod flake_reference;
mod frontend;
mod guest;
mod history;
mod interactive;
mod lsp;
mod many_options;
mod mock_run;
mod play;
mod report;
mod run;
mod run_options;
mod sarif;
mod source;
mod stubs;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::signal::Signal;

use self::error::{Failed, code, print_to_stderr, report_failure};
use self::run_options::block_on;
use crate::child::catch_signal;
use crate::container::{self, BootEnd};
use crate::runner::{TEST_PROCESS, interrupts, run_test_process};
use crate::session;

/// Runs NixOS integration tests on virtual machines.
#[derive(Debug, Parser)]
#[command(name = "snowglobe", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The commands of users, of which shells complete the names.
#[derive(Debug, Parser)]
#[command(name = "snowglobe", version, disable_help_subcommand = true)]
struct UserCli {
    #[command(subcommand)]
    _command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    OfUsers(Box<UserCommand>),
    #[command(flatten)]
    Internal(InternalCommand),
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Evaluate, build and run the tests of a file.
    Run(run::RunCommand),
    /// Run the tests of a file again whenever it, its imports or its script change.
    Watch(watch::WatchCommand),
    /// Open a Python prompt at a place of a test's script: before its failure, a line or a subtest.
    Debug(debug::DebugCommand),
    /// Open a Python prompt with the machines of a test.
    Repl(interactive::ReplCommand),
    /// Open a shell on a machine of a test, which is started for it or runs already.
    Shell(interactive::ShellCommand),
    /// Open the prompt of a script that waits in another process, at a breakpoint or after a failure.
    Attach(attach::AttachCommand),
    /// Run a built test, with the command line of nixpkgs' test driver.
    Driver(driver::DriverCommand),
    /// Build the machines of a file's tests, or any derivation, and run nothing.
    Build(build::BuildCommand),
    /// Check the scripts of a file's tests without building anything.
    Check(check::CheckCommand),
    /// Print the manifests of a file's tests without building anything.
    Eval(eval::EvalCommand),
    /// List the tests of a file and their nodes.
    List(eval::ListCommand),
    /// Show how tests ended in earlier runs.
    History(history::HistoryCommand),
    /// Make one report of several runs.
    Report(report::ReportCommand),
    /// List or remove the checkpoints of earlier runs.
    Cache(cache::CacheCommand),
    /// Show what this host has for tests, and what it lacks.
    Doctor(doctor::DoctorCommand),
    /// Set up the built-in guests.
    #[command(subcommand)]
    Guest(guest::GuestCommand),
    /// Print the test API as a stub for editors and type checkers.
    Stubs(stubs::StubsCommand),
    /// Serve an editor by the language server protocol: findings, completion, hover, and tests to run.
    Lsp(lsp::LspCommand),
    /// Print a completion script for a shell.
    Completions {
        /// The shell to complete for.
        shell: clap_complete::Shell,
    },
}

/// Commands that Snowglobe runs itself, and those of its own tests.
#[derive(Debug, Subcommand)]
enum InternalCommand {
    /// Run a script without machines and print its calls.
    #[command(hide = true)]
    MockRun(mock_run::MockRunCommand),
    /// Show the recorded events of a run.
    #[command(hide = true)]
    Play(play::PlayCommand),
    /// Run one of several tests.
    #[command(hide = true, name = TEST_PROCESS)]
    TestProcess,
    /// Hold the user namespace of a run's containers.
    #[command(hide = true, name = container::KEEPER)]
    ContainerKeeper { folder: PathBuf },
    /// Be a machine that is a container.
    #[command(hide = true, name = container::MACHINE)]
    ContainerMachine { plan: PathBuf },
    /// Boot a machine that is a container, once.
    #[command(hide = true, name = container::BOOT)]
    ContainerBoot,
    /// Run a shell in a container, or a command.
    #[command(hide = true, name = container::ENTER)]
    ContainerEnter {
        boot: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Remove the folder of a run whose process is gone.
    #[command(hide = true, name = session::CLEANER)]
    TidyUp { folder: PathBuf },
}

/// Runs the tool with this process' arguments.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = completion::answer::<UserCli>() {
        return code;
    }
    // A limit on the size of files is an error of what is written, which says more than the end of the process.
    catch_signal(Signal::SIGXFSZ);
    // For those who look for a fault in the tool itself.
    let filter = tracing_subscriber::EnvFilter::from_env("SNOWGLOBE_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    // Paths are in events, reports and what Nix evaluates, which are text.
    if let Some(wrong) = std::env::args_os().find(|argument| argument.to_str().is_none()) {
        let message = format!(
            "the argument {} is not UTF-8: rename what it names, or give it by another path",
            wrong.display()
        );
        return report_failure(&Failed::Usage(message));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Its own code for wrong usage is the one of this tool, 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(failed) => report_failure(&failed),
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failed> {
    match cli.command {
        Command::OfUsers(command) => command.run(),
        Command::Internal(command) => command.run(),
    }
}

impl UserCommand {
    fn run(self) -> Result<ExitCode, Failed> {
        match self {
            Self::Run(command) => command.run(),
            Self::Watch(command) => command.run(),
            Self::Debug(command) => command.run(),
            Self::Repl(command) => command.run(),
            Self::Shell(command) => command.run(),
            Self::Attach(command) => command.run(),
            Self::Driver(command) => command.run(),
            Self::Build(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Stubs(command) => command.run(),
            Self::Lsp(command) => command.run(),
            Self::Eval(command) => command.run(),
            Self::List(command) => command.run(),
            Self::History(command) => command.run(),
            Self::Report(command) => command.run(),
            Self::Cache(command) => command.run(),
            Self::Doctor(command) => command.run(),
            Self::Guest(command) => command.run(),
            Self::Completions { shell } => completion::print_script(shell),
        }
    }
}

impl InternalCommand {
    fn run(self) -> Result<ExitCode, Failed> {
        match self {
            Self::MockRun(command) => command.run(),
            Self::Play(command) => command.run(),
            Self::TestProcess => block_on(async {
                run_test_process(&mut interrupts()?).await?;
                Ok(ExitCode::SUCCESS)
            }),
            Self::ContainerKeeper { folder } => {
                let kept = container::keep_namespace(&folder);
                Ok(in_container(kept, |()| code::PASSED))
            }
            Self::ContainerMachine { plan } => {
                let run = container::run_machine(&plan);
                Ok(in_container(run, |()| code::PASSED))
            }
            Self::ContainerBoot => Ok(in_container(container::boot_machine(), BootEnd::code)),
            Self::ContainerEnter { boot, command } => {
                let ended = if command.is_empty() {
                    container::open_shell(boot).map(|()| code::PASSED)
                } else {
                    container::run_command(boot, &command)
                };
                Ok(in_container(ended, |code| code))
            }
            Self::TidyUp { folder } => {
                session::tidy_up_after_parent(&folder)
                    .map_err(Failed::host_at("cannot remove", &folder))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// The end of a process of a container: its message is for the driver that has started it.
fn in_container<T>(
    result: Result<T, container::ContainerError>,
    code: impl Fn(T) -> u8,
) -> ExitCode {
    ExitCode::from(match result {
        Ok(end) => code(end),
        Err(error) => {
            print_to_stderr(&error);
            code::HOST_FAILED
        }
    })
}

/// Prints a command's result.
fn write_stdout(text: &str) -> Result<(), Failed> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Failed::host("cannot write to standard output")),
    }
}
