//! Kills at random moments, many of them: `tests/kills` makes it ten thousand.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::environment::{Repository, crash};

/// The number of kills without `WRECKIT_KILLS`.
const KILLS: usize = 60;
/// Items of one batch.
const ITEMS: usize = 12;

/// Fails loudly where two agents of one item run at once (each holds a lock while it lives), takes
/// a moment, and leaves children inside and outside of its group.
const AGENT: &str = r#"exec 9> "locks/$1"; flock -n 9 || echo "two agents of $1" >> overlaps
(sleep 30 9>&- &); (setsid sleep 30 9>&- &); sleep 0.0$(($$ % 5))"#;

/// Random enough, and the same again for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

#[test]
fn however_often_it_is_killed_every_item_completes_once_and_nothing_is_left() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("WRECKIT_KILLS").map_or(KILLS, |kills| kills as usize);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let seed = number("WRECKIT_SEED").unwrap_or(now.as_nanos() as u64);
    eprintln!("{kills} kills, WRECKIT_SEED={seed}");

    let mut repository = Repository::new(AGENT, &[]);
    if number("WRECKIT_KEEP").is_some() {
        repository.keep();
        eprintln!("in {}", repository.root().display());
    }
    fs::create_dir(repository.path("locks")).expect("a directory");
    let mut random = Random(seed);
    let mut completed: HashMap<String, HashSet<(String, u64)>> = HashMap::new();
    let (mut killed, mut batches) = (0, 0);
    while killed < kills {
        let items: Vec<String> =
            (1..=ITEMS).map(|n| format!("{:03}-item", batches * ITEMS + n)).collect();
        for (index, id) in items.iter().enumerate() {
            let before = index.checked_sub(5).map(|before| items[before].as_str());
            repository.item(id, before.as_slice());
        }
        batches += 1;
        // Killed until it gets to its end before the next kill.
        let mut has_ended = false;
        while !has_ended {
            has_ended = ends_before_a_kill(&repository, &mut random, &mut killed);
            // Every time: the runs of sessions that were killed early are not kept for ever.
            collect(&repository, &mut completed);
        }
        for id in &items {
            assert_eq!(repository.state(id), "done", "{id}");
            let times = completed.get(id).map_or(0, HashSet::len);
            assert_eq!(times, 1, "{id} completed {times} times");
            // What is done is not looked at again and again.
            fs::remove_dir_all(repository.path(&format!(".wreckit/items/{id}"))).expect("it goes");
        }
        completed.clear();
        if batches.is_multiple_of(20) {
            eprintln!("{killed} kills, {batches} batches");
        }
    }
    assert_eq!(repository.read("overlaps"), "");
    assert_eq!(marked(&repository), Vec::<String>::new(), "processes are left");
    eprintln!("{killed} kills over {batches} batches of {ITEMS} items");
}

/// True if the run ended by itself.
fn ends_before_a_kill(repository: &Repository, random: &mut Random, killed: &mut usize) -> bool {
    let parallel = (1 + random.below(4)).to_string();
    let mut batch = repository.start(&["run", "--parallel", &parallel]);
    let moment = Duration::from_micros(random.below(120_000));
    let started = Instant::now();
    while started.elapsed() < moment {
        if let Some(status) = batch.try_wait().expect("it can be waited for") {
            assert_eq!(status.code(), Some(0), "{}", crate::environment::finish(batch).stderr);
            return true;
        }
        thread::sleep(Duration::from_micros(500));
    }
    crash(batch);
    *killed += 1;
    false
}

/// Notes which events completed which items.
fn collect(repository: &Repository, completed: &mut HashMap<String, HashSet<(String, u64)>>) {
    // There are none as long as every kill came before a session began.
    let runs = fs::read_dir(repository.path(".wreckit/runs")).into_iter().flatten();
    for run in runs.flatten() {
        let session = run.file_name().to_string_lossy().into_owned();
        for file in fs::read_dir(run.path()).expect("a run").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if !name.starts_with("events.") {
                continue;
            }
            for line in fs::read_to_string(file.path()).unwrap_or_default().lines() {
                // The last line of a killed batch may be torn.
                let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
                if event["event"] == "item-completed" {
                    let item = event["item"].as_str().expect("an item").to_owned();
                    let seq = event["seq"].as_u64().expect("a number");
                    completed.entry(item).or_default().insert((session.clone(), seq));
                }
            }
        }
    }
}

/// The processes that carry the repository's marker.
fn marked(repository: &Repository) -> Vec<String> {
    let metadata = fs::metadata(repository.path(".wreckit")).expect("it is there");
    let place = format!(":{}:{}:", metadata.dev(), metadata.ino());
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let carries = |pid: &String| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let mut roots = variables.filter(|variable| variable.starts_with("WRECKIT_ROOT="));
        roots.any(|root| root.contains(&place))
    };
    processes
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(carries)
        .collect()
}
