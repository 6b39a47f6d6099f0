//! A command line as a value.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

/// A program with its arguments, folder and changes to the environment. Standard input is empty.
///
/// Secrets go into `set`, never into `args`: an argument can be read by every user of the machine. `Debug` shows the
/// names of variables alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Argv {
    /// The program: a name to be found on PATH, or a path.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The folder that it runs in; by default our own.
    pub folder: Option<PathBuf>,
    /// Variables that it gets beside those that it inherits.
    pub set: BTreeMap<OsString, OsString>,
    /// Variables that it does not inherit.
    pub unset: BTreeSet<OsString>,
    /// Whether the kernel ends it (not what it starts) when Fairlead is killed and can end nothing any more.
    pub ends_with_us: bool,
}

/// What [`xshell`] has put together: its words, its folder, and what it changes in the environment.
impl From<xshell::Cmd<'_>> for Argv {
    fn from(cmd: xshell::Cmd<'_>) -> Self {
        let command = std::process::Command::from(cmd);
        let mut argv = Self::new(command.get_program()).args(command.get_args());
        argv.folder = command.get_current_dir().map(Path::to_path_buf);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => argv.set.insert(name.to_owned(), value.to_owned()).is_some(),
                None => argv.unset.insert(name.to_owned()),
            };
        }
        argv
    }
}

impl Argv {
    /// A program without arguments.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            folder: None,
            set: BTreeMap::new(),
            unset: BTreeSet::new(),
            ends_with_us: false,
        }
    }

    /// A list as it stands in a config file: the program, then its arguments. `None` if it is empty.
    pub fn from_list(list: &[String]) -> Option<Self> {
        let (program, args) = list.split_first()?;
        Some(Self::new(program).args(args))
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets the folder that it runs in.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.set.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Has it ended by the kernel should Fairlead be killed.
    #[must_use]
    pub fn ends_with_us(mut self) -> Self {
        self.ends_with_us = true;
        self
    }

    /// Keeps a variable from being inherited.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.unset.insert(name.as_ref().to_owned());
        self
    }
}

/// As a person would type it; arguments with anything unusual in them are quoted.
impl fmt::Display for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quoted(f, &self.program)?;
        for arg in &self.args {
            f.write_str(" ")?;
            write_quoted(f, arg)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Argv")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("folder", &self.folder)
            .field("set", &self.set.keys())
            .field("unset", &self.unset)
            .finish()
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, word: &OsStr) -> fmt::Result {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_=./:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return f.write_str(&text);
    }
    write!(f, "'{}'", text.replace('\'', r"'\''"))
}
