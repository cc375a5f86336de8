//! The language server, as editors speak to it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::Place;

/// How long an answer may take on a busy host.
const LIMIT: Duration = Duration::from_mins(2);

/// An editor that is connected to a server.
struct Editor {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<Value>,
    /// Messages that came while another one was waited for.
    earlier: VecDeque<Value>,
    requests: i64,
}

impl Editor {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = place.command(&[&["lsp", "--nixpkgs", "builtin"], arguments].concat());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            while let Some(message) = read(&mut output) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let input = child.stdin.take();
        Self {
            child,
            input,
            messages,
            earlier: VecDeque::new(),
            requests: 0,
        }
    }

    /// An editor that has begun a session.
    fn begin(place: &Place) -> Self {
        let mut editor = Self::start(place, &[]);
        let capabilities = json!({ "window": { "workDoneProgress": true } });
        let answer = editor.ask("initialize", &json!({ "capabilities": capabilities }));
        assert_eq!(answer["serverInfo"]["name"], "snowglobe");
        // No semantic tokens: those for Nix are another server's.
        assert_eq!(
            answer["capabilities"]["semanticTokensProvider"],
            Value::Null
        );
        editor.tell("initialized", &json!({}));
        editor
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let input = self.input.as_mut().unwrap();
        write!(input, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        input.flush().unwrap();
    }

    fn tell(&mut self, method: &str, params: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    fn receive(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.earlier.iter().position(&fits) {
            return self.earlier.remove(at).unwrap();
        }
        loop {
            let message = self
                .messages
                .recv_timeout(LIMIT)
                .expect("the server is silent");
            if fits(&message) {
                return message;
            }
            // A request of the server.
            if message["method"].is_string() && !message["id"].is_null() {
                self.send(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": null }));
            }
            self.earlier.push_back(message);
        }
    }

    fn response(&mut self, method: &str, params: &Value) -> Value {
        self.requests += 1;
        let id = self.requests;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        self.receive(|message| message["id"] == id && message["method"].is_null())
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let response = self.response(method, params);
        assert_eq!(response["error"], Value::Null, "{response}");
        response["result"].clone()
    }

    fn open(&mut self, url: &str, text: &str) {
        let document = json!({ "uri": url, "languageId": "nix", "version": 1, "text": text });
        self.tell("textDocument/didOpen", &json!({ "textDocument": document }));
    }

    fn change(&mut self, url: &str, text: &str) {
        self.tell(
            "textDocument/didChange",
            &json!({ "textDocument": { "uri": url, "version": 2 }, "contentChanges": [{ "text": text }] }),
        );
    }

    /// Waits for diagnostics of a file that fit.
    fn diagnostics(&mut self, url: &str, fits: impl Fn(&[(String, String)]) -> bool) -> Value {
        let message = self.receive(|message| {
            message["method"] == "textDocument/publishDiagnostics"
                && message["params"]["uri"] == url
                && fits(&found(message))
        });
        message["params"]["diagnostics"].clone()
    }

    /// Asks about the position that is marked in the text by `|`.
    fn at(&mut self, method: &str, url: &str, marked: &str) -> Value {
        let offset = marked.find('|').unwrap();
        let before = &marked[..offset];
        let line = before.matches('\n').count();
        let character = before.rsplit('\n').next().unwrap().encode_utf16().count();
        self.change(url, &marked.replacen('|', "", 1));
        self.ask(
            method,
            &json!({ "textDocument": { "uri": url }, "position": { "line": line, "character": character } }),
        )
    }

    fn labels(&mut self, url: &str, marked: &str) -> Vec<String> {
        let items = self.at("textDocument/completion", url, marked);
        let items = items.as_array().cloned().unwrap_or_default();
        let labels = items
            .iter()
            .map(|item| item["label"].as_str().unwrap().to_owned());
        labels.collect()
    }

    fn end(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), errors)
    }
}

