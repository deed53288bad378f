//! The language of prompts: `{{name}}` and `{{#if name}}…{{else}}…{{/if}}`, as in Handlebars.
//!
//! A template is a flat list of steps with jumps in it, so that parsing and rendering take time in
//! proportion to the text, however deeply its blocks are nested.

/// A template, ready to be rendered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Template {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Appends this text.
    Text(String),
    /// Appends the value of this name.
    Value(String),
    /// Continues at this step if the name is empty.
    JumpIfEmpty(String, usize),
    /// Continues at this step.
    Jump(usize),
}

impl Template {
    /// Parses a template; on failure returns the line and what is wrong in it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser::default();
        let mut line = 1;
        // Whether only blanks precede `rest` in its line.
        let mut is_line_start = true;
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            let (before, from_tag) = rest.split_at(open);
            line += line_breaks(before);
            let at_line = |what: String| format!("line {line}: {what}");
            let (tag, after) = split_tag(from_tag).map_err(at_line)?;
            let tag = Tag::parse(tag).map_err(at_line)?;
            is_line_start = match before.rsplit_once('\n') {
                Some((_, same_line)) => is_blank(same_line),
                None => is_line_start && is_blank(before),
            };
            // A line with only the tag of a block is removed completely.
            let next_line = next_line(after).filter(|_| is_line_start && tag.is_of_block());
            match next_line {
                Some(_) => parser.text(before.trim_end_matches([' ', '\t'])),
                None => parser.text(before),
            }
            is_line_start = next_line.is_some();
            parser.tag(tag, line).map_err(at_line)?;
            let after = next_line.unwrap_or(after);
            line += line_breaks(&from_tag[..from_tag.len() - after.len()]);
            rest = after;
        }
        parser.text(rest);
        parser.finish()
    }

    /// Whether a name occurs in it.
    pub(super) fn names(&self, name: &str) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Value(value) | Step::JumpIfEmpty(value, _) => value == name,
            Step::Text(_) | Step::Jump(_) => false,
        })
    }

    /// Renders the template with these values, which are inserted verbatim; `None` if the result is longer
    /// than `longest` bytes.
    pub(super) fn render<'v>(
        &self,
        value: impl Fn(&str) -> &'v str,
        longest: usize,
    ) -> Option<String> {
        let mut rendered = String::new();
        let mut next = 0;
        while let Some(step) = self.steps.get(next) {
            next += 1;
            match step {
                Step::Text(text) => rendered.push_str(text),
                Step::Value(name) => rendered.push_str(value(name)),
                Step::JumpIfEmpty(name, to) if value(name).is_empty() => next = *to,
                Step::JumpIfEmpty(..) => {}
                Step::Jump(to) => next = *to,
            }
            if rendered.len() > longest {
                return None;
            }
        }
        Some(rendered)
    }
}

/// What is between braces.
#[derive(Debug, Clone, Copy)]
enum Tag<'t> {
    If(&'t str),
    Else,
    EndIf,
    Name(&'t str),
}

impl<'t> Tag<'t> {
    fn parse(text: &'t str) -> Result<Self, String> {
        match (text, text.strip_prefix("#if ").map(str::trim)) {
            (_, Some(name)) if is_name(name) => Ok(Tag::If(name)),
            ("else", _) => Ok(Tag::Else),
            ("/if", _) => Ok(Tag::EndIf),
            (name, None) if is_name(name) => Ok(Tag::Name(name)),
            _ => Err(format!("`{{{{{text}}}}}` is neither `{{{{name}}}}` nor `{{{{#if name}}}}`")),
        }
    }

    fn is_of_block(self) -> bool {
        !matches!(self, Tag::Name(_))
    }
}

/// The steps so far.
#[derive(Default)]
struct Parser {
    steps: Vec<Step>,
    blocks: Vec<Block>,
}

/// A block that is still open.
struct Block {
    /// The line in which it begins.
    line: usize,
    /// The step that skips the current part of it.
    jump: usize,
    has_else: bool,
}

impl Parser {
    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.steps.push(Step::Text(text.to_owned()));
        }
    }

    fn tag(&mut self, tag: Tag<'_>, line: usize) -> Result<(), String> {
        match tag {
            Tag::Name(name) => self.steps.push(Step::Value(name.to_owned())),
            Tag::If(name) => {
                self.blocks.push(Block { line, jump: self.steps.len(), has_else: false });
                self.steps.push(Step::JumpIfEmpty(name.to_owned(), 0));
            }
            Tag::Else => {
                let Some(block) = self.blocks.last_mut().filter(|block| !block.has_else) else {
                    return Err("`{{else}}` without `{{#if name}}` before it".to_owned());
                };
                block.has_else = true;
                let begin = std::mem::replace(&mut block.jump, self.steps.len());
                self.steps.push(Step::Jump(0));
                self.lead_here(begin);
            }
            Tag::EndIf => {
                let block =
                    self.blocks.pop().ok_or("`{{/if}}` without `{{#if name}}` before it")?;
                self.lead_here(block.jump);
            }
        }
        Ok(())
    }

    /// Makes a jump lead to the next step.
    fn lead_here(&mut self, jump: usize) {
        let here = self.steps.len();
        if let Some(Step::Jump(to) | Step::JumpIfEmpty(_, to)) = self.steps.get_mut(jump) {
            *to = here;
        }
    }

    fn finish(self) -> Result<Template, String> {
        match self.blocks.last() {
            Some(block) => Err(format!("line {}: `{{{{#if}}}}` without `{{{{/if}}}}`", block.line)),
            None => Ok(Template { steps: self.steps }),
        }
    }
}

