//! The page of a run in a real browser, and reports of several runs.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::harness::{Place, fixture_path};

/// Does steps on a page in Chromium; returns what came of each, and what its console says.
fn browse(page: &Path, steps: &Value) -> (Vec<Value>, Vec<Value>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/browser.py");
    let mut browser = Command::new("python3")
        .arg(script)
        .arg(page)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = browser.stdin.take().unwrap();
    stdin.write_all(steps.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = browser.wait_with_output().unwrap();
    assert!(output.status.success(), "the browser has failed");
    let mut results: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let console = results.pop().unwrap();
    (results, console.as_array().unwrap().clone())
}

/// JavaScript that gives the labels of the tests that are shown.
const SHOWN: &str = "return [...document.querySelectorAll('details.test')].filter(it => !it.hidden).map(it => it.dataset.label)";

#[test]
fn a_page_shows_what_a_run_has_done() {
    let place = Place::new();
    let config = fixture_path("suite/snowglobe.toml");
    let ended = place.run_fixture("suite", &["--config", config.to_str().unwrap()]);
    let page = place.path().join("results/report.html");
    let link = "report in [DIR]/results/report.html\n";
    assert!(ended.stdout.ends_with(link), "{}", ended.seen());
    // The verdicts and failures are there without JavaScript.
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.len() < 300 << 10, "{} bytes", text.len());
    for part in [
        "12 tests: 6 passed, 1 flaky, 3 failed, 1 not run, 1 in quarantine",
        "the seed 0 is a bad one",
        "&lt;b&gt;no&lt;/b&gt;",
        "this test has no script",
    ] {
        assert!(text.contains(part), "{part}");
    }
    let steps = json!([
        {"run": SHOWN},
        {"keys": "/"},
        {"keys": "flak"},
        {"run": SHOWN},
        {"keys": "\u{e003}\u{e003}\u{e003}\u{e003}no such test"},
        {"run": "return document.getElementById('none').hidden"},
        {"run": "const it = document.getElementById('search'); it.value = ''; it.dispatchEvent(new Event('input')); it.blur()"},
        {"click": "button.filter.passed"},
        {"run": SHOWN},
        {"keys": "j"},
        {"run": "return document.activeElement.closest('details').dataset.label"},
        {"keys": "jj"},
        {"run": "return document.activeElement.closest('details').dataset.label"},
        {"run": "document.querySelector('[data-label=subtests]').scrollIntoView()"},
        {"click": "[data-label=subtests] a.bar.call.failed"},
        {"run": "const it = document.querySelector('[data-label=subtests] .chosen'); return [it.textContent, it.checkVisibility()]"},
        {"run": "return [...document.querySelectorAll('[data-label=subtests] .console .current')].filter(it => it.checkVisibility()).map(it => it.textContent)"},
        {"run": "return document.activeElement.matches('a.bar.call.failed')"},
        {"type": ["[data-label=subtests] .console[data-title$=machine] input", "<B>NO"]},
        {"run": "return [...document.querySelectorAll('[data-label=subtests] .console[data-title$=machine] .lines [data-time]')].filter(it => !it.hidden).map(it => it.textContent)"},
        {"run": "const links = [...document.querySelectorAll('.files a')].map(it => it.getAttribute('href')); return links.filter(it => it.includes('wrong'))"},
        {"run": "document.querySelector('.overview [title^=subtests]').click(); return [location.hash, document.querySelectorAll('.overview .bar').length]"},
        {"run": "const it = document.getElementById('sort'); it.value = 'duration'; it.dispatchEvent(new Event('change')); \
            const all = [...document.querySelectorAll('details.test')].map(it => Number(it.dataset.duration)); \
            it.value = 'attention'; it.dispatchEvent(new Event('change')); return all.every((it, at) => at === 0 || it <= all[at - 1])"},
        {"run": SHOWN},
        // To the moment of a subtest: a search does not hide what a console has said until then.
        {"run": "const test = document.querySelector('[data-label=subtests]'); const box = test.querySelector('.console[data-title$=machine]'); \
            const hidden = () => [...box.querySelectorAll('[data-time]')].some(it => it.hidden); const before = hidden(); \
            test.querySelector('.bar.subtest.failed').click(); return [before, hidden(), box.querySelector('.current').textContent]"},
        // To that of a line; and to one of the track, whose call is marked. The line itself may be read just before or
        // after the call.
        {"run": "const test = document.querySelector('[data-label=subtests]'); const lanes = test.querySelector('.lanes'); \
            const line = [...test.querySelectorAll('.console[data-title$=machine] [data-time]')].find(it => it.textContent === '<b>no</b>'); line.click(); \
            const seconds = parseFloat(lanes.style.getPropertyValue('--moment')) / 100 * lanes.dataset.length; \
            const bar = test.querySelector('.bar.call.failed'); const { left, width } = bar.getBoundingClientRect(); \
            bar.parentElement.dispatchEvent(new MouseEvent('click', { bubbles: true, clientX: left + width / 2 })); \
            return [Math.abs(seconds - line.dataset.time) < 0.001, test.querySelectorAll('.bar.call.current.failed').length]"},
        {"run": "const it = document.querySelector('[data-label=subtests] .console[data-title$=machine] input'); it.value = ''; it.dispatchEvent(new Event('input')); document.querySelector('[data-label=subtests]').scrollIntoView()"},
        {"picture": place.path().join("page.png")},
    ]);
    let (results, console) = browse(&page, &steps);
    assert_eq!(console, Vec::<Value>::new());
    let place_of_call = format!("{}:38", fixture_path("suite/default.nix").display());
    assert_eq!(results[0].as_array().unwrap().len(), 12);
    assert_eq!(results[3], json!(["flaky"]));
    assert_eq!(results[5], json!(false));
    let not_passed = json!([
        "broken",
        "hangs",
        "subtests",
        "wrong",
        "flaky",
        "quarantined"
    ]);
    assert_eq!(results[8], not_passed);
    assert_eq!(
        (&results[10], &results[12]),
        (&json!("broken"), &json!("subtests"))
    );
    let call = results[15][0].as_str().unwrap();
    assert_eq!(results[15][1], json!(true));
    for part in [
        "machine.succeed(echo '<b>no</b>' >&2; exit 3)",
        &place_of_call,
        "failed on machine (exit code 3)",
    ] {
        assert!(call.contains(part), "{part}: {call}");
    }
    // What the console has said meanwhile.
    let lines = results[16].as_array().unwrap();
    assert!(lines.contains(&json!("<b>no</b>")), "{lines:?}");
    assert_eq!(results[17], json!(true));
    assert_eq!(results[19], json!(["<b>no</b>"]));
    let files = json!(["./wrong/events.jsonl", "./wrong/junit.xml"]);
    assert_eq!(results[20], files);
    assert_eq!(results[21], json!(["#test-subtests", 11]));
    assert_eq!(results[22], json!(true));
    assert_eq!(results[23], not_passed);
    assert_eq!(results[24], json!([true, false, "connecting to host..."]));
    assert_eq!(results[25], json!([true, 1]));
    keep_picture(&place.path().join("page.png"), "page.png");
}

