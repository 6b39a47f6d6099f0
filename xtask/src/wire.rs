//! The seam to the other rooms: where their libraries are called, and their errors become ours.

use crate::{cli::Tells, context::Context, engines, failure::Failure, parts};
use deploy::{
    STATE_FOLDER,
    adapter::{process::supervisor, router},
    config::{LoadRequest, Loaded, environment_names, load},
    session::{Kind, Session, SessionError, Tool},
};
use object::{
    Endianness, ReadCache, elf,
    read::elf::{FileHeader as _, ProgramHeader as _},
};
use pipeline::{
    config::{Problems, find_root},
    digest::Digest,
    name::Name,
    release::{Kept, Manifests, Release, ReleaseId, manifest},
};
use std::{
    ffi::OsString,
    fs::File,
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

pub(crate) use crate::plan_file::{read_plan, write_plan};

/// The version of the program, for people.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The shortest build id that is a hash, in bytes: linkers make 16 (MD5, UUID) or 20 (SHA-1).
const BUILD_ID_MIN: usize = 16;

/// One environment, opened.
pub(crate) struct Opened {
    /// The project's root.
    pub(crate) root: PathBuf,
    /// The checked configuration.
    pub(crate) loaded: Loaded,
    /// The environment itself.
    pub(crate) session: Session,
}

/// Loads the configuration of the environment that a command is for.
pub(crate) fn configuration(context: &Context, environment: &str) -> Result<(PathBuf, Loaded), Failure> {
    load_configuration(context, environment, context.tells)
}

fn load_configuration(
    context: &Context,
    environment: &str,
    tells: Tells,
) -> Result<(PathBuf, Loaded), Failure> {
    let root = root(context)?;
    let variables = context.variables.iter();
    // A variable that is not text is no override of ours.
    let variables =
        variables.filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())));
    let request = LoadRequest {
        root: &root,
        project_file: context.global.config.as_deref(),
        environment,
        set: &context.global.set,
        variables: &variables.collect(),
    };
    let loaded = load(&request).map_err(|problems| config_failure(context, &problems))?;
    parts::know(context, &loaded, tells)?;
    Ok((root, loaded))
}

/// Opens the environment that a command is for.
pub(crate) fn open(context: &Context, environment: &str) -> Result<Opened, Failure> {
    open_configured(context, configuration(context, environment)?)
}

/// Opens an environment beside it, of which GitHub is told nothing.
pub(crate) fn open_other(context: &Context, environment: &str) -> Result<Opened, Failure> {
    open_configured(context, load_configuration(context, environment, Tells::Nothing)?)
}

fn open_configured(context: &Context, (root, loaded): (PathBuf, Loaded)) -> Result<Opened, Failure> {
    let (variables, redactor) = (context.variables.clone(), context.redactor.clone());
    let tool = tool()?;
    let platforms = engines::platforms(context, &loaded, &tool)?;
    let session = Session::open(root.clone(), loaded.clone(), tool, platforms, variables, redactor);
    Ok(Opened { root, loaded, session })
}

/// The environment whose services are built when none is named: `local`, where a deploy without a name would go, or the
/// first that there is.
pub(crate) fn any_environment(context: &Context) -> Result<String, Failure> {
    const LOCAL: &str = "local";
    let names = environment_names(&root(context)?);
    let first = names.first().filter(|_| names.iter().all(|name| name.as_str() != LOCAL));
    Ok(first.map_or_else(|| LOCAL.to_owned(), ToString::to_string))
}

/// The environments of the project, by name.
pub(crate) fn environments(context: &Context) -> Result<Vec<Name>, Failure> {
    Ok(environment_names(&root(context)?))
}

/// A release that was made before: by its name, or by the path of its manifest.
pub(crate) fn find_release(context: &Context, opened: &Opened, text: &str) -> Result<Release, Failure> {
    if text.contains(['/', '.']) {
        let mut release = manifest::read(Path::new(text)).map_err(|error| {
            SessionError::new(Kind::Usage, format!("cannot take the release of `{text}`")).because(error)
        })?;
        kept(opened).find(&mut release);
        return Ok(release);
    }
    let manifests = Manifests::new(&opened.root.join(STATE_FOLDER));
    let found = manifests.find(&ReleaseId(text.to_owned())).map_err(|error| {
        Failure::state(format!("cannot read the manifest of release `{text}`")).because(error)
    })?;
    if let Some(mut release) = found {
        kept(opened).find(&mut release);
        return Ok(release);
    }
    let made: Vec<String> =
        manifests.list().unwrap_or_default().into_iter().map(|id| id.to_string()).collect();
    let error = Failure::usage(format!("there is no release `{text}` here"));
    let error = match made.is_empty() {
        true => error.hint(format!("no release has been made here yet: `{}`", context.command("build"))),
        false => error.hint(format!("releases that were made here: {}", made.join(", "))),
    };
    Err(error
        .hint("a release of another machine is given by its file: `--release release-manifest.json`")
        .into())
}

