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

/// Reads the journal from `after`: the sequence numbers, and the result of the reading.
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

    /// For any lengths of lines and segments, reading after any event visits exactly the events that follow it. The
    /// lines are long enough for the binary search.
    #[test]
    fn reading_after_an_event_visits_what_follows(
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

    /// A segment cut anywhere has every complete line before the cut, and no damage is reported.
    #[test]
    fn a_torn_last_line_is_skipped(lengths in proptest::collection::vec(0usize..300, 1..20), cut in 0usize..8000) {
        let machine = Machine::new();
        let process = machine.process(1);
        let host = Host::new(&process);
        let mut writer = Writer::open(host, DIRECTORY, 0).unwrap();
        for length in lengths {
            writer.append(host, &mut [event(length)], true).unwrap();
        }
        let text = machine.text(&segment(1)).unwrap();
        let remaining = &text[..cut % (text.len() + 1)];
        machine.put(&segment(1), remaining);
        let (found, reading) = numbers(&process, 0);
        // The last line may be complete except for its line break.
        let complete = remaining.matches('\n').count();
        let without_break = usize::from(remaining.ends_with('}'));
        prop_assert!((complete..=complete + without_break).contains(&found.len()));
        prop_assert_eq!(reading.damage, []);
        // The next opening continues after what counts.
        let mut writer = Writer::open(host, DIRECTORY, reading.last).unwrap();
        writer.append(host, &mut [event(0)], true).unwrap();
        prop_assert_eq!(numbers(&process, 0).0, (1..=reading.last + 1).collect::<Vec<u64>>());
    }
}

#[test]
fn lines_of_a_failed_append_do_not_count_once_their_numbers_are_reused() {
    let machine = Machine::new();
    let process = machine.process(1);
    let host = Host::new(&process);
    let mut writer = Writer::open(host, DIRECTORY, 0).unwrap();
    writer.append(host, &mut [event(1)], true).unwrap();
    machine.full.set(true);
    // Half of it is two complete lines.
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
fn damage_is_reported_and_valid_lines_around_it_count() {
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

    /// Each line has its own checksum and number: sorting a journal by hand, or a merge that reorders it, loses none.
    #[test]
    fn lines_out_of_order_count(
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
        let fixed = valid_lines(host, &segment(1)).unwrap();
        prop_assert_eq!(String::from_utf8(fixed).unwrap(), text, "a fix sorts them");
        // After a snapshot, the search for its last event cannot rely on the order.
        let (found, _) = numbers(&process, after);
        prop_assert!(found.iter().all(|seq| *seq > after));
    }
}

#[test]
fn swapped_lines_are_reported_and_count() {
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
fn only_segments_are_read() {
    let machine = Machine::new();
    let process = machine.process(1);
    machine.put(&format!("{DIRECTORY}/001-a.1.log"), "output");
    machine.put(&format!("{DIRECTORY}/events.01.jsonl"), "{}");
    assert_eq!(numbers(&process, 0), (Vec::new(), Reading::default()));
    assert_eq!(last_event(Host::new(&process), DIRECTORY).unwrap(), None);
}
