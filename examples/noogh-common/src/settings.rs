//! Settings: everything a service learns from its environment, and from the files that the environment names.
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `API_HOST`, `MCP_HOST` | 0.0.0.0 | the address to listen on |
//! | `API_PORT`, `MCP_PORT` | 8000, 8001 | the port to listen on; 0 = a free one, which the log names |
//! | `LOG_LEVEL` | INFO | ERROR, WARN, INFO or DEBUG |
//! | `FAIRLEAD_RELEASE`, `FAIRLEAD_BUNDLE` | unknown | who the service is; Fairlead sets them |
//! | `FAIRLEAD_UNIT` | – | which unit the service is, as `SERVICE/SLOT`; Fairlead sets it |
//! | `API_CONFIG`, `MCP_CONFIG` | – | a config file of `key = value` lines |
//! | `HF_TOKEN_FILE` | – | a file with the token for the model hub, a secret |
//! | `NOOGH_FAULT` | – | ways to misbehave, see [`crate::fault`] |

use crate::{
    fault::Faults,
    key_values,
    log::Level,
    service::{Spec, StartError},
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    str::FromStr,
};

/// The variable that names the file with the token.
const TOKEN_VARIABLE: &str = "HF_TOKEN_FILE";

/// What a service reports when nobody told it its release or bundle.
const UNKNOWN: &str = "unknown";

/// What the environment says.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 = a free one.
    pub port: u16,
    /// Which lines are logged.
    pub level: Level,
    /// The release that this is.
    pub release: String,
    /// The bundle that this is.
    pub bundle: String,
    /// What to do wrong.
    pub faults: Faults,
    config_path: Option<PathBuf>,
    token_path: Option<PathBuf>,
}

/// What the files say that the environment names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The config file's values; `None` = no config file.
    pub config: Option<BTreeMap<String, String>>,
    /// The token for the model hub; `None` = no file was named.
    pub token: Option<Token>,
}

/// A secret that shows itself to nobody who does not [`Token::reveal`] it.
#[derive(PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The value, for the one request header that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Settings {
    /// Reads the settings of a service; `lookup` gives the value of an environment variable.
    ///
    /// # Errors
    /// [`StartError::Settings`] with every variable that has a bad value.
    pub fn read(spec: &Spec, lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, StartError> {
        let mut reader = Reader { lookup, problems: Vec::new() };
        let slot = reader.value("FAIRLEAD_UNIT", None, |text| {
            let slot = text.rsplit_once('/').and_then(|(_, slot)| slot.parse().ok());
            slot.map(Some).ok_or_else(|| format!("`{text}` is not a unit such as `api/1`"))
        });
        let settings = Self {
            host: reader.value(spec.host_variable, IpAddr::V4(Ipv4Addr::UNSPECIFIED), |text| {
                text.parse()
                    .map_err(|_| format!("`{text}` is not an IP address such as 0.0.0.0 or 127.0.0.1"))
            }),
            port: reader.value(spec.port_variable, spec.default_port, |text| {
                text.parse().map_err(|_| format!("`{text}` is not a port from 0 to 65535"))
            }),
            level: reader.value("LOG_LEVEL", Level::Info, Level::from_str),
            release: reader.value("FAIRLEAD_RELEASE", UNKNOWN.to_owned(), |text| Ok(text.to_owned())),
            bundle: reader.value("FAIRLEAD_BUNDLE", UNKNOWN.to_owned(), |text| Ok(text.to_owned())),
            faults: reader.value("NOOGH_FAULT", Faults::default(), |text| {
                Faults::parse(text, slot).map_err(|error| error.to_string())
            }),
            config_path: reader.path(spec.config_variable),
            token_path: reader.path(TOKEN_VARIABLE),
        };
        if reader.problems.is_empty() { Ok(settings) } else { Err(StartError::Settings(reader.problems)) }
    }

    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// [`StartError::File`] if one cannot be read, [`StartError::Settings`] if its content is not as it must be.
    pub fn load(&self, spec: &Spec) -> Result<Files, StartError> {
        let mut files = Files::default();
        if let Some(path) = &self.config_path {
            let text = read(spec.config_variable, path)?;
            let parsed = key_values::parse(&text, spec.config_keys).map_err(|problems| {
                let place = path.display();
                StartError::Settings(problems.iter().map(|problem| format!("{place}: {problem}")).collect())
            })?;
            files.config = Some(parsed);
        }
        if let Some(path) = &self.token_path {
            let token = read(TOKEN_VARIABLE, path)?.trim().to_owned();
            if token.is_empty() {
                return Err(StartError::Settings(vec![format!(
                    "{TOKEN_VARIABLE}: {} is empty",
                    path.display()
                )]));
            }
            files.token = Some(Token(token));
        }
        Ok(files)
    }
}