fn read(output: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        output.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" if line.is_empty() => return None,
            "" => break,
            header => length = header.strip_prefix("Content-Length: ")?.parse().ok()?,
        }
    }
    let mut text = vec![0; length];
    output.read_exact(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The codes and messages of diagnostics.
fn found(message: &Value) -> Vec<(String, String)> {
    let diagnostics = message["params"]["diagnostics"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |it: &Value| (text(&it["code"]), text(&it["message"]));
    diagnostics.iter().map(one).collect()
}

fn url(place: &Place, name: &str) -> String {
    format!("file://{}", place.path().join(name).display())
}

/// A test whose script has one line.
fn test_file(line: &str) -> String {
    format!(
        "(import <nixpkgs> {{ }}).nixosTest {{
  name = \"edited\";
  nodes.server.virtualisation.guest = \"debian\";
  nodes.server.systemd.services.web.script = \"true\";
  nodes.client.virtualisation.guest = \"tiny\";
  testScript = ''
    start_all()
    {line}
    with subtest(\"a (small) one\"):
        client.succeed(\"echo ${{toString 1}}\")
  '';
}}
"
    )
}

#[test]
fn an_editor_is_helped_while_it_types() {
    let place = Place::new();
    let file = place.write("test.nix", &test_file("server.start()"));
    let mut editor = Editor::begin(&place);
    let url = format!("file://{}", file.display());
    editor.open(&url, &test_file("server.strat()"));
    // Before an evaluation, the machines are the nodes that the file names.
    let shown = editor.diagnostics(&url, |found| !found.is_empty());
    assert_eq!(
        shown[0]["message"],
        "a machine has no `strat`: did you mean `start`?"
    );
    assert_eq!(shown[0]["code"], "unknown-attribute");
    assert_eq!(
        shown[0]["range"],
        json!({ "start": { "line": 7, "character": 11 }, "end": { "line": 7, "character": 16 } })
    );
    // After one, no other name is a machine.
    editor.change(&url, &test_file("sever.start()"));
    editor.diagnostics(&url, |found| {
        found
            .iter()
            .any(|(code, message)| code == "unknown-machine" && message.contains("`server`"))
    });
    let units = editor.labels(&url, &test_file("server.wait_for_unit(\"|"));
    assert!(units.contains(&"web.service".to_owned()), "{units:?}");
    let units = editor.labels(&url, &test_file("client.wait_for_unit(\"|\")"));
    assert!(!units.contains(&"web.service".to_owned()), "{units:?}");
    let members = editor.labels(&url, &test_file("server.|"));
    assert!(members.contains(&"wait_for_unit".to_owned()), "{members:?}");
    let names = editor.labels(&url, &test_file("|"));
    assert_eq!(
        names
            .iter()
            .filter(|name| ["server", "client"].contains(&name.as_str()))
            .count(),
        2
    );
    let arguments = editor.labels(&url, &test_file("server.succeed(\"x\", |)"));
    assert!(arguments.contains(&"timeout=".to_owned()), "{arguments:?}");
    // Outside of scripts it is silent.
    let outside = test_file("").replacen("nodes.server.", "nodes.server.|", 1);
    assert_eq!(editor.labels(&url, &outside), [""; 0]);

    let hover = editor.at(
        "textDocument/hover",
        &url,
        &test_file("server.succ|eed(\"x\")"),
    );
    let text = hover["contents"]["value"].as_str().unwrap();
    assert!(
        text.starts_with("```python\ndef succeed(*commands: str, "),
        "{text}"
    );
    assert_eq!(
        hover["range"]["start"],
        json!({ "line": 7, "character": 11 })
    );
    let signature = editor.at(
        "textDocument/signatureHelp",
        &url,
        &test_file("server.copy_from_host(\"x\", |"),
    );
    assert_eq!(signature["activeParameter"], 1);
    let node = editor.at(
        "textDocument/definition",
        &url,
        &test_file("cli|ent.start()"),
    );
    assert_eq!(node["uri"], url);
    assert_eq!(node["range"]["start"], json!({ "line": 4, "character": 8 }));
    assert_eq!(editor.end(), (Some(0), String::new()));
}

#[test]
fn a_file_that_does_not_evaluate_keeps_its_nodes() {
    let place = Place::new();
    let file = place.write("test.nix", &test_file("server.start()"));
    let url = format!("file://{}", file.display());
    let mut editor = Editor::begin(&place);
    editor.open(&url, &test_file("sever.start()"));
    editor.diagnostics(&url, |found| {
        found.iter().any(|(code, _)| code == "unknown-machine")
    });
    // Neither in the editor nor on the disk.
    let broken = test_file("sever.start()").replace("nodes.client", "nodes.other = ; nodes.client");
    place.write("test.nix", &broken);
    editor.change(&url, &broken);
    editor.tell(
        "textDocument/didSave",
        &json!({ "textDocument": { "uri": url } }),
    );
    let log = editor.receive(|message| message["method"] == "window/logMessage");
    assert!(
        log["params"]["message"]
            .as_str()
            .unwrap()
            .contains("does not evaluate"),
        "{log}"
    );
    let marked = broken.replace("sever.start", "server.|start");
    assert!(!editor.labels(&url, &marked).is_empty());
    let names = editor.labels(&url, &broken.replace("sever.start()", "|"));
    assert!(
        names.contains(&"other".to_owned()) && names.contains(&"server".to_owned()),
        "{names:?}"
    );
    assert_eq!(editor.end(), (Some(0), String::new()));
}

#[test]
fn a_saved_file_may_be_a_part_of_an_open_test() {
    let place = Place::new();
    let text = test_file("server.start()\n    third.start()")
        .replace("testScript", "imports = [ ./more.nix ];\n  testScript");
    let text = text.replace("(import <nixpkgs> { }).nixosTest", "");
    let file = place.write("test.nix", &text);
    let more = place.write("more.nix", "{ }");
    let urls = [file, more].map(|file| format!("file://{}", file.display()));
    let mut editor = Editor::begin(&place);
    editor.open(&urls[0], &text);
    editor.diagnostics(&urls[0], |found| {
        found.iter().any(|(_, message)| message.contains("`third`"))
    });
    editor.open(&urls[1], "{ }");
    place.write(
        "more.nix",
        "{ nodes.third.virtualisation.guest = \"tiny\"; }",
    );
    editor.tell(
        "textDocument/didSave",
        &json!({ "textDocument": { "uri": urls[1] } }),
    );
    editor.diagnostics(&urls[0], <[_]>::is_empty);
    assert_eq!(editor.end(), (Some(0), String::new()));
}

#[test]
fn a_script_in_a_file_of_its_own_is_one() {
    let place = Place::new();
    let nix = test_file("").replacen(
        "testScript = ''",
        "testScript = builtins.readFile ./script.py; meta.text = ''",
        1,
    );
    let nix_file = place.write("test.nix", &nix.replace("meta.text", "passthru.text"));
    let script = place.write("script.py", "server.start()\nclient.start()\n");
    let url = format!("file://{}", script.display());
    let mut editor = Editor::begin(&place);
    editor.open(&url, "server.start()\nclient.start()\n");
    editor.diagnostics(&url, <[_]>::is_empty);
    // With the nodes of the test.
    editor.change(&url, "server.wait_for_unt(\"x\")\n");
    let shown = editor.diagnostics(&url, |found| !found.is_empty());
    assert_eq!(
        shown[0]["range"]["start"],
        json!({ "line": 0, "character": 7 })
    );
    loop {
        let units = editor.labels(&url, "server.wait_for_unit(\"|\")");
        if units.contains(&"web.service".to_owned()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // The file is the whole script: no other one defines names.
    editor.change(&url, "sever.start()\n");
    editor.diagnostics(&url, |found| {
        found.iter().any(|(code, _)| code == "unknown-machine")
    });
    let node = editor.at("textDocument/definition", &url, "ser|ver.start()");
    assert_eq!(node["uri"], format!("file://{}", nix_file.display()));
    assert_eq!(editor.end(), (Some(0), String::new()));
}

#[test]
fn a_test_is_run_from_its_lens() {
    let place = Place::new();
    let text = test_file("client.succeed(\"true\")")
        .replace("  nodes.server.virtualisation.guest = \"debian\";\n", "")
        .replace(
            "  nodes.server.systemd.services.web.script = \"true\";\n",
            "",
        )
        .replace("echo ${toString 1}", "exit 3");
    let file = place.write("test.nix", &text);
    let url = format!("file://{}", file.display());
    let mut editor = Editor::begin(&place);
    editor.open(&url, &text);
    editor.diagnostics(&url, <[_]>::is_empty);
    let lenses = editor.ask(
        "textDocument/codeLens",
        &json!({ "textDocument": { "uri": url } }),
    );
    let lenses = lenses.as_array().unwrap();
    let titles: Vec<&str> = lenses
        .iter()
        .map(|it| it["command"]["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles, ["Run test", "Run subtest", "Debug from here"]);
    let path = file.display().to_string();
    assert_eq!(
        lenses[1]["command"]["arguments"],
        json!([{ "arguments": ["run", path, "--only", "^a \\(small\\) one$", "--nixpkgs", "builtin"], "directory": place.path().display().to_string() }])
    );
    // A prompt takes a terminal of the editor.
    let run = |lens: &Value| json!({ "command": lens["command"]["command"], "arguments": lens["command"]["arguments"] });
    editor.ask("workspace/executeCommand", &run(&lenses[2]));
    let shown = editor.receive(|message| message["method"] == "window/showMessage");
    assert_eq!(
        shown["params"]["message"],
        format!(
            "run this in a terminal: snowglobe debug {path} --at 'a (small) one' --nixpkgs builtin"
        )
    );
    editor.ask("workspace/executeCommand", &run(&lenses[1]));
    let shown = editor.receive(|message| message["method"] == "window/showMessage");
    let message = shown["params"]["message"].as_str().unwrap();
    assert!(message.starts_with("edited: failed in "), "{message}");
    let progress = editor.receive(|message| {
        message["method"] == "$/progress"
            && message["params"]["value"]["message"] == "a (small) one"
    });
    assert_eq!(progress["params"]["value"]["kind"], "report");
    let shown = editor.diagnostics(&url, |found| {
        found.iter().any(|(code, _)| code == "test-failed")
    });
    assert_eq!(
        shown[0]["range"]["start"],
        json!({ "line": 7, "character": 8 })
    );
    assert_eq!(editor.end(), (Some(0), String::new()));
}

#[test]
fn rubbish_ends_the_server_with_one_message() {
    let place = Place::new();
    for (bytes, expected) in [
        (
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            "what is no message of the language server protocol: a header is \"GET / HTTP/1.1\\r\\n\"",
        ),
        (b"\x00\xff\x00", "a header is"),
        (
            b"Content-Length: 18446744073709551615\r\n\r\n",
            "a message has 18446744073709551615 bytes, more than 67108864",
        ),
        (
            b"Content-Length: 99999999999999999999999\r\n\r\n",
            "a header is",
        ),
        (b"Content-Length: 5\r\n\r\nhello", "a wrong message: "),
        (b"Content-Length: 2\r\n\r\n{}", "a wrong message: "),
        (
            b"Content-Length: 4\r\n\r\n\xff\xff\xff\xff",
            "a wrong message: ",
        ),
    ] {
        let mut editor = Editor::start(&place, &[]);
        // It may be gone before all is written.
        let _ = editor.input.as_mut().unwrap().write_all(bytes);
        let (code, errors) = editor.end();
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.starts_with("error: the editor sends "), "{errors}");
        assert!(
            errors.contains(expected) && errors.lines().count() == 1,
            "{errors}"
        );
        assert!(
            errors.contains("(start `snowglobe lsp` from an editor"),
            "{errors}"
        );
    }
}

#[test]
fn wrong_requests_have_an_error_for_an_answer() {
    let place = Place::new();
    let mut editor = Editor::start(&place, &["--stdio"]);
    let early = editor.response("textDocument/hover", &json!({}));
    assert_eq!(early["error"]["code"], -32002, "{early}");
    editor.ask("initialize", &json!({ "capabilities": {} }));
    editor.tell("initialized", &json!({}));
    editor.tell("workspace/of_the_future", &json!({}));
    let position = json!({ "line": 4_000_000_000_u32, "character": 4_000_000_000_u32 });
    for (method, params, expected) in [
        (
            "textDocument/hover",
            json!({ "textDocument": 1 }),
            Some(-32602),
        ),
        ("no/such", json!(null), Some(-32601)),
        (
            "workspace/executeCommand",
            json!({ "command": "snowglobe.run", "arguments": [] }),
            Some(-32602),
        ),
        (
            "workspace/executeCommand",
            json!({ "command": "snowglobe.run", "arguments": [{ "arguments": ["cache", "prune"], "directory": "/" }] }),
            Some(-32602),
        ),
        (
            "workspace/executeCommand",
            json!({ "command": "rm", "arguments": [{ "arguments": [], "directory": "/" }] }),
            Some(-32602),
        ),
        (
            "textDocument/hover",
            json!({ "textDocument": { "uri": "http://x/y" }, "position": position }),
            None,
        ),
        (
            "textDocument/completion",
            json!({ "textDocument": { "uri": "file:///none.nix" }, "position": position }),
            None,
        ),
    ] {
        let response = editor.response(method, &params);
        assert_eq!(response["error"]["code"].as_i64(), expected, "{response}");
    }
    let url = url(&place, "test.nix");
    for text in [
        "",
        "{ testScript = ''\0''; }",
        "{ testScript = ''\u{1f642}server.''; }",
        &"(".repeat(5000),
        "{ testScript = ''${''${''",
    ] {
        editor.change(&url, text);
        for method in [
            "textDocument/hover",
            "textDocument/completion",
            "textDocument/signatureHelp",
            "textDocument/definition",
        ] {
            editor.ask(
                method,
                &json!({ "textDocument": { "uri": url }, "position": position }),
            );
        }
        editor.ask(
            "textDocument/codeLens",
            &json!({ "textDocument": { "uri": url } }),
        );
    }
    editor.ask("shutdown", &json!(null));
    editor.tell("exit", &json!(null));
    let status = editor.child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn neovim_shows_findings_and_completes_names() {
    let place = Place::new();
    place.write("test.nix", &test_file("server.strat()"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/neovim.lua");
    let mut command = place.command(&[]);
    // The program is started by the editor, with this one's environment.
    let program = command.get_program().to_owned();
    let environment: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    command = std::process::Command::new("nvim");
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let ended = command
        .args([
            "--headless",
            "-u",
            "NONE",
            "-i",
            "NONE",
            "-n",
            "test.nix",
            "-S",
            script,
        ])
        .env("SNOWGLOBE", program)
        .current_dir(place.path())
        .output()
        .unwrap();
    // Headless, it prints messages to standard error.
    let shown = String::from_utf8(ended.stderr).unwrap().replace('\r', "");
    assert_eq!(
        shown,
        "8:12 a machine has no `strat`: did you mean `start`?\n\
         wait_for_unit\n\
         server: Machine\n\
         Run test, Run subtest, Debug from here\n\
         3\n"
    );
    assert!(ended.status.success());
}

/// The messages of Neovim 0.7.2 in `neovim_shows_findings_and_completes_names`; `@FOLDER@` is that of the file.
const SESSION: &str = include_str!("../../fixtures/neovim-session.jsonl");

#[test]
fn a_recorded_session_has_the_same_answers() {
    let place = Place::new();
    place.write("test.nix", &test_file("server.strat()"));
    let folder = place.path().display().to_string();
    let mut editor = Editor::start(&place, &[]);
    let mut answers = String::new();
    for line in SESSION.lines() {
        let message: Value = serde_json::from_str(&line.replace("@FOLDER@", &folder)).unwrap();
        let method = message["method"].as_str().unwrap().to_owned();
        editor.send(&message);
        if message["id"].is_null() {
            continue;
        }
        let answer = editor.receive(|it| it["id"] == message["id"] && it["method"].is_null());
        let mut result = answer["result"].clone();
        if method == "textDocument/completion" {
            // The test API grows.
            let items = result.as_array_mut().unwrap();
            items.retain(|item| item["label"] == "wait_for_unit");
        }
        let text = serde_json::to_string_pretty(&result).unwrap();
        let text = text.replace(&folder, "@FOLDER@");
        let _ = writeln!(answers, "{method}: {text}");
    }
    insta::assert_snapshot!(answers);
    assert_eq!(editor.end(), (Some(0), String::new()));
}
