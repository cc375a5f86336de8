//! QEMU's monitor, by its machine protocol (QMP).

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use qapi::futures::{QapiService, QmpStreamTokio};
use qapi::qmp;
use thiserror::Error;
use tokio::io::WriteHalf;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::backend::Link;

/// How often to look whether QEMU has made the socket.
const SOCKET_PAUSE: Duration = Duration::from_millis(10);

/// How often to ask how far saving and loading are.
const MIGRATION_PAUSE: Duration = Duration::from_millis(5);

/// The most that QEMU takes: a paused guest does not notice.
const LONGEST_DOWNTIME_MS: u64 = 2_000_000;

/// Why the monitor did not do what it was asked.
#[derive(Debug, Error)]
pub enum QmpError {
    #[error("QEMU's monitor cannot be reached: {0}")]
    Connect(io::Error),
    #[error("QEMU's monitor refused `{command}`: {source}")]
    Refused {
        command: String,
        source: qapi::ExecuteError,
    },
    #[error("QEMU's monitor refused `{command}`: {reason}")]
    Answer { command: String, reason: String },
    #[error("QEMU's monitor is gone")]
    Gone,
}

/// A key of QEMU's keyboard.
#[derive(Debug, Clone)]
pub struct Key(qmp::KeyValue);

impl Key {
    /// By QEMU's name for it, such as `a`, `ret` or `meta_l`, or by its raw
    /// code, such as `0x1c`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if let Some(code) = name.strip_prefix("0x") {
            let data = i64::from_str_radix(code, 16).ok()?;
            return Some(Self(qmp::KeyValue::number(qmp::IntWrapper { data })));
        }
        let data = qmp::QKeyCode::from_str(name).ok()?;
        Some(Self(qmp::KeyValue::qcode(qmp::QKeyCodeWrapper { data })))
    }
}

/// A connection to a monitor.
pub struct Qmp {
    service: QapiService<QmpStreamTokio<WriteHalf<UnixStream>>>,
    events: JoinHandle<()>,
}

impl Qmp {
    /// Connects, waiting until QEMU has made the socket.
    ///
    /// # Errors
    /// Returns an error if the socket does not come, or what answers is no monitor.
    pub async fn connect(socket: &Path) -> Result<Self, QmpError> {
        let (incoming, outgoing) = tokio::io::split(reach(socket).await?);
        let stream = QmpStreamTokio::open_split(incoming, outgoing)
            .await
            .map_err(QmpError::Connect)?;
        let stream = stream.negotiate().await.map_err(QmpError::Connect)?;
        let (service, events) = stream.into_parts();
        Ok(Self {
            service,
            events: tokio::spawn(events.into_future()),
        })
    }

    /// Runs a command of the human monitor; returns what it prints.
    ///
    /// # Errors
    /// Returns an error if QEMU is gone.
    pub async fn human(&self, command: &str) -> Result<String, QmpError> {
        let request = qmp::human_monitor_command {
            cpu_index: None,
            command_line: command.to_owned(),
        };
        self.execute(command, request).await
    }

    /// Connects or disconnects a network card.
    ///
    /// # Errors
    /// Returns an error if there is no card of this name.
    pub async fn set_link(&self, name: &str, link: Link) -> Result<(), QmpError> {
        let request = qmp::set_link {
            name: name.to_owned(),
            up: link == Link::Up,
        };
        self.execute("set_link", request).await.map(drop)
    }