impl Files {
    /// The value of a key in the config file.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.config.as_ref()?.get(key).map(String::as_str)
    }
}

/// Reads variables and keeps what is wrong with them, so that all of it is told at once.
struct Reader<L> {
    lookup: L,
    problems: Vec<String>,
}

impl<L: Fn(&str) -> Option<OsString>> Reader<L> {
    fn value<T>(&mut self, variable: &str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let Some(text) = (self.lookup)(variable) else { return default };
        let parsed = text.to_str().ok_or_else(|| "it is not UTF-8".to_owned()).and_then(parse);
        parsed.unwrap_or_else(|problem| {
            self.problems.push(format!("{variable}: {problem}"));
            default
        })
    }

    fn path(&mut self, variable: &str) -> Option<PathBuf> {
        let path = (self.lookup)(variable).map(PathBuf::from)?;
        if path.as_os_str().is_empty() {
            self.problems.push(format!("{variable}: it names no file; unset it if there is none"));
        }
        Some(path)
    }
}

fn read(variable: &'static str, path: &PathBuf) -> Result<String, StartError> {
    let failed = |source: io::Error| StartError::File { variable, path: path.clone(), source };
    fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: Spec = Spec {
        name: "noogh-test",
        host_variable: "API_HOST",
        port_variable: "API_PORT",
        default_port: 8000,
        config_variable: "API_CONFIG",
        config_keys: &["motto"],
    };

    fn read(variables: &[(&str, &str)]) -> Result<Settings, StartError> {
        Settings::read(&SPEC, |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn has_the_documented_defaults() {
        let settings = read(&[]).unwrap();
        assert_eq!(
            (settings.host.to_string().as_str(), settings.port, settings.level),
            ("0.0.0.0", 8000, Level::Info)
        );
        assert_eq!((settings.release.as_str(), settings.bundle.as_str()), ("unknown", "unknown"));
        assert_eq!(settings.load(&SPEC).unwrap(), Files::default());
    }

    #[test]
    fn tells_every_bad_value_at_once() {
        let error = read(&[
            ("API_HOST", "here"),
            ("API_PORT", "80000"),
            ("LOG_LEVEL", "loud"),
            ("NOOGH_FAULT", "explode"),
            ("API_CONFIG", ""),
        ])
        .unwrap_err();
        let StartError::Settings(problems) = error else { panic!("{error:?}") };
        let variables: Vec<_> = problems.iter().filter_map(|problem| problem.split(':').next()).collect();
        assert_eq!(variables, ["API_HOST", "API_PORT", "LOG_LEVEL", "NOOGH_FAULT", "API_CONFIG"]);
    }

    #[test]
    fn a_missing_file_is_named_with_its_variable() {
        let missing = read(&[("API_CONFIG", "/nonexistent/api.conf")]).unwrap().load(&SPEC).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/api.conf, named by API_CONFIG"), "{missing}");
    }

    #[test]
    fn a_token_does_not_show_in_debug_output() {
        let files = Files { config: None, token: Some(Token("hf_secret".to_owned())) };
        assert!(!format!("{files:?}").contains("hf_secret"));
    }
}
