//! Findings: what is wrong with the meaning of a configuration whose form is right.

use super::{
    problem::Problem,
    source::Place,
    tree::{Node, show_path},
};

/// Collects problems, each with the place of its key.
pub struct Findings<'a> {
    trees: Vec<&'a Node>,
    only_written: bool,
    problems: Vec<Problem>,
}

impl<'a> Findings<'a> {
    /// Findings about keys of these trees; where several have a key, the first one counts.
    ///
    /// `only_written` says that the trees had other problems, for which keys were taken out: then a finding that is
    /// about a key that does not stand there is dropped, because it may well follow from those.
    pub fn new(trees: Vec<&'a Node>, only_written: bool) -> Self {
        Self { trees, only_written, problems: Vec::new() }
    }

    /// Adds a problem with the key at `path`.
    pub fn add(&mut self, path: &[&str], problem: Problem) {
        self.add_between(path, &[], problem);
    }

    /// Adds a problem with the key at `path` that is also about other keys, each with what it has to do with it.
    pub fn add_between(&mut self, path: &[&str], others: &[(&[&str], String)], mut problem: Problem) {
        let is_written = |path: &[&str]| self.trees.iter().any(|tree| tree.get(path).is_some());
        let all_written = is_written(path) && others.iter().all(|(other, _)| is_written(other));
        if self.only_written && !all_written {
            return;
        }
        for (other, label) in others {
            problem = problem.also_at(self.place(other), label.clone());
        }
        let named = [path].into_iter().chain(others.iter().map(|(other, _)| *other));
        for key in named.filter(|path| !is_written(path)).filter_map(|path| path.last()) {
            problem = problem.help(format!("`{key}` is left out: its default counts"));
        }
        let place = self.place(path).or_else(|| self.place_of_parent(path));
        self.problems.push(problem.at(place).key(show_path(path)));
    }

    /// Adds a problem: what should be at `path` is not there.
    pub fn add_missing(&mut self, path: &[&str], problem: Problem) {
        if !self.only_written {
            let place = self.place_of_parent(path);
            self.problems.push(problem.at(place).key(show_path(path)));
        }
    }

    /// All that was found.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn place(&self, path: &[&str]) -> Option<Place> {
        self.trees.iter().find_map(|tree| tree.place_of(path))
    }

    fn place_of_parent(&self, path: &[&str]) -> Option<Place> {
        let parents = (1..path.len()).rev().map(|length| &path[..length]);
        parents.into_iter().find_map(|parent| self.place(parent)).or_else(|| {
            let root = self.trees.first()?;
            Some(Place::whole_file(&root.place.source.name))
        })
    }
}