/// Puts a picture where a developer can look at it.
fn keep_picture(picture: &Path, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(picture, folder.join(name)).unwrap();
}

/// An output folder of a run whose guest is hostile, with pictures of its display.
fn write_hostile_run(folder: &Path) {
    fs::create_dir_all(folder.join("screens")).unwrap();
    // The first one is black, as firmware leaves a display.
    for shade in 0..4 {
        let name = format!("screens/server-000{shade}.png");
        let file = fs::File::create(folder.join(name)).unwrap();
        let mut encoder = png::Encoder::new(file, 64, 48);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[shade * 60; 64 * 48]).unwrap();
        writer.finish().unwrap();
    }
    let end = json!({"time_s": 9.0, "event": "test_finished", "test": "t", "verdict": "passed", "duration_s": 9.0,
        "failures": [], "subtests": [], "output": folder});
    let screen = |number: u8| {
        json!({"time_s": f64::from(number) * 2.0, "event": "screen_taken", "machine": "server",
            "path": format!("screens/server-000{number}.png")})
    };
    let line =
        |text: &str| json!({"time_s": 3.0, "event": "console", "machine": "server", "line": text});
    let outside = json!({"time_s": 5.0, "event": "screen_taken", "machine": "server", "path": "../../secret.png"});
    let events = [
        json!({"time_s": 0.0, "event": "test_started", "test": "t", "nodes": ["server"], "accelerator": "x", "timeout_factor": 1.0}),
        json!({"time_s": 0.0, "event": "machine_started", "machine": "server", "pid": 1}),
        screen(0),
        screen(1),
        line(
            "<img src=x onerror=\"document.title='owned'\"></p></div><script>document.title='owned'</script>",
        ),
        line("</style></script><h1 id=owned>owned</h1>\u{1b}[31m"),
        screen(2),
        screen(3),
        outside,
        end,
    ];
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    fs::write(folder.join("events.jsonl"), lines.join("\n")).unwrap();
    let attempt = json!({"verdict": "passed", "duration_s": 9.0, "folder": ""});
    let results = json!({"version": 1, "started_unix_s": 0, "duration_s": 9.0, "tests": [{
        "label": "t", "source": "/t.nix", "attribute": "", "outcome": "passed", "started_s": 0.0, "duration_s": 9.0,
        "attempts": [attempt], "backend": "vm", "quarantine": null, "slow": false, "leaky": false, "message": null,
    }]});
    fs::write(folder.join("run.json"), results.to_string()).unwrap();
}

