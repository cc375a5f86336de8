//! The bytes of an editor, before anything parses them: messages of a known length, none of them too long.

use std::io;

use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest message that is read: the text of a file with some room.
const MOST_BYTES: u64 = 64 << 20;

/// The longest line of a header.
const LONGEST_LINE: u64 = 4096;

/// Why the bytes are no messages.
#[derive(Debug, Error)]
pub enum InputError {
    #[error("a header is {0:?}, and not `Content-Length: N`")]
    Header(String),
    #[error("a message has no `Content-Length`")]
    NoLength,
    #[error("a message has {0} bytes, more than {MOST_BYTES}")]
    TooLong(u64),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Copies messages until the input ends, and closes the output.
///
/// # Errors
/// Returns an error if a header is wrong, a message is too long, or the input cannot be read.
pub(super) async fn copy_messages(
    mut input: impl AsyncBufRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> Result<(), InputError> {
    let mut length = None;
    loop {
        let mut line = Vec::new();
        let limited = (&mut input).take(LONGEST_LINE);
        let count = { limited }.read_until(b'\n', &mut line).await?;
        if count == 0 {
            return Ok(output.shutdown().await?);
        }
        if line == b"\r\n" {
            let length: u64 = length.take().ok_or(InputError::NoLength)?;
            output
                .write_all(format!("Content-Length: {length}\r\n\r\n").as_bytes())
                .await?;
            let copied = tokio::io::copy(&mut (&mut input).take(length), &mut output).await?;
            if copied < length {
                return Ok(output.shutdown().await?);
            }
            continue;
        }
        if let Some(value) = content_length(&line)? {
            if value > MOST_BYTES {
                return Err(InputError::TooLong(value));
            }
            length = Some(value);
        }
    }
}

/// Returns the length that a header gives; `None` for another header.
fn content_length(line: &[u8]) -> Result<Option<u64>, InputError> {
    let wrong = || {
        let text = String::from_utf8_lossy(line);
        InputError::Header(text.chars().take(80).collect())
    };
    let text = std::str::from_utf8(line).map_err(|_| wrong())?;
    let (name, value) = text
        .strip_suffix("\r\n")
        .and_then(|line| line.split_once(':'))
        .ok_or_else(wrong)?;
    if !name.eq_ignore_ascii_case("Content-Length") {
        return Ok(None);
    }
    value.trim().parse().map(Some).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn copied(input: &[u8]) -> Result<String, String> {
        let mut output = Vec::new();
        let result = copy_messages(input, &mut output).await;
        let text = String::from_utf8(output).unwrap();
        result.map(|()| text).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn messages_are_copied() {
        let text = "Content-Length: 2\r\nContent-Type: x\r\n\r\n{}content-length:4\r\n\r\nnull";
        assert_eq!(
            copied(text.as_bytes()).await.as_deref(),
            Ok("Content-Length: 2\r\n\r\n{}Content-Length: 4\r\n\r\nnull")
        );
        assert_eq!(copied(b"").await.as_deref(), Ok(""));
        // The editor is gone.
        assert!(copied(b"Content-Length: 9\r\n\r\n{").await.is_ok());
        assert!(copied(b"Content-Len").await.is_err());
    }

    #[tokio::test]
    async fn other_bytes_are_errors() {
        for (input, expected) in [
            (
                &b"hello\r\n"[..],
                "a header is \"hello\\r\\n\", and not `Content-Length: N`",
            ),
            (b"\r\n", "a message has no `Content-Length`"),
            (
                b"Content-Length: -1\r\n\r\n",
                "a header is \"Content-Length: -1\\r\\n\", and not `Content-Length: N`",
            ),
            (
                b"Content-Length: 99999999999\r\n\r\n",
                "a message has 99999999999 bytes, more than 67108864",
            ),
            (
                b"\xff\xfe\r\n",
                "a header is \"\u{fffd}\u{fffd}\\r\\n\", and not `Content-Length: N`",
            ),
        ] {
            assert_eq!(copied(input).await, Err(expected.to_owned()));
        }
        let long = "x".repeat(1 << 20);
        assert!(copied(long.as_bytes()).await.unwrap_err().len() < 200);
    }
}