    /// Presses keys together and lets them go.
    ///
    /// # Errors
    /// Returns an error if QEMU is gone.
    pub async fn send_key(&self, keys: Vec<Key>) -> Result<(), QmpError> {
        let request = qmp::send_key {
            hold_time: None,
            keys: keys.into_iter().map(|key| key.0).collect(),
        };
        self.execute("send-key", request).await.map(drop)
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// Returns an error if QEMU is gone.
    pub async fn power_down(&self) -> Result<(), QmpError> {
        self.execute("system_powerdown", qmp::system_powerdown {})
            .await
            .map(drop)
    }

    /// Writes what the display shows to a file, as a PNG picture.
    ///
    /// # Errors
    /// Returns an error if the machine has no display or the file cannot be written.
    pub async fn screenshot(&self, file: &Path) -> Result<(), QmpError> {
        let request = qmp::screendump {
            filename: file.to_string_lossy().into_owned(),
            device: None,
            head: None,
            format: Some(qmp::ImageFormat::png),
        };
        self.execute("screendump", request).await.map(drop)
    }

    /// Stops the guest's processors.
    ///
    /// # Errors
    /// Returns an error if QEMU is gone.
    pub async fn pause(&self) -> Result<(), QmpError> {
        self.execute("stop", qmp::stop {}).await.map(drop)
    }

    /// Lets the guest go on.
    ///
    /// # Errors
    /// Returns an error if QEMU is gone.
    pub async fn resume(&self) -> Result<(), QmpError> {
        self.execute("cont", qmp::cont {}).await.map(drop)
    }

    /// Writes a paused guest's memory and devices to a file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written, or a device cannot be saved.
    pub async fn save(&self, file: &Path) -> Result<(), QmpError> {
        // Nothing runs meanwhile that could be slowed down.
        let limits = qmp::MigrateSetParameters {
            max_bandwidth: Some(u64::MAX >> 16),
            downtime_limit: Some(LONGEST_DOWNTIME_MS),
            ..Default::default()
        };
        self.execute(
            "migrate-set-parameters",
            qmp::migrate_set_parameters(limits),
        )
        .await?;
        let request = qmp::migrate {
            channels: None,
            detach: None,
            resume: None,
            uri: Some(self.uri(file, "cat >").await?),
        };
        self.execute("migrate", request).await?;
        loop {
            let info = self.execute("query-migrate", qmp::query_migrate {}).await?;
            match info.status {
                Some(qmp::MigrationStatus::completed) => return Ok(()),
                Some(qmp::MigrationStatus::failed | qmp::MigrationStatus::cancelled) => {
                    return Err(QmpError::Answer {
                        command: "migrate".to_owned(),
                        reason: info.error_desc.unwrap_or_else(|| "it failed".to_owned()),
                    });
                }
                _ => tokio::time::sleep(MIGRATION_PAUSE).await,
            }
        }
    }

    /// Reads what [`Qmp::save`] has written, in a QEMU that was started with
    /// `-incoming defer`. The guest is paused then.
    ///
    /// # Errors
    /// Returns an error if QEMU ends over it, as where the file is another machine's.
    pub async fn load(&self, file: &Path) -> Result<(), QmpError> {
        let request = qmp::migrate_incoming {
            channels: None,
            exit_on_error: None,
            uri: Some(self.uri(file, "cat <").await?),
        };
        self.execute("migrate-incoming", request).await?;
        loop {
            let state = self.execute("query-status", qmp::query_status {}).await?;
            if state.status != qmp::RunState::inmigrate {
                return Ok(());
            }
            tokio::time::sleep(MIGRATION_PAUSE).await;
        }
    }

    /// QEMU reads and writes files by itself since 8.2, before with a shell's help.
    async fn uri(&self, file: &Path, by_shell: &str) -> Result<String, QmpError> {
        let version = self
            .execute("query-version", qmp::query_version {})
            .await?
            .qemu;
        let file = file.to_string_lossy();
        if (version.major, version.minor) >= (8, 2) {
            return Ok(format!("file:{file}"));
        }
        let quoted = shlex::try_quote(&file).map_err(|error| QmpError::Answer {
            command: "migrate".to_owned(),
            reason: format!("{file}: {error}"),
        })?;
        Ok(format!("exec:{by_shell} {quoted}"))
    }

    /// Runs a command to its end, also if its caller is dropped: the next one waits for the answer, which qapi would
    /// take for its own.
    async fn execute<C>(&self, name: &str, command: C) -> Result<C::Ok, QmpError>
    where
        C: qmp::QmpCommand + Send + Sync + 'static,
        C::Ok: Send + 'static,
    {
        let answer = tokio::spawn(self.service.execute(command)).await;
        answer
            .map_err(|_| QmpError::Gone)?
            .map_err(|source| QmpError::Refused {
                command: name.to_owned(),
                source,
            })
    }
}

impl fmt::Debug for Qmp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qmp").finish_non_exhaustive()
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.events.abort();
    }
}

/// Connects to a monitor, waiting until QEMU has made the socket.
pub(super) async fn reach(socket: &Path) -> Result<UnixStream, QmpError> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => {
                tokio::time::sleep(SOCKET_PAUSE).await;
            }
            other => return other.map_err(QmpError::Connect),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixListener;

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}"#;

    /// Answers each command, the second one after a while: the first one is that of the handshake.
    async fn serve(listener: UnixListener) {
        let (stream, _) = listener.accept().await.unwrap();
        let (incoming, mut outgoing) = tokio::io::split(stream);
        outgoing
            .write_all(format!("{GREETING}\n").as_bytes())
            .await
            .unwrap();
        let mut lines = BufReader::new(incoming).lines();
        let mut count = 0;
        while let Some(line) = lines.next_line().await.unwrap() {
            count += 1;
            if count == 2 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let text = if line.contains("second") { "2" } else { "1" };
            let answer = match count {
                1 => "{\"return\": {}}\n".to_owned(),
                _ => format!("{{\"return\": \"{text}\"}}\n"),
            };
            outgoing.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_command_that_nobody_waits_for_ends_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        tokio::spawn(serve(UnixListener::bind(&socket).unwrap()));
        let monitor = Qmp::connect(&socket).await.unwrap();
        let limit = Duration::from_millis(20);
        let cut = tokio::time::timeout(limit, monitor.human("first")).await;
        assert!(cut.is_err());
        assert_eq!(monitor.human("second").await.unwrap(), "2");
    }
}
