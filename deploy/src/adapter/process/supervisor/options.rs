//! What a supervisor is started with.

use pipeline::name::Name;
use std::{ffi::OsString, path::PathBuf};

/// The hidden subcommand under which an executable must call [`super::serve`].
pub const SUBCOMMAND: &str = "__supervisor";

/// What a supervisor is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The environment's state folder.
    pub state_dir: PathBuf,
    /// The environment that owns it.
    pub environment: Name,
    /// The target's name.
    pub target: Name,
    /// The executable that runs as the supervisor and, with `__router`, as its router.
    pub executable: PathBuf,
    /// What that executable is called; anything that is different for different executables.
    pub version: String,
    /// Whether the process is the supervisor's alone: it leads a session of its own, and heeds signals.
    pub(super) owns_process: bool,
    /// The files that an image before this one left open.
    pub(super) inherit: Option<String>,
}

/// Arguments of the hidden subcommand are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{SUBCOMMAND}` is called by Fairlead itself, not by people: {problem}")]
pub struct OptionsError {
    problem: String,
}

impl Options {
    /// The options of a supervisor within another process, as tests run it.
    pub fn new(
        state_dir: PathBuf,
        environment: Name,
        target: Name,
        executable: PathBuf,
        version: String,
    ) -> Self {
        Self { state_dir, environment, target, executable, version, owns_process: false, inherit: None }
    }

    /// The options of a process of its own from the arguments after [`SUBCOMMAND`].
    ///
    /// # Errors
    /// When one is missing, unknown or malformed.
    pub fn from_args(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, OptionsError> {
        let bad = |problem: String| OptionsError { problem };
        let text =
            |value: OsString| value.into_string().map_err(|v| bad(format!("{} is not UTF-8", v.display())));
        let name = |text: String| text.parse::<Name>().map_err(|e| bad(e.to_string()));
        let (mut state_dir, mut environment, mut target) = (None, None, None);
        let (mut executable, mut version, mut inherit) = (None, None, None);
        let mut arguments = arguments.into_iter();
        while let Some(key) = arguments.next() {
            let key = text(key)?;
            let value = arguments.next().ok_or_else(|| bad(format!("`{key}` has no value")))?;
            match key.as_str() {
                "--state" => state_dir = Some(PathBuf::from(value)),
                "--environment" => environment = Some(name(text(value)?)?),
                "--target" => target = Some(name(text(value)?)?),
                "--executable" => executable = Some(PathBuf::from(value)),
                "--version" => version = Some(text(value)?),
                "--inherit" => inherit = Some(text(value)?),
                _ => return Err(bad(format!("`{key}` is unknown"))),
            }
        }
        let missing = |key: &str| bad(format!("`{key}` is missing"));
        Ok(Self {
            state_dir: state_dir.ok_or_else(|| missing("--state"))?,
            environment: environment.ok_or_else(|| missing("--environment"))?,
            target: target.ok_or_else(|| missing("--target"))?,
            executable: executable.ok_or_else(|| missing("--executable"))?,
            version: version.ok_or_else(|| missing("--version"))?,
            owns_process: true,
            inherit,
        })
    }

    /// The arguments, [`SUBCOMMAND`] first, from which [`Options::from_args`] makes the same again.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![SUBCOMMAND.into()];
        let mut add = |key: &str, value: OsString| arguments.extend([key.into(), value]);
        add("--state", self.state_dir.clone().into());
        add("--environment", self.environment.as_str().into());
        add("--target", self.target.as_str().into());
        add("--executable", self.executable.clone().into());
        add("--version", self.version.clone().into());
        if let Some(files) = &self.inherit {
            add("--inherit", files.into());
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let name = |text: &str| text.parse().expect("a name");
        let mut options =
            Options::new("/state dir".into(), name("local"), name("here"), "/bin/tool".into(), "v1".into());
        options.owns_process = true;
        options
    }

    #[test]
    fn arguments_read_back() {
        for inherit in [None, Some("3,4,5".to_owned())] {
            let options = Options { inherit, ..options() };
            let arguments = options.to_args();
            assert_eq!(arguments[0], SUBCOMMAND);
            assert_eq!(Options::from_args(arguments.into_iter().skip(1)), Ok(options));
        }
    }

    #[test]
    fn refuses_what_people_may_try() {
        let problem = |arguments: &[&str]| {
            Options::from_args(arguments.iter().map(OsString::from)).expect_err("refused").to_string()
        };
        assert!(problem(&[]).contains("`--state` is missing"));
        assert!(problem(&["--help"]).contains("`--help` has no value"));
        assert!(problem(&["--what", "x"]).contains("`--what` is unknown"));
        assert!(problem(&["--target", "A"]).contains("not a name"));
    }
}
