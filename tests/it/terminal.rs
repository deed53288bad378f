//! What a person sees at a terminal: a real one, made of a pseudo-terminal and a screen in memory.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::environment::{HANG, Repository, program};

/// A program at a terminal.
struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    /// Set when the screen is no longer read.
    closed: Arc<AtomicBool>,
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

fn side(length: u16) -> NonZeroU16 {
    NonZeroU16::new(length).expect("a screen has some room")
}

impl Terminal {
    fn run(repository: &Repository, arguments: &[&str], rows: u16, columns: u16) -> Self {
        Terminal::with(repository, arguments, rows, columns, &[])
    }

    fn with(
        repository: &Repository,
        arguments: &[&str],
        rows: u16,
        columns: u16,
        variables: &[(&str, &str)],
    ) -> Self {
        let pair = native_pty_system().openpty(size(rows, columns)).expect("a terminal");
        let mut command = CommandBuilder::new(program());
        command.args(arguments);
        command.cwd(repository.root());
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TERM", "xterm-256color");
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).expect("the program starts");
        let mut reader = pair.master.try_clone_reader().expect("its output");
        let keys = pair.master.take_writer().expect("its input");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(side(rows), side(columns), 1000)));
        let seen = Arc::clone(&screen);
        let closed = Arc::new(AtomicBool::new(false));
        let is_closed = Arc::clone(&closed);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if is_closed.load(Ordering::Relaxed) {
                    return;
                }
                seen.lock().expect("no thread panicked").process(&buffer[..length]);
            }
        });
        Terminal { child, master: pair.master, keys, screen, closed }
    }

    fn text(&self) -> String {
        self.screen.lock().expect("no thread panicked").screen().contents()
    }

    fn rows(&self) -> Vec<String> {
        let screen = self.screen.lock().expect("no thread panicked");
        let (_, columns) = screen.screen().size();
        screen.screen().rows(0, columns.get()).collect()
    }

    fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(start.elapsed() < HANG, "waited in vain for: {what}\n{text}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).expect("it listens");
    }

    fn resize(&self, rows: u16, columns: u16) {
        self.screen
            .lock()
            .expect("no thread panicked")
            .screen_mut()
            .set_size(side(rows), side(columns));
        self.master.resize(size(rows, columns)).expect("a size");
    }

    fn end(mut self) -> (u32, String) {
        let code = ends(self.child.as_mut());
        // What it wrote last may still be on its way.
        thread::sleep(Duration::from_millis(100));
        (code, self.text())
    }
}

/// The exit code of a program that does not hang.
fn ends(child: &mut (dyn Child + Send + Sync)) -> u32 {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return status.exit_code();
        }
        assert!(started.elapsed() < HANG, "it hangs");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for the file `go`.
const WAITS: &str = "until [ -e go ]; do sleep 0.02; done";

fn four() -> Repository {
    Repository::new(WAITS, &["001-first", "002-second", "003-third", "004-fourth"])
}

#[test]
fn running_items_have_a_line_each_above_a_bar_with_counts_and_time_left() {
    let repository = four();
    let terminal = Terminal::run(&repository, &["run", "--parallel", "2"], 24, 80);
    let text = terminal.until("a second to pass", |text| {
        text.contains("001-first  1 s") && text.contains("002-second  1 s")
    });
    assert!(text.contains("] 0/4, 2 running"), "{text}");
    repository.write("go", "");
    let (code, text) = terminal.end();
    assert_eq!(code, 0, "{text}");
    for line in ["ok      001-first", "ok      004-fourth", "4 completed"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("running"), "the bar is gone: {text}");
    assert!(!text.contains("start   "), "{text}");
}

