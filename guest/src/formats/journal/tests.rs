//! Writing a journal and reading it back, from anywhere, after any damage.

use proptest::prelude::*;

use super::*;
use crate::io::host::Host;
use crate::io::memory::{Machine, Process};
use crate::time::Timestamp;

const DIRECTORY: &str = "runs/session";

fn event(length: usize) -> Event {
    Event::of(EventKind::ItemFailed, Timestamp::from_millis(7), "001-a")
        .with("error", "x".repeat(length))
}

/// Everything that a reading from `after` gives: the numbers, and the result of the reading.
fn numbers(process: &Process, after: u64) -> (Vec<u64>, Reading) {
    let mut found = Vec::new();
    let reading =
        read(Host::new(process), DIRECTORY, after, |event| found.push(event.seq)).unwrap();
    (found, reading)
}

fn segment(number: u32) -> String {
    crate::io::layout::segment(DIRECTORY, number)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the lengths of the lines and wherever segments begin: a reading from any event on
    /// gives exactly what comes behind it. The lines are long enough for the search by halving.
    #[test]
    fn a_reading_gives_what_comes_behind(
        segments in proptest::collection::vec(proptest::collection::vec(0usize..9000, 0..60), 1..4),
        after in 0u64..200,
    ) {
        let machine = Machine::new();
        let process = machine.process(1);
        let host = Host::new(&process);
        let mut last = 0;
        for lengths in segments {
            let mut writer = Writer::open(host, DIRECTORY, last).unwrap();
            for length in lengths {
                writer.append(host, &mut [event(length)], true).unwrap();
            }
            last = writer.last();
        }
        let (found, reading) = numbers(&process, after);
        prop_assert_eq!(found, (after + 1..=last).collect::<Vec<u64>>());
        prop_assert_eq!(reading, Reading { last: last.max(after), damage: Vec::new() });
        let newest = last_event(host, DIRECTORY).unwrap().map(|event| event.seq);
        prop_assert_eq!(newest, (last > 0).then_some(last));
    }

    /// A segment cut anywhere gives every whole line before the cut, and no damage is reported.
    #[test]
    fn a_torn_end_is_passed_over(lengths in proptest::collection::vec(0usize..300, 1..20), cut in 0usize..8000) {
        let machine = Machine::new();
        let process = machine.process(1);
        let host = Host::new(&process);
        let mut writer = Writer::open(host, DIRECTORY, 0).unwrap();
        for length in lengths {
            writer.append(host, &mut [event(length)], true).unwrap();
        }
        let text = machine.text(&segment(1)).unwrap();
        let kept = &text[..cut % (text.len() + 1)];
        machine.put(&segment(1), kept);
        let (found, reading) = numbers(&process, 0);
        // A last line may be whole but for its line break.
        let whole = kept.matches('\n').count();
        let but_for_its_break = usize::from(kept.ends_with('}'));
        prop_assert!((whole..=whole + but_for_its_break).contains(&found.len()));
        prop_assert_eq!(reading.damage, []);
        // The next opening goes on behind what counts.
        let mut writer = Writer::open(host, DIRECTORY, reading.last).unwrap();
        writer.append(host, &mut [event(0)], true).unwrap();
        prop_assert_eq!(numbers(&process, 0).0, (1..=reading.last + 1).collect::<Vec<u64>>());
    }
}

#[test]
fn what_a_failed_append_left_does_not_count_once_it_was_written_anew() {
    let machine = Machine::new();
    let process = machine.process(1);
    let host = Host::new(&process);
    let mut writer = Writer::open(host, DIRECTORY, 0).unwrap();
    writer.append(host, &mut [event(1)], true).unwrap();
    machine.full.set(true);
    // Half of it is two whole lines.
    let mut batch = [event(2), event(3), event(2), event(3)];
    assert!(writer.append(host, &mut batch, true).is_err());
    machine.full.set(false);
    assert_eq!(writer.last(), 1);
    assert!(numbers(&process, 0).0.len() > 1, "unacknowledged lines are on disk");
    writer.append(host, &mut [event(9)], true).unwrap();
    let mut found = Vec::new();
    read(host, DIRECTORY, 0, |event| found.push(event.text("error").unwrap().len())).unwrap();
    assert_eq!(found, [1, 9]);
}

