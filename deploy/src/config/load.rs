//! Loading: from files, `--set` and variables to a checked configuration, or all that is wrong with it.

use super::{Environment, environment_schema, file::EnvironmentFile, project_schema, resolve};
use pipeline::{
    config::{
        PROJECT_FILE, Problem, Problems, Project,
        file::ProjectFile,
        findings::Findings,
        overrides::{Assignment, Layer, Override, service_variables},
        problem::nearest,
        schema::Schema,
        source::{Place, Source},
        tree::Node,
    },
    digest::Digest,
    name::Name,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where environment files are, relative to the project's root.
pub const ENVIRONMENTS_FOLDER: &str = "deploy/environments";

/// What to load.
#[derive(Debug, Clone, Copy)]
pub struct LoadRequest<'a> {
    /// The project's root: the folder of the project file.
    pub root: &'a Path,
    /// Another project file than the one in the root.
    pub project_file: Option<&'a Path>,
    /// The environment's name.
    pub environment: &'a str,
    /// Overrides from the command line, `KEY=VALUE`; a later one wins.
    pub set: &'a [String],
    /// The environment variables of this process.
    pub variables: &'a BTreeMap<String, String>,
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// The environment.
    pub environment: Environment,
    /// The overrides that took effect, in the order in which they did: a later one of the same key won.
    pub provenance: Vec<Override>,
    /// The files that were read, as shown to people, with the digests of their bytes without a byte order mark.
    pub files: BTreeMap<String, Digest>,
}

/// Loads a configuration.
///
/// # Errors
/// Everything that is wrong with both files and all overrides.
pub fn load(request: &LoadRequest<'_>) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let project_path =
        request.project_file.map_or_else(|| request.root.join(PROJECT_FILE), Path::to_path_buf);
    let project = read(&project_path, request.root, &mut problems);
    let environment = match find_environment(request.root, request.environment) {
        Ok((name, path)) => read(&path, request.root, &mut problems).map(|source| (name, source)),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    load_sources(project, environment, request.set, request.variables, problems)
}

/// Loads a configuration from texts instead of files.
///
/// # Errors
/// As [`load`].
pub fn load_texts(
    project: Arc<Source>,
    environment: (Name, Arc<Source>),
    set: &[String],
    variables: &BTreeMap<String, String>,
) -> Result<Loaded, Problems> {
    load_sources(Some(project), Some(environment), set, variables, Vec::new())
}

/// The names of the environments that there are files for, sorted.
pub fn environment_names(root: &Path) -> Vec<Name> {
    let files =
        std::fs::read_dir(root.join(ENVIRONMENTS_FOLDER)).into_iter().flatten().filter_map(Result::ok);
    let name = |file: std::fs::DirEntry| file.file_name().to_str()?.strip_suffix(".toml")?.parse().ok();
    let mut names: Vec<Name> = files.filter_map(name).collect();
    names.sort();
    names
}

fn find_environment(root: &Path, text: &str) -> Result<(Name, PathBuf), Problem> {
    let names = environment_names(root);
    // The name becomes part of a path: only what is a name may.
    if let Some(name) = text.parse::<Name>().ok().filter(|name| names.contains(name)) {
        let path = root.join(ENVIRONMENTS_FOLDER).join(format!("{name}.toml"));
        return Ok((name, path));
    }
    let message = format!("there is no environment `{}`", pipeline::config::problem::shorten(text));
    let mut problem = Problem::new(message).at(Place::whole_file(ENVIRONMENTS_FOLDER));
    if let Some(meant) = nearest(text, names.iter().map(Name::as_str)) {
        problem = problem.help(format!("did you mean `{meant}`?"));
    }
    let known: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let known = if known.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there are: {}", known.join(", "))
    };
    Err(problem.help(format!("an environment is a file {ENVIRONMENTS_FOLDER}/NAME.toml; {known}")))
}

fn read(path: &Path, root: &Path, problems: &mut Vec<Problem>) -> Option<Arc<Source>> {
    let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
    Source::read(path, &shown).map_err(|problem| problems.push(problem)).ok()
}

/// A file's tree with its schema.
struct Draft {
    schema: &'static Schema,
    tree: Node,
    had_problems: bool,
}

