//! What the items of a response add up to: tool calls, searches, containers, pictures, a refusal.
//! Knows no event, and keeps nothing of what was said.

use serde::de::SeqAccess;

use crate::observe::observation::Units;
use crate::observe::shapes::lenient::{Count, Into, Lenient, Object, Text, fields};

/// Containers of one response beyond this are not told apart.
const CONTAINERS: usize = 64;
/// The longest id of a container that is kept.
const ID: usize = 128;

/// What was counted of the items so far, without a copy of any.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// There was any.
    pub(super) any: bool,
    /// Calls of tools that the client runs; the provider runs the others.
    pub(super) tool_calls: u32,
    /// The model refused in words of its own.
    pub(super) refused: bool,
    searches: u64,
    file_searches: u64,
    containers: Vec<String>,
    images: u64,
    other_models: u64,
}

fields! {
    /// One item of the output.
    pub(super) struct Item<'de> {
        kind: Text<'de> = "type",
        status: Text<'de> = "status",
        content: Parts = "content",
        action: Action<'de> = "action",
        container: Text<'de> = "container_id",
        svg: Object<Drawn> = "svg_usage",
    }
}

fields! {
    /// What a search of the web did: only `search` is billed.
    pub(super) struct Action<'de> {
        kind: Text<'de> = "type",
    }
}

fields! {
    /// Tokens of the model that drew a picture.
    #[derive(Clone, Copy)]
    pub(super) struct Drawn {
        input: Count = "input_tokens",
        output: Count = "output_tokens",
        total: Count = "total_tokens",
    }
}

impl Drawn {
    /// All of them.
    pub(super) fn tokens(self) -> u64 {
        let sum = self.input.0.unwrap_or(0).saturating_add(self.output.0.unwrap_or(0));
        self.total.0.unwrap_or(sum)
    }
}

/// The parts of a message: whether one is a refusal.
#[derive(Debug, Default)]
pub(super) struct Parts {
    refused: bool,
}

fields! {
    struct Part<'de> {
        kind: Text<'de> = "type",
    }
}

impl<'de> Lenient<'de> for Parts {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut part = Part::default();
            if list.next_element_seed(Into(&mut part))?.is_none() {
                return Ok(());
            }
            self.refused |= part.kind.as_str() == "refusal";
        }
    }
}

impl Item<'_> {
    /// It calls a tool that the client runs.
    pub(super) fn is_tool_call(&self) -> bool {
        let kinds = [
            "function_call",
            "custom_tool_call",
            "computer_call",
            "local_shell_call",
            "shell_call",
            "apply_patch_call",
        ];
        kinds.contains(&self.kind.as_str())
    }
}

impl Items {
    /// Counts one more.
    pub(super) fn add(&mut self, item: &Item<'_>) {
        self.any = true;
        self.tool_calls = self.tool_calls.saturating_add(u32::from(item.is_tool_call()));
        match item.kind.as_str() {
            "message" => self.refused |= item.content.refused,
            "web_search_call" if item.action.kind.as_str() == "search" => self.searches += 1,
            "file_search_call" => self.file_searches += 1,
            "code_interpreter_call" => self.add_container(&item.container),
            "image_generation_call" if item.status.as_str() != "failed" => self.images += 1,
            _ => (),
        }
        let drawn = item.svg.0.map_or(0, Drawn::tokens);
        self.other_models = self.other_models.saturating_add(drawn);
    }

    fn add_container(&mut self, id: &Text<'_>) {
        let known = |id: &String| self.containers.contains(id);
        if self.containers.len() < CONTAINERS
            && let Some(id) = id.bounded(ID).filter(|id| !known(id))
        {
            self.containers.push(id);
        }
    }

    /// What is billed beside tokens. `searches` and `drawn` are the provider's own counts, of which
    /// the first replaces ours.
    pub(super) fn units(&self, searches: Option<u64>, drawn: u64) -> Units {
        let some = |count: u64| (count > 0).then_some(count);
        Units {
            web_searches: searches.or(some(self.searches)),
            file_searches: some(self.file_searches),
            code_sessions: some(self.containers.len() as u64),
            images: some(self.images),
            other_models: some(self.other_models.saturating_add(drawn)),
            ..Units::default()
        }
    }
}

impl<'de> Lenient<'de> for Items {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut item = Item::default();
            if list.next_element_seed(Into(&mut item))?.is_none() {
                return Ok(());
            }
            self.add(&item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::shapes::lenient::read;

    fn items(json: &str) -> Items {
        let mut items = Items::default();
        read(json.as_bytes(), &mut items).unwrap();
        items
    }

    #[test]
    fn searches_are_counted_where_the_provider_does_not() {
        let found = items(
            r#"[{"type":"web_search_call","action":{"type":"search"}},{"type":"web_search_call","action":{"type":"open_page"}},
            {"type":"web_search_call","action":null},{"type":"file_search_call"},{"type":"file_search_call"}]"#,
        );
        let units = found.units(None, 0);
        assert_eq!((units.web_searches, units.file_searches), (Some(1), Some(2)));
        assert_eq!(found.units(Some(0), 0).web_searches, Some(0));
        assert_eq!(items("[]").units(None, 0), Units::default());
    }

    #[test]
    fn a_container_is_one_session_however_often_it_is_used() {
        let call =
            |id: &str| format!(r#"{{"type":"code_interpreter_call","container_id":"{id}"}}"#);
        let calls = [call("a"), call("b"), call("a")].join(",");
        assert_eq!(items(&format!("[{calls}]")).units(None, 0).code_sessions, Some(2));
        let many: Vec<_> = (0..200).map(|number| call(&number.to_string())).collect();
        let found = items(&format!("[{}]", many.join(","))).units(None, 0).code_sessions;
        assert_eq!(found, Some(CONTAINERS as u64));
    }

    #[test]
    fn pictures_tell_what_other_models_used() {
        let found = items(
            r#"[{"type":"image_generation_call","status":"completed","result":"aGk="},{"type":"image_generation_call","status":"failed"},
            {"type":"image_generation_call","svg_usage":{"model":"m","input_tokens":5,"output_tokens":6}}]"#,
        );
        let units = found.units(None, 100);
        assert_eq!((units.images, units.other_models), (Some(2), Some(111)));
    }

    #[test]
    fn only_tools_of_the_client_are_tool_calls() {
        let found = items(
            r#"[{"type":"function_call","name":"f"},{"type":"custom_tool_call"},{"type":"mcp_call"},{"type":"web_search_call"},
            {"type":"function_call_output"},{"type":"message","content":[{"type":"output_text"}]},1,null]"#,
        );
        assert_eq!((found.tool_calls, found.refused), (2, false));
        assert!(items(r#"[{"type":"message","content":[{"type":"refusal"}]}]"#).refused);
        assert!(!items(r#"[{"type":"reasoning","content":[{"type":"refusal"}]}]"#).refused);
    }
}
