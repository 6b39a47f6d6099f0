//! Config files: lines of `key = value`; empty lines and lines that start with `#` do not matter.

use std::collections::BTreeMap;

/// Reads a config file whose keys are among `known`.
///
/// # Errors
/// Every line that is not `key = value`, has an unknown key, or a key that was there before.
pub(crate) fn parse(text: &str, known: &[&str]) -> Result<BTreeMap<String, String>, Vec<String>> {
    let mut values = BTreeMap::new();
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            None => problems.push(format!("line {number}: expected `key = value`")),
            Some((key, _)) if !known.contains(&key) => {
                problems
                    .push(format!("line {number}: unknown key `{key}`; known keys: {}", known.join(", ")));
            }
            Some((key, value)) => {
                if values.insert(key.to_owned(), value.to_owned()).is_some() {
                    problems.push(format!("line {number}: `{key}` was set before"));
                }
            }
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keys_and_skips_comments() {
        let values =
            parse("# who sits\n\n ministers = education, health \nmotto=a = b\r\n", &["ministers", "motto"]);
        let expected = [("ministers", "education, health"), ("motto", "a = b")];
        assert_eq!(values, Ok(expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into()));
    }

    #[test]
    fn names_every_bad_line() {
        let problems = parse("motto = a\nwhat\nmottto = b\nmotto = c\n", &["motto"]).unwrap_err();
        assert_eq!(
            problems,
            [
                "line 2: expected `key = value`",
                "line 3: unknown key `mottto`; known keys: motto",
                "line 4: `motto` was set before",
            ]
        );
    }
}
