//! Encoding events as lines: the JSON object with a `checksum` as its last field, the CRC-32 of everything before
//! that field.

use super::event::Event;
use crate::json;

const FIELD: &str = ",\"checksum\":\"";
/// Eight hexadecimal digits, a quote, a brace.
const TAIL: usize = 10;

/// Encodes an event as a line, with its line break.
pub(super) fn encode(event: &Event) -> String {
    // A map with string keys always has a JSON text.
    let mut line = serde_json::to_string(event).unwrap_or_default();
    line.pop();
    let checksum = crc32fast::hash(line.as_bytes());
    line.push_str(FIELD);
    line.push_str(&format!("{checksum:08x}\"}}\n"));
    line
}

/// Decodes a line without its line break; `None` if the line is damaged.
pub(super) fn decode(line: &[u8]) -> Option<Event> {
    let body = checked(line).filter(|body| !json::has_reserved_key(body))?;
    let mut text = body.to_vec();
    text.push(b'}');
    Event::from_json(serde_json::from_slice(&text).ok()?)
}

/// The part of a line before the checksum; `None` if the checksum is wrong.
pub(super) fn checked(line: &[u8]) -> Option<&[u8]> {
    let end = line.len().checked_sub(TAIL)?;
    let body = line[..end].strip_suffix(FIELD.as_bytes())?;
    let expected = format!("{:08x}\"}}", crc32fast::hash(body));
    (line[end..] == *expected.as_bytes()).then_some(body)
}

/// The sequence number at the beginning of the body of a line.
pub(super) fn sequence(body: &[u8]) -> Option<u64> {
    let digits = body.strip_prefix(br#"{"seq":"#)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::journal::EventKind;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn event(error: &str) -> Event {
        Event::of(EventKind::ItemFailed, Timestamp::from_millis(5), "001-a")
            .attempt(2)
            .with("error", error)
    }

    proptest! {
        #[test]
        fn an_encoded_event_decodes_to_itself(error in ".*", seq in 0u64..u64::MAX) {
            let event = Event { seq, ..event(&error) };
            let line = encode(&event);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(decode(line.trim_end().as_bytes()), Some(event));
        }

        #[test]
        fn a_line_with_one_changed_byte_is_damaged(position in 0usize..1000, change in 1u8..=255) {
            let mut line = encode(&event("it broke")).trim_end().as_bytes().to_vec();
            let position = position % line.len();
            line[position] ^= change;
            prop_assert_eq!(decode(&line), None);
        }

        #[test]
        fn a_line_cut_anywhere_is_damaged(length in 0usize..1000) {
            let line = encode(&event("it broke"));
            let line = line.trim_end().as_bytes();
            prop_assert_eq!(decode(&line[..length % line.len()]), None);
        }
    }
}
