//! Features in words, for a person or an agent.

use serde_json::Value;

use super::document::Document;

/// Characters that a shell takes literally outside quotes.
const PLAIN: &str = "-_./,@+";

/// The document of a feature.
pub(super) fn show(id: &str, document: &Document) -> String {
    let mut text = Text::default();
    text.line(&format!("{id}  {}", one_line(document.text("feature_name"))));
    let (status, current) = (document.text("status"), document.text("current_phase"));
    let at = match current == status || current.is_empty() {
        true => String::new(),
        false => format!(", current phase {}", one_line(current)),
    };
    let updated = one_line(document.text("updated"));
    text.line(&format!("{}{at}; updated {updated}", one_line(status)));
    for (name, phase) in document.phases() {
        let minutes = match phase.get("duration_minutes") {
            Some(Value::Number(minutes)) => format!("  {minutes} min"),
            _ => String::new(),
        };
        let reason = match phase.get("reason").and_then(Value::as_str) {
            Some(reason) => format!("  {}", one_line(reason)),
            None => String::new(),
        };
        let status = phase.get("status").and_then(Value::as_str).unwrap_or_default();
        text.line(&format!("{:<12} {}{minutes}{reason}", one_line(status), one_line(name)));
    }
    for (name, path) in document.part("artifacts").into_iter().flatten() {
        let path = one_line(path.as_str().unwrap_or_default());
        text.line(&format!("{:<12} {}: {path}", "artifact", one_line(name)));
    }
    let feedback = document.part("feedback_loop").map(|part| Value::Object(part.clone()));
    if let Some(iterations) = feedback.as_ref().and_then(iterations) {
        text.line(&format!("{:<12} {iterations}", "iteration"));
    }
    text.0
}

/// What a new session needs to continue, from the JSON view.
pub(super) fn resume(view: &Value) -> String {
    let mut text = Text::default();
    let id = field(view, "feature_id");
    text.line(&format!("# {} ({id})", field(view, "feature_name")));
    text.line("");
    let last = view["last_completed_phase"].as_str().map_or("none".to_owned(), one_line);
    text.line(&format!(
        "Status: {}. Current phase: {}. Last completed phase: {last}.",
        field(view, "status"),
        field(view, "current_phase"),
    ));
    if let Some(path) = view["worktree"]["path"].as_str() {
        text.line(&format!("Worktree: {}", one_line(path)));
    }
    if !list(&view["done"]).is_empty() {
        text.heading("Done");
        for phase in list(&view["done"]) {
            text.line(&format!("- {}", field(phase, "phase")));
            text.decisions(phase);
        }
    }
    text.heading("To do");
    for phase in list(&view["todo"]) {
        let reason = match phase["reason"].as_str() {
            Some(reason) => format!(": {}", one_line(reason)),
            None => String::new(),
        };
        text.line(&format!("- {} ({}{reason})", field(phase, "phase"), field(phase, "status")));
        text.decisions(phase);
    }
    if let Some(iterations) = iterations(&view["feedback_loop"]) {
        text.heading("Feedback loop");
        text.line(&iterations);
    }
    text.line("");
    text.line(&next_command(view));
    for artifact in list(&view["artifacts"]) {
        text.artifact(artifact);
    }
    text.0
}

/// The command that continues a feature.
fn next_command(view: &Value) -> String {
    let text = |key: &str| view["next"][key].as_str().unwrap_or_default();
    let id = word(view["feature_id"].as_str().unwrap_or_default());
    let phase = word(text("phase"));
    match text("move") {
        "approve" => format!(
            "Continue, once a person has approved the results of {}: wreckit-host feature run {id} --approve {phase}",
            one_line(text("phase"))
        ),
        step => format!("Continue with: wreckit-host feature {step} {id} {phase}"),
    }
}

/// The time, agents, tokens and cost of a feature, from the JSON view.
pub(super) fn summary(view: &Value) -> String {
    let mut text = Text::default();
    text.line(&format!(
        "{}  {}: {} ({} of {} phases complete)",
        field(view, "feature_id"),
        field(view, "feature_name"),
        field(view, "status"),
        view["phases_complete"],
        view["phases"]
    ));
    text.row("duration", &format!("{} min", value(&view["total_duration_minutes"])));
    let agents = &view["agents"];
    text.row(
        "agents",
        &format!(
            "{} ({} parallel, {} sequential executions)",
            value(&agents["total"]),
            value(&agents["parallel_executions"]),
            value(&agents["sequential_executions"])
        ),
    );
    text.row("iterations", &value(&view["iterations"]));
    text.row("validation retries", &value(&view["validation_retries"]));
    text.row("escalations", &view["escalations"]["to_user"].as_u64().unwrap_or(0).to_string());
    text.row("human checkpoints", &value(&view["human_checkpoints"]));
    let tokens = &view["tokens"];
    text.row(
        "tokens",
        &format!(
            "{} ({} input, {} output, {} estimated)",
            value(&tokens["total"]),
            value(&tokens["input"]),
            value(&tokens["output"]),
            value(&tokens["estimated_for_phases"])
        ),
    );
    text.cost(view);
    for part in list(&view["distribution"]) {
        let estimated = if part["estimated"] == true { " (estimated)" } else { "" };
        let line = format!(
            "{} min ({} %), {} tokens ({} %){estimated}",
            part["duration_minutes"],
            part["duration_percent"],
            part["tokens"],
            part["tokens_percent"]
        );
        text.row(&field(part, "phase"), &line);
    }
    if let Some(note) = view["cost_note"].as_str() {
        text.line(&one_line(note));
    }
    text.0
}

