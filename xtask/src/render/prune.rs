//! What can be removed from a registry, for people.

use super::table::{Cell, Table};
use crate::{
    commands::Prunable,
    paint::{Paint, Tone},
};

/// What goes first, then what stays and why.
pub(crate) fn prunable(prunable: &Prunable, paint: Paint) -> String {
    let mut table = Table::new(&["", "REPOSITORY", "IMAGE", "TAGS", "BECAUSE"]);
    for repository in &prunable.repositories {
        for image in &repository.goes {
            let because = match image.with.len() {
                0 => "nothing needs it".to_owned(),
                count => format!("nothing needs it; {count} more that belong to it go too"),
            };
            table.row([
                Cell::toned("goes", Tone::Warn),
                repository.repository.clone().into(),
                image.digest.short().into(),
                image.tags.join(", ").into(),
                because.into(),
            ]);
        }
    }
    for repository in &prunable.repositories {
        for image in &repository.stays {
            table.row([
                "stays".into(),
                repository.repository.clone().into(),
                image.digest.short().into(),
                image.tags.join(", ").into(),
                image.because.join("; ").into(),
            ]);
        }
    }
    let (goes, stays) = prunable.counts();
    match (goes, stays) {
        (0, 0) => "the registry has no image of this project\n".to_owned(),
        (goes, stays) => format!("{}\n{goes} go, {stays} stay\n", table.render(paint)),
    }
}
