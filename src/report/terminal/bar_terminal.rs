//! The terminal that progress bars are drawn on. It may be resized, and others may write on it.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use console::Term;
use indicatif::{MultiProgress, ProgressDrawTarget, TermLike};

use crate::raw_terminal::USUAL_SIZE;

/// The most pictures of the bars in a second.
const RATE: u8 = 20;

/// Control sequences of terminals since the VT100: clear from the cursor on, and whether long lines go on below.
const CLEAR_BELOW: &str = "\x1b[J";
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

/// Returns progress bars on standard error, below the lines that stay.
#[must_use]
pub fn progress_bars() -> MultiProgress {
    MultiProgress::with_draw_target(stderr_target())
}

/// Returns standard error as the target of progress bars.
pub(super) fn stderr_target() -> ProgressDrawTarget {
    let terminal = BarTerminal::new(io::stderr(), || Term::stderr().size());
    ProgressDrawTarget::term_like_with_hz(Box::new(terminal), RATE)
}

/// Clears the bars that are on standard error.
pub(super) fn clear_stderr() {
    // A stream that cannot be written to shows no bars.
    let _ = write!(io::stderr(), "\r{CLEAR_BELOW}");
}

/// A terminal whose cursor rests at the start of the first bar. Terminals that wrap their lines anew when they are
/// resized move the cursor with its line, so that everything from the cursor on is what was drawn, and nothing else.
struct BarTerminal<Output, Size> {
    /// Rows and columns.
    size: Size,
    screen: Mutex<Screen<Output>>,
}

struct Screen<Output> {
    output: Output,
    /// The lines of the next picture.
    next: Vec<String>,
    /// Whether the terminal shows lines of a picture.
    is_drawn: bool,
}

impl<Output: Write, Size: Fn() -> (u16, u16)> BarTerminal<Output, Size> {
    fn new(output: Output, size: Size) -> Self {
        let screen = Screen {
            output,
            next: Vec::new(),
            is_drawn: false,
        };
        let screen = Mutex::new(screen);
        Self { size, screen }
    }

    fn add_line(&self, line: &str) {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.next.push(line.to_owned());
    }
}

impl<Output: Write> Screen<Output> {
    /// Replaces the last picture by the next. A terminal that is smaller already than it says cuts the lines off.
    fn draw(&mut self) -> io::Result<()> {
        let lines = std::mem::take(&mut self.next);
        let was_drawn = std::mem::replace(&mut self.is_drawn, !lines.is_empty());
        if lines.is_empty() && !was_drawn {
            return Ok(());
        }
        let up = match lines.len() {
            0 | 1 => String::new(),
            count => format!("\x1b[{}A", count - 1),
        };
        let lines = lines.join("\r\n");
        let picture = format!("\r{CLEAR_BELOW}{WRAP_OFF}{lines}{WRAP_ON}\r{up}");
        self.output.write_all(picture.as_bytes())?;
        self.output.flush()
    }
}

/// The moves of the cursor are ignored: each picture begins at the first bar.
impl<Output, Size> TermLike for BarTerminal<Output, Size>
where
    Output: Write + Send,
    Size: Fn() -> (u16, u16) + Send + Sync,
{
    fn width(&self) -> u16 {
        match (self.size)().1 {
            0 => USUAL_SIZE.1,
            columns => columns,
        }
    }

    fn height(&self) -> u16 {
        (self.size)().0
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.add_line(line);
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        // indicatif fills each line with spaces; the terminal would join such lines when it is widened.
        if !text.trim().is_empty() {
            self.add_line(text.trim_end());
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.draw()
    }
}

impl<Output, Size> fmt::Debug for BarTerminal<Output, Size> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarTerminal").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what a terminal of 20 columns shows, and the row and the column of its cursor.
    fn shown(pictures: &[&[&str]]) -> (String, (u16, u16)) {
        let terminal = BarTerminal::new(b"a line\r\n".to_vec(), || (6, 20));
        for lines in pictures {
            for line in *lines {
                terminal.write_str(line).unwrap();
                terminal.write_str("   ").unwrap();
            }
            terminal.flush().unwrap();
        }
        let bytes = terminal.screen.into_inner().unwrap().output;
        let mut parser = vt100::Parser::new(6, 20, 0);
        parser.process(&bytes);
        let screen = parser.screen();
        (screen.contents(), screen.cursor_position())
    }

    /// Lines that are too wide, which vt100 always wraps: see `tests/suite/terminals.rs`.
    #[test]
    fn the_cursor_rests_at_the_first_bar() {
        assert_eq!(shown(&[]), ("a line".to_owned(), (1, 0)));
        let two: &[&str] = &["first", "second"];
        assert_eq!(shown(&[two]), ("a line\nfirst\nsecond".to_owned(), (1, 0)));
        assert_eq!(shown(&[two, &["third"]]).0, "a line\nthird");
        assert_eq!(shown(&[two, &[]]), ("a line".to_owned(), (1, 0)));
    }
}