#[test]
fn the_time_left_is_told_once_something_has_ended() {
    let repository = Repository::new(
        "case $1 in 001*) sleep 1;; *) sleep 100;; esac",
        &["001-a", "002-b", "003-c"],
    );
    let mut terminal = Terminal::run(&repository, &["run"], 24, 80);
    terminal.until("an estimate", |text| {
        text.contains("] 1/3, 1 running, about ") && text.contains(" left")
    });
    terminal.press(b"\x03");
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn control_c_ends_the_batch_and_the_last_line_says_how_to_continue() {
    let repository = four();
    let mut terminal = Terminal::run(&repository, &["run", "--parallel", "2"], 24, 80);
    terminal.until("the agents", |text| text.contains("2 running"));
    terminal.press(b"\x03");
    let (code, text) = terminal.end();
    assert_eq!(code, 130, "{text}");
    assert!(
        text.contains("Stopping 2 agents (up to 10 s). Press Ctrl-C again to kill them now."),
        "{text}"
    );
    let last = text.lines().last().expect("a line");
    assert_eq!(last, "hint: Continue with: wreckit-host run --parallel 2", "{text}");
    assert_eq!(repository.json(".wreckit/batch-progress.json")["owner"]["released"], true);
}

#[test]
fn a_second_control_c_ends_what_ignores_the_first() {
    let repository = Repository::new("trap '' TERM; while :; do sleep 0.05; done", &["001-a"]);
    let mut terminal = Terminal::run(&repository, &["run"], 24, 80);
    terminal.until("the agent", |text| text.contains("1 running"));
    thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    terminal.press(b"\x03");
    terminal.until("the first", |text| {
        text.contains("Stopping 1 agent (up to 10 s). Press Ctrl-C again to kill it now.")
    });
    terminal.press(b"\x03");
    assert_eq!(terminal.end().0, 130);
    assert!(started.elapsed() < Duration::from_secs(8), "10 s are for those who wait");
}

#[test]
fn a_terminal_may_be_small_and_change_its_size() {
    let items: Vec<String> =
        (1..=9).map(|n| format!("{n:03}-{}", "long-name-".repeat(5))).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let repository = Repository::new(WAITS, &items);
    let mut terminal = Terminal::run(&repository, &["run", "--parallel", "8"], 24, 80);
    terminal.until("all lines", |text| text.contains("008-long") && text.contains("8 running"));
    terminal.resize(6, 30);
    terminal.until("the rest in one line", |text| text.contains("… and 6 more"));
    let rows = terminal.rows();
    let row = |start: &str| rows.iter().filter(|row| row.trim_start().starts_with(start)).count();
    assert_eq!((row("001-long"), row("… and 6 more"), row("0/9")), (1, 1, 1), "{rows:#?}");
    terminal.resize(2, 10);
    thread::sleep(Duration::from_millis(600));
    terminal.resize(24, 80);
    terminal.until("all lines again", |text| text.contains("008-long"));
    terminal.press(b"\x03");
    let (code, text) = terminal.end();
    assert_eq!(code, 130, "{text}");
}

#[test]
fn a_terminal_that_goes_away_ends_the_batch_and_its_agents() {
    let repository = Repository::new("echo $$ > \"agent-$1\"; exec sleep 100", &["001-a", "002-b"]);
    let terminal = Terminal::run(&repository, &["run", "--parallel", "2"], 24, 80);
    terminal.until("the agents", |text| text.contains("2 running"));
    repository.until("their numbers", |repository| {
        ["agent-001-a", "agent-002-b"].iter().all(|name| repository.read(name).ends_with('\n'))
    });
    // With the next frame the reader lets go, too: then the terminal is gone.
    let Terminal { mut child, closed, master, keys, .. } = terminal;
    closed.store(true, Ordering::Relaxed);
    drop((master, keys));
    assert_eq!(ends(child.as_mut()), 129);
    for name in ["agent-001-a", "agent-002-b"] {
        assert!(!crate::environment::runs(repository.read(name).trim()), "{name}");
    }
    assert_eq!(repository.json(".wreckit/batch-progress.json")["owner"]["released"], true);
}

#[test]
fn a_terminal_that_is_not_read_does_not_delay_a_timeout() {
    let repository = Repository::new("while :; do echo a line of some length; done", &["001-a"]);
    let pair = native_pty_system().openpty(size(24, 80)).expect("a terminal");
    let mut command = CommandBuilder::new(program());
    command.args(["run", "-v", "--no-tui", "--timeout", "1"]);
    command.cwd(repository.root());
    let mut child = pair.slave.spawn_command(command).expect("the program starts");
    repository.until("the end of its time", |repository| {
        repository.events().iter().any(|event| event["reason"] == "timed-out")
    });
    // The result is not read either, so the program is terminated.
    crate::environment::kill(child.process_id().expect("it runs"), "TERM");
    assert_eq!(ends(child.as_mut()), 143);
}

#[test]
fn failures_stand_above_the_bar_when_they_happen_and_at_the_end() {
    let repository = Repository::new(
        "case $1 in 001*) echo oh no; exit 7;; esac; until [ -e go ]; do sleep 0.02; done",
        &["001-a", "002-b"],
    );
    let terminal = Terminal::run(&repository, &["run"], 24, 120);
    let text = terminal.until("the failure and the bar", |text| {
        text.contains("failed  001-a") && text.contains("1 failed, 1 running")
    });
    assert!(text.contains("the agent exited with code 7") && text.contains("| oh no"), "{text}");
    repository.write("go", "");
    let (code, text) = terminal.end();
    assert_eq!(code, 1);
    assert!(text.contains("failed   001-a: the agent exited with code 7"), "{text}");
    assert!(text.contains("Log: .wreckit/runs/"), "{text}");
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let colour = |variables: &[(&str, &str)], arguments: &[&str]| {
        let repository = Repository::new("true", &["001-a"]);
        let terminal = Terminal::with(&repository, arguments, 24, 80, variables);
        terminal.until("the end", |text| text.contains("1 completed"));
        let screen = Arc::clone(&terminal.screen);
        terminal.end();
        let screen = screen.lock().expect("no thread panicked");
        let cell = (0..24).find_map(|row| {
            let cell = screen.screen().cell(row, 0)?;
            (cell.contents() == "o").then(|| cell.fgcolor())
        });
        cell != Some(vt100::Color::Default)
    };
    assert!(colour(&[], &["run"]));
    assert!(!colour(&[("NO_COLOR", "1")], &["run"]));
    assert!(!colour(&[], &["run", "--color", "never"]));
}

#[test]
fn no_bar_in_ci_for_a_dumb_terminal_or_when_it_is_not_wanted() {
    for (variables, arguments) in [
        (&[("CI", "true")][..], &["run"][..]),
        (&[("TERM", "dumb")], &["run"]),
        (&[("WRECKIT_PROGRESS", "plain")], &["run"]),
        (&[], &["run", "--no-tui"]),
        (&[("WRECKIT_PROGRESS", "bar")], &["run", "--progress", "plain"]),
    ] {
        let repository = Repository::new("true", &["001-a"]);
        let terminal = Terminal::with(&repository, arguments, 24, 80, variables);
        let (code, text) = terminal.end();
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("[0/1] start   001-a"), "{variables:?} {arguments:?}: {text}");
    }
}

