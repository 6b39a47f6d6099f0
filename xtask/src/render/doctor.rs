//! What an environment needs, for people: each check, and the fix of what is not as it should be.

use super::table::{Cell, Table};
use crate::{
    doctor::{Finding, Grade},
    paint::{Paint, Tone},
};
use std::fmt::Write as _;

/// The findings as text.
pub(crate) fn doctor(findings: &[Finding], paint: Paint) -> String {
    let mut table = Table::new(&["CHECK", "", "FOUND"]);
    for finding in findings {
        let (word, tone) = match finding.grade {
            Grade::Ok => ("ok", Tone::Good),
            Grade::Warn => ("warn", Tone::Warn),
            Grade::Fail => ("fail", Tone::Bad),
        };
        // A finding of several lines is told below the table.
        let found = finding.found.lines().next().unwrap_or_default();
        table.row([finding.check.as_str().into(), Cell::toned(word, tone), found.into()]);
    }
    let mut text = table.render(paint);
    let fixes: Vec<_> =
        findings.iter().filter_map(|finding| Some((finding, finding.fix.as_ref()?))).collect();
    if !fixes.is_empty() {
        text.push('\n');
    }
    for (finding, fix) in fixes {
        writeln!(text, "{}: {fix}", paint.tone(Tone::Title, &finding.check))
            .expect("writing to a String cannot fail");
    }
    text
}