/// Splits a text after the tag that it begins with; returns the words of the tag. A third brace on each
/// side changes nothing.
fn split_tag(text: &str) -> Result<(&str, &str), String> {
    let inside = text.trim_start_matches('{');
    let close = inside.find("}}").ok_or("`{{` without `}}`")?;
    Ok((inside[..close].trim(), inside[close..].trim_start_matches('}')))
}

/// Returns the text from the next line on, if only blanks precede it.
fn next_line(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches([' ', '\t']);
    match rest.is_empty() {
        true => Some(rest),
        false => rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')),
    }
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t'))
}

fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && text.chars().all(is_letter)
}

fn line_breaks(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The parts of a template, from which the expected result is computed independently.
    #[derive(Debug, Clone)]
    enum Part {
        Text(String),
        Value(bool),
        Block(bool, Vec<Part>, Option<Vec<Part>>),
    }

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        let leaf =
            prop_oneof!["[a-z ]{0,5}".prop_map(Part::Text), any::<bool>().prop_map(Part::Value)];
        let part = leaf.prop_recursive(40, 200, 4, |part| {
            let inside = || proptest::collection::vec(part.clone(), 0..4);
            (any::<bool>(), inside(), proptest::option::of(inside()))
                .prop_map(|(is_set, yes, no)| Part::Block(is_set, yes, no))
        });
        proptest::collection::vec(part, 0..6)
    }

    fn name(is_set: bool) -> &'static str {
        if is_set { "full" } else { "none" }
    }

    fn value(name: &str) -> &'static str {
        if name == "full" { "{{none}}" } else { "" }
    }

    fn template(parts: &[Part]) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(is_set) => format!("{{{{ {} }}}}", name(*is_set)),
            Part::Block(is_set, yes, None) => {
                format!("{{{{#if {}}}}}{}{{{{/if}}}}", name(*is_set), template(yes))
            }
            Part::Block(is_set, yes, Some(no)) => {
                let (yes, no) = (template(yes), template(no));
                format!("{{{{#if {}}}}}{yes}{{{{else}}}}{no}{{{{/if}}}}", name(*is_set))
            }
        };
        parts.iter().map(part).collect()
    }

    fn rendered(parts: &[Part]) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(is_set) => value(name(*is_set)).to_owned(),
            Part::Block(true, yes, _) => rendered(yes),
            Part::Block(false, _, no) => rendered(no.as_deref().unwrap_or_default()),
        };
        parts.iter().map(part).collect()
    }

    proptest! {
        #[test]
        fn nested_blocks_are_rendered(parts in parts()) {
            // Without a line break, no tag has a line of its own.
            let text = format!("<{}>", template(&parts));
            let template = Template::parse(&text).unwrap();
            prop_assert_eq!(
                template.render(value, usize::MAX),
                Some(format!("<{}>", rendered(&parts)))
            );
        }

        #[test]
        fn any_text_is_parsed_into_no_more_steps_than_it_has_bytes(
            text in "(\\{\\{#if a\\}\\}|\\{\\{else\\}\\}|\\{\\{/if\\}\\}|\\{\\{a\\}\\}|[\\n {}a#/é]){0,60}",
        ) {
            if let Ok(template) = Template::parse(&text) {
                prop_assert!(template.steps.len() <= text.len());
                prop_assert!(template.render(value, usize::MAX).is_some());
            }
        }
    }
}