#[test]
fn a_page_is_safe_from_guests_and_shows_displays() {
    let place = Place::new();
    write_hostile_run(&place.path().join("run"));
    fs::write(
        place.path().join("../secret.png"),
        b"\x89PNG\r\n\x1a\nsecret",
    )
    .ok();
    let ended = place.run(&["report", "run", "-o", "out"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let frame =
        "return [...document.querySelectorAll('.frames img')].map(it => it.matches('.current'))";
    let move_to = |value: u8| {
        format!(
            "const it = document.querySelector('.film input'); it.value = {value}; it.dispatchEvent(new Event('input')); \
             return [it.parentElement.querySelector('output').textContent, document.querySelector('.film .large').naturalWidth]"
        )
    };
    let steps = json!([
        {"run": "document.querySelector('details.test').open = true; document.querySelectorAll('details').forEach(it => it.open = true)"},
        {"run": "return [document.title, document.getElementById('owned'), document.querySelectorAll('.console img, .console script').length]"},
        {"run": frame},
        {"run": move_to(0)},
        {"run": frame},
        {"run": "return document.querySelectorAll('.lines [data-time]').length"},
        {"picture": place.path().join("film.png")},
    ]);
    let (results, console) = browse(&place.path().join("out/report.html"), &steps);
    assert_eq!(console, Vec::<Value>::new());
    assert_eq!(results[1], json!(["t: passed", null, 0]));
    assert_eq!(results[2], json!([false, false, true]));
    assert_eq!(results[3], json!(["2.0 s", 64]));
    assert_eq!(results[4], json!([true, false, false]));
    assert_eq!(results[5], json!(2));
    keep_picture(&place.path().join("film.png"), "film.png");
}

#[test]
fn parts_of_a_suite_are_one_report() {
    let place = Place::new();
    for part in ["1", "2"] {
        let partition = format!("slice:{part}/2");
        let filter = [
            "--filter",
            "boots | files | pair | wrong",
            "--partition",
            &partition,
        ];
        let output = format!("part-{part}");
        place.run_fixture("suite", &[&filter[..], &["-o", &output]].concat());
        assert!(place.path().join(output).join("run.json").is_file());
    }
    let ended = place.run(&["report", "part-1", "part-2", "-o", "all"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert_snapshot!(ended.seen());
    let junit = fs::read_to_string(place.path().join("all/junit.xml")).unwrap();
    assert_eq!(junit.matches("<testsuite ").count(), 4);
    assert!(junit.contains("unexpectedly succeeded"));
    let page = fs::read_to_string(place.path().join("all/report.html")).unwrap();
    let links = page.matches("href=\"./../part-").count();
    assert!(links >= 4, "{links}");
    // A report can be made of reports.
    let again = place.run(&["report", "all", "part-1", "-o", "all"]);
    assert_eq!(again.code, Some(1), "{}", again.seen());
    for (text, message) in [
        (
            "{\"version\": 7}",
            "error: old/run.json is of version 7, and this program reads version 1: make the report with the Snowglobe that ran the tests\n",
        ),
        (
            "[]",
            "error: old/run.json does not hold the results of a run: ",
        ),
    ] {
        fs::create_dir_all(place.path().join("old")).unwrap();
        fs::write(place.path().join("old/run.json"), text).unwrap();
        let ended = place.run(&["report", "old"]);
        assert_eq!(ended.code, Some(2), "{}", ended.seen());
        assert!(ended.stderr.starts_with(message), "{}", ended.seen());
    }
    let none = place.run(&["report", "nothing"]);
    assert_eq!(none.code, Some(2), "{}", none.seen());
    assert!(
        none.stderr.starts_with(
            "error: nothing is no output folder of `snowglobe run`: run.json cannot be read: "
        ),
        "{}",
        none.seen()
    );
}

#[test]
fn github_shows_failures_at_their_lines() {
    let place = Place::new();
    let file = fixture_path("suite");
    let config = fixture_path("suite/snowglobe.toml");
    let arguments = [
        "run",
        "--nixpkgs",
        "builtin",
        file.to_str().unwrap(),
        "--config",
        config.to_str().unwrap(),
    ];
    let mut command = place.command(&arguments);
    command
        .args([
            "--filter",
            "boots | wrong | flaky | quarantined",
            "--jobs",
            "1",
        ])
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_WORKSPACE", file.parent().unwrap());
    let ended = place.finish(command.spawn().unwrap());
    let mut annotations: Vec<&str> = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("::"))
        .collect();
    annotations.sort_unstable();
    assert_snapshot!(annotations.join("\n"));
}