impl Draft {
    fn new(source: &Arc<Source>, schema: &'static Schema, problems: &mut Vec<Problem>) -> Option<Self> {
        let (tree, syntax) = Node::parse(source);
        let is_whole = syntax.is_empty();
        problems.extend(syntax);
        // What follows from a line that could not be read would only hide it.
        is_whole.then_some(Self { schema, tree, had_problems: false })
    }

    fn read<T: serde::de::DeserializeOwned>(&mut self, problems: &mut Vec<Problem>) -> Option<T> {
        let before = problems.len();
        let value = self.schema.read(&mut self.tree, problems);
        self.had_problems = problems.len() > before;
        value
    }
}

fn load_sources(
    project: Option<Arc<Source>>,
    environment: Option<(Name, Arc<Source>)>,
    set: &[String],
    variables: &BTreeMap<String, String>,
    mut problems: Vec<Problem>,
) -> Result<Loaded, Problems> {
    let sources = project.iter().chain(environment.as_ref().map(|(_, source)| source));
    let files = sources.map(|source| (source.name.clone(), Digest::of_bytes(&source.text))).collect();
    let mut project = project.and_then(|source| Draft::new(&source, project_schema(), &mut problems));
    let mut environment = environment.and_then(|(name, source)| {
        let draft = Draft::new(&source, environment_schema(), &mut problems)?;
        Some((name, draft))
    });
    let provenance = match (&mut project, &mut environment) {
        (Some(project), Some((_, environment))) => {
            apply_overrides(project, environment, set, variables, &mut problems)
        }
        _ => Vec::new(), // Which keys there are is not known.
    };
    let checked = check(project, environment, &mut problems);
    match (Problems::from_vec(problems), checked) {
        (Some(problems), _) => Err(problems),
        (None, Some((project, environment))) => Ok(Loaded { project, environment, provenance, files }),
        (None, None) => Err(Problem::new("the configuration could not be read").into()),
    }
}

/// Puts variables and `--set` into the trees, the weakest first: the services' own variables, `FAIRLEAD_…`, `--set`.
///
/// The environment file's keys come first, because its per-service keys have the last word over the project's.
fn apply_overrides(
    project: &mut Draft,
    environment: &mut Draft,
    set: &[String],
    variables: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> Vec<Override> {
    let mut assignments = service_variables(&project.tree, variables);
    assignments.extend(variables.iter().filter_map(|(name, value)| Assignment::from_variable(name, value)));
    for text in set {
        match Assignment::from_set(text) {
            Ok(assignment) => assignments.push(assignment),
            Err(problem) => problems.push(problem),
        }
    }
    let mut layers = [
        Layer { schema: environment.schema, tree: &mut environment.tree, fixed: &["version", "protected"] },
        Layer { schema: project.schema, tree: &mut project.tree, fixed: &["version"] },
    ];
    let mut provenance = Vec::new();
    for assignment in assignments {
        match assignment.apply(&mut layers) {
            Ok(applied) => provenance.push(applied),
            Err(problem) => problems.push(problem),
        }
    }
    provenance
}

/// Checks form, then meaning, of as much as can be.
fn check(
    project: Option<Draft>,
    environment: Option<(Name, Draft)>,
    problems: &mut Vec<Problem>,
) -> Option<(Project, Environment)> {
    let (mut project_draft, mut environment) = (project, environment);
    let project_file: Option<ProjectFile> = project_draft.as_mut().and_then(|draft| draft.read(problems));
    let environment_file: Option<(Name, EnvironmentFile)> =
        environment.as_mut().and_then(|(name, draft)| Some((name.clone(), draft.read(problems)?)));
    let drafts: Vec<&Draft> = environment.iter().map(|(_, draft)| draft).chain(&project_draft).collect();
    let had_problems = drafts.iter().any(|draft| draft.had_problems);
    let trees = || drafts.iter().map(|draft| &draft.tree).collect();

    let mut findings = Findings::new(trees(), had_problems);
    let project = project_file.map(|file| Project::check(file, &mut findings));
    let resolved = match (project, environment_file) {
        (Some(project), Some((name, file))) => {
            let environment = resolve(&name, &project, &file, &mut findings);
            Some((project, environment))
        }
        _ => None,
    };
    problems.extend(findings.into_problems());
    resolved
}
