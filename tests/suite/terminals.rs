//! The screen of a terminal that is attached, resized, suspended and interrupted. The terminal is tmux, which wraps
//! lines anew when it is resized, as the terminals of desktops do.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Place, where_it_runs};

/// Nothing here takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// The values below a failed assertion.
const MOST_INDENTED: usize = 2;

const PROMPT: &str = "prompt>";
const ROWS: &str = "40";

/// A user's shell on a terminal.
struct Terminal<'a> {
    place: &'a Place,
}

impl<'a> Terminal<'a> {
    fn open(place: &'a Place, columns: u16) -> Self {
        let terminal = Self { place };
        let columns = columns.to_string();
        let shell = format!("PS1='{PROMPT} ' exec bash --norc --noprofile -i");
        let size = ["-x", &columns, "-y", ROWS];
        let new = ["-f", "/dev/null", "new-session", "-d"];
        terminal.tmux(&[&new[..], &size, &[&shell]].concat());
        terminal.wait_for(|lines| lines == [PROMPT]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux: Command = where_it_runs("tmux", &self.place.command(&[]));
        let socket = self.place.path().join("tmux");
        let output = tmux.arg("-S").arg(socket).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn enter(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.press("Enter");
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn resize(&self, columns: u16) {
        let columns = columns.to_string();
        self.tmux(&["resize-window", "-x", &columns, "-y", ROWS]);
    }

    /// The lines on the screen that are not empty.
    fn screen(&self) -> Vec<String> {
        let screen = self.tmux(&["capture-pane", "-p"]);
        let lines = screen.lines().map(str::trim_end);
        lines
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Waits until the screen is as wanted.
    fn wait_for(&self, is_wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let begin = Instant::now();
        loop {
            let screen = self.screen();
            if is_wanted(&screen) {
                return screen;
            }
            assert!(begin.elapsed() < PATIENCE, "{screen:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a line begins with `text`.
    fn wait_for_line(&self, text: &str) -> Vec<String> {
        self.wait_for(|lines| lines.iter().any(|line| line.starts_with(text)))
    }

    /// Runs a test until its end is on the screen.
    fn run(&self, arguments: &str) {
        let program = env!("CARGO_BIN_EXE_snowglobe");
        self.enter(&format!(
            "clear; {program} run --cold --nixpkgs builtin test.nix {arguments}"
        ));
    }

    /// Waits until a guest's shell asks for a command, without a live line beside it.
    fn wait_for_guest(&self) {
        let screen = self.wait_for(|lines| lines.last().is_some_and(|last| last.ends_with('#')));
        assert_no_stairs(&screen);
        assert_eq!(live(&screen), [""; 0], "{screen:#?}");
    }

    /// Waits until the shell asks for a command; the terminal is as it was.
    fn wait_for_prompt(&self) -> Vec<String> {
        let screen = self.wait_for(|lines| lines.last().is_some_and(|last| last == PROMPT));
        self.enter(
            "clear; stty --all | grep --only-matching --word-regexp -e '-*icanon' -e '-*echo'",
        );
        self.wait_for(|lines| lines == ["icanon", "echo", PROMPT]);
        screen
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// Writes a test with two containers.
fn write_test(place: &Place, script: &str) {
    let test = format!(
        "(import <nixpkgs> {{ }}).nixosTest {{
          name = \"terminal\";
          nodes = {{
            machine.virtualisation = {{ guest = \"tiny\"; backend = \"container\"; }};
            other.virtualisation = {{ guest = \"tiny\"; backend = \"container\"; }};
          }};
          testScript = ''
{script}
          '';
        }}"
    );
    place.write("test.nix", &test);
}

/// The live lines on a screen: they begin with a spinner.
fn live(screen: &[String]) -> Vec<&str> {
    let is_live =
        |line: &&String| line.starts_with(|c: char| ('\u{2800}'..='\u{28ff}').contains(&c));
    let lines = screen.iter().filter(is_live);
    lines
        .map(|line| line.split_once(' ').map_or("", |(_, text)| text))
        .collect()
}

fn has_both_live_lines(screen: &[String]) -> bool {
    match live(screen)[..] {
        [machine, other] => {
            machine.starts_with("machine: must succeed: sl") && other.starts_with("other:")
        }
        _ => false,
    }
}

/// Asserts that each line of a screen begins in the first column, or is indented as lines of a source and its frame.
fn assert_no_stairs(screen: &[String]) {
    let is_stair = |line: &&String| {
        let text = line.trim_start();
        let of_frame = |c: char| c.is_ascii_digit() || "╭│─╯·┆".contains(c);
        text.len() + MOST_INDENTED < line.len() && !text.starts_with(of_frame)
    };
    let stairs: Vec<&String> = screen.iter().filter(is_stair).collect();
    assert!(stairs.is_empty(), "{stairs:#?} in {screen:#?}");
}

#[test]
fn live_lines_stay_one_each_and_leave_nothing() {
    for columns in [60, 200] {
        let place = Place::new();
        let script = "machine.start()\nother.start()\nmachine.succeed('sleep 1000')";
        write_test(&place, script);
        let terminal = Terminal::open(&place, columns);
        terminal.run("-o out");
        terminal.wait_for(has_both_live_lines);
        // Narrower and wider, and twice before the next picture.
        for columns in [40, 200, 60, 30, 120] {
            terminal.resize(columns);
            let is_followed = |lines: &[String]| {
                let width = |line: &String| line.chars().count() == usize::from(columns);
                has_both_live_lines(lines) && lines.iter().any(width)
            };
            assert_no_stairs(&terminal.wait_for(is_followed));
        }
        terminal.resize(200);
        terminal.resize(columns);
        for _ in 0..2 {
            terminal.press("C-z");
            let screen = terminal.wait_for_line("[1]+  Stopped");
            assert_eq!(live(&screen), [""; 0], "{screen:#?}");
            terminal.wait_for_prompt();
            terminal.enter("clear; fg");
            terminal.wait_for(has_both_live_lines);
        }
        terminal.press("C-c");
        terminal.wait_for_line("interrupted: terminal");
        let screen = terminal.wait_for_prompt();
        assert_eq!(live(&screen), [""; 0], "{screen:#?}");
        assert_no_stairs(&screen);
        drop(terminal);
        place.assert_tidy();
    }
}

#[test]
fn lines_beside_a_shell_begin_in_the_first_column() {
    for columns in [60, 200] {
        let place = Place::new();
        // The machine boots when the shell opens.
        let script = "machine.start()\nassert machine.name == 'a name that it does not have'";
        write_test(&place, script);
        let terminal = Terminal::open(&place, columns);
        terminal.run("-o out --on-failure shell");
        terminal.wait_for_guest();
        terminal.enter("clear; stty size");
        terminal.wait_for_line(&format!("{ROWS} {columns}"));
        terminal.resize(100);
        // The guest hears of the new size a moment later.
        terminal.enter(&format!(
            "clear; until stty size | grep '^{ROWS} 100$'; do sleep 0.1; done"
        ));
        terminal.wait_for_line(&format!("{ROWS} 100"));
        // Ctrl-Z and Ctrl-C are keys of the guest.
        terminal.enter("clear; sh -c 'echo sleeping; exec sleep 1000'");
        terminal.wait_for_line("sleeping");
        terminal.press("C-z");
        terminal.wait_for_line("[1]+  Stopped");
        terminal.enter("clear; fg");
        terminal.wait_for_line("sh -c");
        terminal.press("C-c");
        terminal.enter("echo code $?");
        terminal.wait_for_line("code 130");
        terminal.enter("exit");
        terminal.wait_for_line("failed: terminal");
        assert_no_stairs(&terminal.wait_for_prompt());
        drop(terminal);
        place.assert_tidy();
    }
}

#[test]
fn a_script_may_attach_the_terminal_between_live_lines() {
    for columns in [60, 200] {
        let place = Place::new();
        let script = "machine.start()\nother.succeed('true')\nmachine.shell_interact()\nother.succeed('sleep 1000')";
        write_test(&place, script);
        let terminal = Terminal::open(&place, columns);
        terminal.run("-o out");
        terminal.wait_for_guest();
        terminal.enter("echo left; exit");
        let is_back = |lines: &[String]| {
            let is_other = |line: &&str| line.starts_with("other: must succeed");
            live(lines).iter().filter(|line| is_other(line)).count() == 1
        };
        assert_no_stairs(&terminal.wait_for(is_back));
        terminal.press("C-c");
        let screen = terminal.wait_for_line("interrupted: terminal");
        assert_eq!(live(&screen), [""; 0], "{screen:#?}");
        assert_no_stairs(&terminal.wait_for_prompt());
        drop(terminal);
        place.assert_tidy();
    }
}
