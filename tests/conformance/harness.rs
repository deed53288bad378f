//! Interprets the cases in `filesystem.json`. Included by the tests of whoever implements the interface.

use serde_json::{Map, Value};

/// The result of a call, as text: see `README.md`.
pub(crate) type Outcome = Result<Value, String>;

/// An implementation of the interface `filesystem`, with two instances over one tree.
pub(crate) trait Disk {
    /// Creates an entry of the tree before the first call.
    fn put(&mut self, path: &str, entry: &Value);
    /// Makes a call of one instance, 1 or 2.
    fn call(&mut self, instance: u64, name: &str, arguments: &Value) -> Outcome;
    /// The complete tree.
    fn tree(&self) -> Map<String, Value>;
}

/// Runs every case, each with a disk of its own.
pub(crate) fn run<D: Disk>(create: impl Fn() -> D) {
    let cases: Vec<Value> = serde_json::from_str(include_str!("filesystem.json")).expect("cases");
    assert!(cases.len() >= 20, "the cases are there");
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let mut disk = create();
        for entry in case["before"].as_array().expect("a tree") {
            disk.put(entry["path"].as_str().expect("a path"), entry);
        }
        for step in case["steps"].as_array().expect("steps") {
            let instance = step["instance"].as_u64().unwrap_or(1);
            let outcome = disk.call(instance, step["call"].as_str().expect("a call"), step);
            let expected = match step.get("fails") {
                Some(error) => Err(error.as_str().expect("an error").to_owned()),
                None => Ok(step["gives"].clone()),
            };
            assert_eq!(outcome, expected, "{name}: {step}");
        }
        if let Some(after) = case.get("after") {
            assert_eq!(&Value::Object(disk.tree()), after, "{name}");
        }
    }
}

/// A string argument.
pub(crate) fn text(arguments: &Value, key: &str) -> String {
    arguments[key].as_str().unwrap_or_else(|| panic!("{key} in {arguments}")).to_owned()
}

/// A number argument.
pub(crate) fn number(arguments: &Value, key: &str) -> u64 {
    arguments[key].as_u64().unwrap_or_else(|| panic!("{key} in {arguments}"))
}