#[test]
fn damage_is_reported_and_every_sound_line_around_it_counts() {
    let machine = Machine::new();
    let process = machine.process(1);
    let host = Host::new(&process);
    let mut writer = Writer::open(host, DIRECTORY, 0).unwrap();
    for _ in 0..3 {
        writer.append(host, &mut [event(5)], true).unwrap();
    }
    let mut writer = Writer::open(host, DIRECTORY, 3).unwrap();
    writer.append(host, &mut [event(5)], true).unwrap();
    let text = machine.text(&segment(1)).unwrap();
    machine.put(&segment(1), text.replacen("{\"seq\":2,", "{\"seq\":2;", 1));
    let (found, reading) = numbers(&process, 0);
    assert_eq!(found, [1, 3, 4]);
    assert_eq!(numbers(&process, 2), (vec![3, 4], Reading { last: 4, damage: Vec::new() }));
    let offset = text.find('\n').unwrap() as u64 + 1;
    assert_eq!(reading.damage, [Damage { path: segment(1), offset, lost: true }]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Each line has a checksum and a number of its own: sorting a journal by hand, or a merge that
    /// mixes it up, loses none.
    #[test]
    fn lines_out_of_order_count_all_the_same(
        order in Just((0usize..60).collect::<Vec<_>>()).prop_shuffle(),
        length in 0usize..9000,
        after in 0u64..70,
    ) {
        let machine = Machine::new();
        let process = machine.process(1);
        let host = Host::new(&process);
        let mut writer = Writer::open(host, DIRECTORY, 0).unwrap();
        for _ in 0..60 {
            writer.append(host, &mut [event(length)], true).unwrap();
        }
        let text = machine.text(&segment(1)).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        machine.put(&segment(1), order.iter().map(|line| lines[*line]).collect::<String>());
        let (mut found, _) = numbers(&process, 0);
        found.sort_unstable();
        prop_assert_eq!(found, (1..=60).collect::<Vec<u64>>());
        let sound = sound_lines(host, &segment(1)).unwrap();
        prop_assert_eq!(String::from_utf8(sound).unwrap(), text, "a fix sorts them");
        // Behind a snapshot, the search for its last event cannot rely on the order.
        let (found, _) = numbers(&process, after);
        prop_assert!(found.iter().all(|seq| *seq > after));
    }
}

#[test]
fn two_lines_that_were_swapped_are_reported_and_count() {
    let machine = Machine::new();
    let process = machine.process(1);
    let host = Host::new(&process);
    let mut writer = Writer::open(host, DIRECTORY, 0).unwrap();
    for _ in 0..400 {
        writer.append(host, &mut [event(2000)], true).unwrap();
    }
    let text = machine.text(&segment(1)).unwrap();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.swap(10, 350);
    machine.put(&segment(1), lines.concat());
    for after in [0, 5, 100, 340, 348] {
        let (mut found, reading) = numbers(&process, after);
        found.sort_unstable();
        assert_eq!(found, (after + 1..=400).collect::<Vec<u64>>(), "after {after}");
        assert!(reading.damage.iter().any(|damage| !damage.lost), "after {after}");
    }
    assert!(inspect(host, &segment(1)).unwrap().disorder.is_some());
}

#[test]
fn what_is_no_segment_is_not_read() {
    let machine = Machine::new();
    let process = machine.process(1);
    machine.put(&format!("{DIRECTORY}/001-a.1.log"), "output");
    machine.put(&format!("{DIRECTORY}/events.01.jsonl"), "{}");
    assert_eq!(numbers(&process, 0), (Vec::new(), Reading::default()));
    assert_eq!(last_event(Host::new(&process), DIRECTORY).unwrap(), None);
}