/// `2 of 5: in_progress; last: review PASS, test FAIL (csv.test.ts:45)`; `None` before the first iteration.
fn iterations(feedback: &Value) -> Option<String> {
    let number = feedback["current_iteration"].as_u64().filter(|number| *number > 0)?;
    let max = feedback["max_iterations"].as_u64().unwrap_or_default();
    let mut text = format!("{number} of {max}: {}", field(feedback, "status"));
    if let Some(last) = list(&feedback["iterations"]).last() {
        let (review, test) = (field(last, "review_result"), field(last, "test_result"));
        text.push_str(&format!("; last: review {review}, test {test}"));
        let failures = list(&last["test_failures"]).iter().filter_map(Value::as_str);
        let failures: Vec<String> = failures.map(one_line).collect();
        if !failures.is_empty() {
            text.push_str(&format!(" ({})", failures.join(", ")));
        }
    }
    Some(text)
}

/// Lines of text.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn heading(&mut self, heading: &str) {
        self.line("");
        self.line(&format!("## {heading}"));
    }

    fn row(&mut self, name: &str, value: &str) {
        self.line(&format!("{name:<20} {value}"));
    }

    fn decisions(&mut self, phase: &Value) {
        for decision in list(&phase["decisions"]).iter().filter_map(Value::as_str) {
            self.line(&format!("  - decided: {}", one_line(decision)));
        }
    }

    /// An artifact with its content, which keeps its lines.
    fn artifact(&mut self, artifact: &Value) {
        let (name, path) = (field(artifact, "name"), field(artifact, "path"));
        match (artifact["state"].as_str(), artifact["content"].as_str()) {
            (Some("present"), Some(content)) => {
                self.heading(&format!("{name} ({path})"));
                self.line("");
                self.line(content.trim_end());
            }
            (Some("present"), None) if name == "progress" => {}
            (Some("present"), None) => self.heading(&format!("{name} ({path}): too long to show")),
            (Some("outside"), _) => {
                let why = "not shown, because it is outside the directory of features";
                self.heading(&format!("{name} ({path}): {why}"));
            }
            (state, _) => self.heading(&format!("{name} ({path}): {}", state.unwrap_or_default())),
        }
    }

    fn cost(&mut self, view: &Value) {
        let models = view["cost_by_model"].as_object();
        let is_counted = models.is_some_and(|models| !models.is_empty())
            || view["cost_usd"].as_f64().is_some_and(|cost| cost > 0.0);
        match is_counted {
            true => self.row("cost", &format!("${}", value(&view["cost_usd"]))),
            false => self.row(
                "cost",
                "not recorded (record it with `feature record --tokens … --model NAME`)",
            ),
        }
        for (model, cost) in models.into_iter().flatten() {
            let dollars = match &cost["cost_usd"] {
                Value::Number(dollars) => format!("${dollars}"),
                _ => "no price".to_owned(),
            };
            self.row("", &format!("{}: {dollars}", one_line(model)));
        }
    }
}

/// The elements of a list; none if it is not a list.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A string in an object, as one line.
fn field(object: &Value, key: &str) -> String {
    one_line(object.get(key).and_then(Value::as_str).unwrap_or_default())
}

/// A value of an unknown type, as one line.
fn value(value: &Value) -> String {
    one_line(&value.to_string())
}

/// Text from a document without line breaks and other control characters: it must not pass for another line.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// A word of a command that can be copied into a shell.
fn word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || PLAIN.contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    // Neither a terminal nor a CI system changes what it shows of these.
    let is_shown = |c: char| c.is_alphanumeric() || (matches!(c, ' '..='~') && c != '#');
    if word.chars().all(is_shown) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let bytes = word.bytes().map(|byte| match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' if byte != b'#' => char::from(byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    });
    format!("$'{}'", bytes.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m\u{2028}é"), "a\\nb\\u{1b}[31m\\u{2028}é");
    }

    #[test]
    fn a_word_is_quoted_for_a_shell() {
        for (text, quoted) in [
            ("asset-export_20260301_081500", "asset-export_20260301_081500"),
            ("a b", "'a b'"),
            ("$(x)'s", r"'$(x)'\''s'"),
            ("a\nb\\#", r"$'a\x0ab\\\x23'"),
            ("日本", "'日本'"),
            ("", "''"),
        ] {
            assert_eq!(word(text), quoted);
        }
    }
}