/// The executables that are kept in this project for another machine, or that another machine has handed over.
pub(crate) fn kept(opened: &Opened) -> Kept {
    Kept::new(&opened.root, &opened.root.join(STATE_FOLDER))
}

/// Runs the supervisor of an environment.
pub(crate) async fn supervisor(arguments: Vec<OsString>) -> Result<(), Failure> {
    let options = supervisor::Options::from_args(arguments)
        .map_err(|error| SessionError::new(Kind::Usage, error.to_string()))?;
    supervisor::serve(options).await.map_err(|error| Failure::state("the supervisor ended").because(error))
}

/// Runs a router: `__router --control PATH [--version TEXT]`.
pub(crate) async fn router(arguments: Vec<OsString>) -> Result<(), Failure> {
    let mut control = None;
    let mut version = None;
    let mut arguments = arguments.into_iter();
    while let (Some(key), value) = (arguments.next(), arguments.next()) {
        match (key.to_str(), value) {
            (Some("--control"), Some(value)) => control = Some(PathBuf::from(value)),
            (Some("--version"), Some(value)) => version = Some(value.to_string_lossy().into_owned()),
            _ => return Err(not_for_people(&format!("`{}` is unknown or has no value", key.display()))),
        }
    }
    let control = control.ok_or_else(|| not_for_people("`--control` is missing"))?;
    let version = version.map_or_else(build, Ok)?;
    let options = router::Options::new(&control, &version);
    router::serve(options).await.map_err(|error| Failure::state("the router ended").because(error))
}

fn not_for_people(problem: &str) -> Failure {
    Failure::usage(format!("`__router` is called by Fairlead itself, not by people: {problem}")).into()
}

/// The project's root: the folder of the project file that was named, or that is found from here upwards.
fn root(context: &Context) -> Result<PathBuf, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::state("cannot tell the current folder").because(error))?;
    if let Some(root) = find_root(&here) {
        return Ok(root);
    }
    let named =
        context.global.config.as_deref().and_then(|file| here.join(file).parent().map(Path::to_path_buf));
    named.ok_or_else(|| {
        Failure::usage(format!("there is no fairlead.toml in {} or above it", here.display()))
            .hint("run the command within a project, or name its file with --config")
            .into()
    })
}

pub(crate) fn config_failure(context: &Context, problems: &Problems) -> Failure {
    let colour = context.stderr_paint.0 && std::io::stderr().is_terminal();
    Failure::Config {
        rendered: problems.render(colour),
        problems: serde_json::to_value(problems).unwrap_or_default(),
    }
}

/// This program, as it starts its own background processes.
fn tool() -> Result<Tool, Failure> {
    let executable = executable()?;
    let program = crate::cli::program(executable.as_os_str(), std::env::var_os("CARGO"));
    Ok(Tool { version: VERSION.to_owned(), program, executable, build: build()? })
}

fn executable() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::state("cannot find this program's own file").because(error))
}

/// What tells this program from any other build of it: the hash of its content that the linker has put into it, else a hash
/// of its bytes, which takes a while, because there are many.
fn build() -> Result<String, Failure> {
    let file = || File::open("/proc/self/exe").or_else(|_| File::open(executable().unwrap_or_default()));
    let digest = file().and_then(|file| match build_id(&file) {
        Some(id) => Ok(Digest::of_bytes(id)),
        None => Digest::of_reader(file),
    });
    let digest =
        digest.map_err(|error| Failure::state("cannot read this program's own file").because(error))?;
    Ok(digest.short())
}

/// The build id of an executable, of which only the part that tells it is read; `None` if it has none.
fn build_id(file: &File) -> Option<Vec<u8>> {
    let content = ReadCache::new(file);
    let content = &content;
    let header = elf::FileHeader64::<Endianness>::parse(content).ok()?;
    let order = header.endian().ok()?;
    let segments = header.program_headers(order, content).ok()?;
    let id =
        segments.iter().filter_map(|segment| segment.notes(order, content).ok()?).find_map(|mut notes| {
            std::iter::from_fn(|| notes.next().ok()?)
                .find(|note| note.name() == elf::ELF_NOTE_GNU && note.n_type(order) == elf::NT_GNU_BUILD_ID)
                .map(|note| note.desc().to_vec())
        })?;
    // A short one was given by whoever linked it, and may be that of many builds.
    (id.len() >= BUILD_ID_MIN).then_some(id)
}
