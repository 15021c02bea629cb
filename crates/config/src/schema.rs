//! The JSON Schema of the YAML, for editors: made from the raw shapes, so that it cannot drift from what is read.

use crate::raw;

/// The schema (JSON Schema 2020-12) of the whole file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(raw::File).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_closed_and_choices_are_listed() {
        let schema = schema();
        assert_eq!(schema["title"], "pgweir");
        assert_eq!(schema["additionalProperties"], false);
        let pool = &schema["$defs"]["Pool"]["properties"];
        assert_eq!(pool["mode"]["enum"], serde_json::json!(["session", "transaction", "statement"]));
        assert!(pool["size"]["description"].as_str().unwrap().contains("auto"));
        // A database may be a URL, or a mapping.
        let database = &schema["properties"]["databases"]["additionalProperties"]["anyOf"];
        assert_eq!(database.as_array().map(Vec::len), Some(2), "{schema:#}");
    }
}
