//! Settings of the person at the terminal: `client.toml` in their own folder. Nobody needs it; flags and the environment win.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::ConfigError;

/// What the file says, paths resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientConfig {
    /// Whom `writ policy draft` asks.
    pub draft: DraftConfig,
}

/// A language model behind an OpenAI-compatible API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftConfig {
    /// Its URL.
    pub endpoint: Option<String>,
    /// The model to ask.
    pub model: Option<String>,
    /// The file with its key.
    pub key_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientFile {
    #[serde(default)]
    draft: DraftConfig,
}

impl ClientConfig {
    /// Reads the file; a file that is not there says nothing.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }

    /// Reads the text of the file at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let ClientFile { draft } = super::parse(text, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(Self { draft: DraftConfig { key_file: draft.key_file.map(|file| folder.join(file)), ..draft } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_whom_to_ask_and_an_unknown_key_is_refused() {
        let path = Path::new("/home/olga/.config/writ/client.toml");
        let read = ClientConfig::parse("[draft]\nendpoint = \"https://models.example\"\nkey_file = \"key\"\n", path);
        let draft = read.unwrap().draft;
        assert_eq!(draft.endpoint.as_deref(), Some("https://models.example"));
        assert_eq!(draft.key_file.as_deref(), Some(Path::new("/home/olga/.config/writ/key")));
        assert_eq!(ClientConfig::parse("", path).unwrap(), ClientConfig::default());
        for (text, key) in [("[draft]\nkey = \"x\"", "key"), ("[drafts]", "drafts"), ("[draft]\nmodel = 1", "model")] {
            let error = ClientConfig::parse(text, path).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("client.toml"), "{error}");
        }
        assert_eq!(ClientConfig::load(Path::new("/nowhere/client.toml")).unwrap(), ClientConfig::default());
    }
}
