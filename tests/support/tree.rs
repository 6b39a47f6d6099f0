//! A folder, byte for byte.

use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Everything in a folder: path → kind, permission bits and the digest of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, String>);

impl Tree {
    /// A folder as it is now, without what is in `skip` (relative paths).
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn of(folder: &Path, skip: &[&str]) -> Self {
        let mut entries = BTreeMap::new();
        visit(folder, folder, skip, &mut entries);
        Self(entries)
    }

    /// What is different in another one, line by line; empty if nothing is.
    pub fn difference(&self, other: &Self) -> String {
        let mut text = String::new();
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        for path in paths {
            let (before, after) = (self.0.get(path), other.0.get(path));
            if before != after {
                writeln!(text, "{}: {before:?} -> {after:?}", path.display())
                    .expect("a String takes everything");
            }
        }
        text
    }
}

/// The digest of a file's bytes, in hexadecimal digits.
pub(crate) fn digest_of(path: &Path) -> Option<String> {
    Some(hex::encode(Sha256::digest(fs::read(path).ok()?)))
}

fn visit(root: &Path, folder: &Path, skip: &[&str], entries: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).expect("a folder that can be read").flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root).expect("it was found below the root").to_path_buf();
        if skip.iter().any(|skipped| name == Path::new(skipped)) {
            continue;
        }
        // What goes away while it is looked at was not there.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let mode = metadata.permissions().mode() & 0o7777;
        let kind = metadata.file_type();
        let content = if kind.is_dir() {
            visit(root, &path, skip, entries);
            "folder".to_owned()
        } else if kind.is_file() {
            digest_of(&path).unwrap_or_else(|| "unreadable".to_owned())
        } else {
            format!("{kind:?}")
        };
        entries.insert(name, format!("{mode:04o} {content}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    #[test]
    fn bytes_modes_and_names_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("in")).unwrap();
        fs::write(path("in/a"), "1").unwrap();
        let before = Tree::of(folder.path(), &[]);
        assert_eq!(before.difference(&Tree::of(folder.path(), &[])), "");
        fs::set_permissions(path("in/a"), Permissions::from_mode(0o600)).unwrap();
        let moded = Tree::of(folder.path(), &[]);
        assert!(before.difference(&moded).starts_with("in/a: "));
        fs::write(path("in/a"), "2").unwrap();
        assert!(!moded.difference(&Tree::of(folder.path(), &[])).is_empty());
        assert_eq!(Tree::of(folder.path(), &["in"]).0.len(), 0);
    }
}