#[test]
fn a_batch_is_followed_from_another_terminal() {
    let repository = four();
    let batch = repository.start(&["run", "--parallel", "2"]);
    repository.until("the agents", |repository| {
        repository.events().iter().filter(|event| event["event"] == "phase-started").count() == 2
    });
    let terminal = Terminal::run(&repository, &["status", "--watch"], 24, 80);
    let text = terminal.until("the running items", |text| {
        text.contains("001-first  Title of 001-first") && text.contains("002-second")
    });
    assert!(text.contains("] 0/4, 2 running"), "{text}");
    repository.write("go", "");
    assert_eq!(crate::environment::finish(batch).code, Some(0), "it was not disturbed");
    let (code, text) = terminal.end();
    assert_eq!(code, 0);
    assert!(text.contains("the batch has ended"), "{text}");
    let idle = repository.run(&["status", "--watch"]);
    assert_eq!(idle.code, Some(0));
    assert!(idle.stderr.contains("no batch is running"), "{}", idle.stderr);
}

#[test]
fn names_with_escapes_are_shown_and_not_obeyed() {
    let id = "001-\u{1b}]0;pwned\u{7}x";
    let repository = Repository::new(WAITS, &[id, "002-waits"]);
    let mut terminal = Terminal::run(&repository, &["run"], 24, 80);
    let text = terminal.until("the item that does not run", |text| text.contains("pwned"));
    assert!(text.contains("001-\\u{1b}]0;pwned\\u{7}x"), "{text}");
    terminal.press(b"\x03");
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn a_watcher_whose_reader_goes_away_ends() {
    let repository = four();
    let batch = repository.start(&["run"]);
    repository.until("the agent", |repository| {
        repository.events().iter().any(|event| event["event"] == "phase-started")
    });
    let mut watcher = repository.start(&["status", "--watch"]);
    thread::sleep(Duration::from_millis(200));
    drop(watcher.stdout.take());
    let started = Instant::now();
    while watcher.try_wait().expect("it can be waited for").is_none() {
        assert!(started.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(20));
    }
    repository.write("go", "");
    assert_eq!(crate::environment::finish(batch).code, Some(0));
}

#[test]
fn without_a_terminal_a_line_is_printed_for_every_change() {
    let repository = four();
    let batch = repository.start(&["run"]);
    repository.until("the agent", |repository| {
        repository.events().iter().any(|event| event["event"] == "phase-started")
    });
    let plain = repository.start(&["status", "--watch"]);
    let json = repository.start(&["status", "--watch", "--json"]);
    thread::sleep(Duration::from_secs(3));
    repository.write("go", "");
    assert_eq!(crate::environment::finish(batch).code, Some(0));
    let plain = crate::environment::finish(plain);
    assert!(
        plain.stdout.starts_with("0/4, 1 running: 001-first  Title of 001-first\n"),
        "{}",
        plain.stdout
    );
    assert_eq!(plain.stdout.matches("0/4, 1 running").count(), 1, "{}", plain.stdout);
    let json = crate::environment::finish(json);
    let lines: Vec<serde_json::Value> =
        json.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["items"][0]["status"], "running");
    assert_eq!(lines[lines.len() - 1]["owner"], serde_json::Value::Null);
}

/// At a terminal, the user is asked before anything is removed.
#[test]
fn a_cleanup_asks_before_it_removes_anything() {
    let repository = Repository::empty();
    std::fs::create_dir(repository.path(".claude")).expect("a directory");
    let id = repository.run(&["feature", "new", "x"]).stdout.trim().to_owned();
    let file = format!(".claude/.output/features/{id}/progress.json");
    let arguments =
        ["feature", "abort", &id, "--reason", "user_request", "--cleanup", "full_cleanup"];
    for (answer, code) in [(b"n\n".as_slice(), 1), (b"\n", 1), (b"y\n", 0)] {
        let mut terminal = Terminal::run(&repository, &arguments, 24, 100);
        terminal.until("the question", |text| text.contains("Continue? [y/N]"));
        assert!(repository.exists(&file), "nothing was done before the answer");
        terminal.press(answer);
        assert_eq!(terminal.end().0, code);
        assert_eq!(repository.exists(&file), code == 1);
    }
}
