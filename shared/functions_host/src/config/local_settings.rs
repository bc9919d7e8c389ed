//! `local.settings.json`: the app settings of a run on this machine, as the Functions Core Tools read them.

use std::path::Path;

use serde_json::Value;

use super::reader::{Section, read_json};
use crate::error::HostError;

/// The members of `Values`; none where there is no such file.
pub(crate) fn local_settings(app_dir: &Path) -> Result<Vec<(String, String)>, HostError> {
    let path = app_dir.join("local.settings.json");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let json = read_json(&path)?;
    let file = path.display().to_string();
    let root = Section::root(&file, &json)?;
    if root.boolean("IsEncrypted")? == Some(true) {
        return Err(
            root.error("IsEncrypted", "is true, and this host cannot decrypt: run `func settings decrypt` first")
        );
    }
    root.without_effect(&["Host", "ConnectionStrings"]);
    let values = match root.get("Values") {
        None => Vec::new(),
        Some(Value::Object(values)) => {
            let setting = |(name, value): (&String, &Value)| match value.as_str() {
                Some(text) => Ok((name.clone(), text.to_owned())),
                None => Err(root.error(&format!("Values.{name}"), "must be a string")),
            };
            values.iter().map(setting).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(root.error("Values", "must be an object")),
    };
    root.finish()?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("local.settings.json"), text).unwrap();
        local_settings(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn values_become_app_settings() {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let text = r#"{"IsEncrypted": false, "Values": {"A": "1", "B__C": ""}, "Host": {"CORS": "*"}}"#;
        assert_eq!(read(text).unwrap(), own(&[("A", "1"), ("B__C", "")]));
        assert_eq!(read("{}").unwrap(), []);
        assert_eq!(local_settings(tempfile::tempdir().unwrap().path()).unwrap(), []);
    }

    #[test]
    fn what_is_not_understood_is_named_and_no_value_is_shown() {
        let cases = [
            (r#"{"IsEncrypted": true, "Values": {}}"#, "IsEncrypted: is true"),
            (r#"{"Values": {"A": 1}}"#, "Values.A: must be a string"),
            (r#"{"Values": ["secret"]}"#, "Values: must be an object"),
            (r#"{"Value": {"A": "secret"}}"#, "Value: is not understood"),
            (r#"{"Values": {"A": "secret"}"#, "is not JSON"),
        ];
        for (text, expected) in cases {
            let error = read(text).unwrap_err();
            assert!(error.contains("local.settings.json") && error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
