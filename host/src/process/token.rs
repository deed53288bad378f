//! Process tokens: `{pid}/{start time}/{boot}/{PID namespace}/{host}`, with `-` for what is not known.
//!
//! On Linux `/proc` tells when a process started, which together with the boot and the PID namespace makes a
//! process id unmistakable. Elsewhere a process id is all there is.

use std::sync::LazyLock;

use rustix::process::{Pid, getpid};
use serde_json::Value;

use super::stat::Stat;
use crate::ambient;
use crate::wit::processes::Process;

/// Stands for an unknown part of a token.
const UNKNOWN: &str = "-";

/// What distinguishes a process from every other one, also across reboots and machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The process id.
    pub(super) pid: u64,
    /// When it started, in clock ticks since the boot.
    pub(super) start_time: Option<u64>,
    /// The boot: `/proc/sys/kernel/random/boot_id`.
    pub(super) boot_id: Option<String>,
    /// The PID namespace that `pid` belongs to. Every container has its own.
    pub(super) pid_namespace: Option<String>,
    /// The machine: `/etc/machine-id`, or else its host name.
    pub(super) host: Option<String>,
}

/// The parts that every process visible from here shares. They do not change while this process runs.
static HERE: LazyLock<Identity> = LazyLock::new(|| Identity {
    pid: 0,
    start_time: None,
    boot_id: trimmed("/proc/sys/kernel/random/boot_id"),
    pid_namespace: pid_namespace(),
    host: Some(machine()),
});

impl Identity {
    /// Returns the identity of this process.
    pub(crate) fn current() -> Self {
        Identity::of(getpid())
    }

    /// Returns the identity of a process that is running, or that no one has reaped.
    pub(crate) fn of(pid: Pid) -> Self {
        Identity::with_start(pid, Stat::of(pid).map(|stat| stat.start_time))
    }

    /// Returns the identity of a process of this boot and PID namespace.
    pub(super) fn with_start(pid: Pid, start_time: Option<u64>) -> Self {
        Identity { pid: number(pid), start_time, ..HERE.clone() }
    }

    /// Returns the parts that every process visible from here shares.
    pub(super) fn here() -> &'static Self {
        &HERE
    }

    /// Parses a token, or the JSON object that builds before tokens recorded.
    pub(super) fn parse(token: &str) -> Option<Self> {
        if token.starts_with('{') {
            return Identity::from_json(&serde_json::from_str(token).ok()?);
        }
        let parts: Vec<&str> = token.splitn(5, '/').collect();
        let [pid, start_time, boot_id, pid_namespace, host] = parts[..] else { return None };
        let known = |part: &str| (part != UNKNOWN).then(|| part.to_owned());
        let start_time = match start_time {
            UNKNOWN => None,
            ticks => Some(ticks.parse().ok()?),
        };
        Some(Identity {
            pid: pid.parse().ok()?,
            start_time,
            boot_id: known(boot_id),
            pid_namespace: known(pid_namespace),
            host: known(host),
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        // An unknown part is missing or null. Anything else must have the right type.
        let part = |key: &str| value.get(key).filter(|part| !part.is_null());
        let text = |key: &str| match part(key) {
            None => Some(None),
            Some(Value::String(text)) => Some(Some(text.clone())),
            Some(_) => None,
        };
        Some(Identity {
            pid: value.get("pid")?.as_u64()?,
            start_time: match part("start_time") {
                None => None,
                Some(ticks) => Some(ticks.as_u64()?),
            },
            boot_id: text("boot_id")?,
            pid_namespace: text("pid_namespace")?,
            host: text("host")?,
        })
    }

    /// Returns the token.
    pub(super) fn token(&self) -> String {
        let Identity { pid, start_time, boot_id, pid_namespace, host } = self;
        let start_time = start_time.map_or_else(|| UNKNOWN.to_owned(), |ticks| ticks.to_string());
        let or_unknown = |part: &Option<String>| part.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        let (boot, namespace) = (or_unknown(boot_id), or_unknown(pid_namespace));
        // The host comes last: it may contain a slash.
        format!("{pid}/{start_time}/{boot}/{namespace}/{}", or_unknown(host))
    }
}

impl From<Identity> for Process {
    fn from(identity: Identity) -> Self {
        Process { token: identity.token(), pid: identity.pid }
    }
}

/// Returns a process id as the component counts it.
fn number(pid: Pid) -> u64 {
    u64::from(pid.as_raw_nonzero().get().unsigned_abs())
}

/// Returns the PID namespace of this process: `pid:[4026531836]`. The number of a namespace that has ended
/// may be given to a new one. No process of the old one is running then, so a different start time still
/// proves an exit.
fn pid_namespace() -> Option<String> {
    let link = ambient::read_link("/proc/self/ns/pid".as_ref()).ok()?;
    link.into_os_string().into_string().ok()
}

fn machine() -> String {
    trimmed("/etc/machine-id")
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

fn trimmed(path: &str) -> Option<String> {
    let text = ambient::read_to_string(path.as_ref()).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn this_process_has_the_same_token_every_time() {
        let token = Identity::current().token();
        assert_eq!(Identity::parse(&token), Some(Identity::current()));
        assert_eq!(Identity::current().token(), token);
    }

    #[test]
    fn the_objects_of_earlier_builds_are_accepted() {
        let ours = Identity::current();
        let object = json!({
            "pid": ours.pid, "host": ours.host, "boot_id": ours.boot_id,
            "start_time": ours.start_time, "pid_namespace": ours.pid_namespace,
        });
        assert_eq!(Identity::parse(&object.to_string()), Some(ours));
        let bare =
            Identity { pid: 7, start_time: None, boot_id: None, pid_namespace: None, host: None };
        for object in [json!({"pid": 7}), json!({"pid": 7, "host": null, "start_time": null})] {
            assert_eq!(Identity::parse(&object.to_string()), Some(bare.clone()));
        }
    }

    #[test]
    fn other_texts_are_not_tokens() {
        for text in [
            "",
            "7",
            "7/1/b/n",
            "x/1/b/n/h",
            "7/x/b/n/h",
            "-/1/b/n/h",
            "{",
            "{}",
            "[7]",
            r#"{"pid": "7"}"#,
            r#"{"pid": 7, "host": 1}"#,
            r#"{"pid": 7, "start_time": -1}"#,
        ] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
    }

    fn part() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("[a-z0-9:\\[\\]]{1,8}")
    }

    proptest! {
        #[test]
        fn a_token_says_what_it_was_made_of(
            pid: u64,
            start_time: Option<u64>,
            boot_id in part(),
            pid_namespace in part(),
            host in proptest::option::of("[a-z/.]{1,8}"),
        ) {
            let identity = Identity { pid, start_time, boot_id, pid_namespace, host };
            prop_assert_eq!(Identity::parse(&identity.token()), Some(identity));
        }
    }
}
