//! Files of waivers, good and bad.

use super::*;
use std::fs;

fn read(name: &str, text: impl AsRef<[u8]>) -> Result<Waivers, Problems> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), text).unwrap();
    let services = ["api".parse().unwrap(), "mcp".parse().unwrap()];
    Waivers::read(folder.path(), &[name.into()], &services.iter().collect::<Vec<_>>())
}

#[test]
fn a_file_says_what_is_tolerated_why_and_how_long() {
    let text = "version = 1\n\n[waivers.CVE-2024-0727]\nreason = \"no path of ours reaches it\"\n\
                expires = \"2027-03-31\"\nservices = [\"api\"]\npackages = [\"openssl\"]\n\n\
                [waivers.private-key]\nreason = \"a demo\"\nexpires = \"2027-01-01\"\npaths = [\"etc/demo\"]\n";
    let waivers = read("waivers.toml", text).unwrap();
    let all: Vec<&Waiver> = waivers.iter().collect();
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].rule.as_str(), all[0].origin.as_str()), ("CVE-2024-0727", "waivers.toml:3"));
    assert_eq!(all[0].expires, jiff::civil::date(2027, 3, 31));
    assert_eq!(all[1].paths, [PathBuf::from("etc/demo")]);
}

#[test]
fn lines_as_in_trivyignore_are_waivers_with_the_comment_as_the_reason() {
    let text = "# A list.\n\n# No path of ours reaches the decoder;\n# renewed in March.\nCVE-2024-0727 exp:2027-03-31\n\
                CVE-2024-0728 exp:2027-04-30 # as above\n";
    let waivers = read(".trivyignore", text).unwrap();
    let told: Vec<_> =
        waivers.iter().map(|one| (one.rule.as_str(), one.reason.as_str(), one.expires.to_string())).collect();
    let reason = "No path of ours reaches the decoder; renewed in March.";
    assert_eq!(
        told,
        [
            ("CVE-2024-0727", reason, "2027-03-31".to_owned()),
            ("CVE-2024-0728", reason, "2027-04-30".to_owned())
        ]
    );
    assert_eq!(waivers.iter().next().unwrap().origin, ".trivyignore:5");
    assert_eq!(read(".trivyignore", "").unwrap(), Waivers::default());
    assert_eq!(read(".trivyignore", "# nothing yet\n").unwrap(), Waivers::default());
}

/// Bad files, and what each is told.
const BAD: &[(&str, &str, &str)] = &[
    // TOML: its form.
    ("w.toml", "", "w.toml is empty"),
    ("w.toml", "[waivers.CVE-1]\nreason = \"x\"\nexpires = \"2027-01-01\"\n", "missing key `version`"),
    ("w.toml", "version = 2\n", "`version` must be 1"),
    ("w.toml", "version = 1\n[waivers\n", "unclosed table"),
    ("w.toml", "version = 1\nwaivers = []\n", "`waivers` must be a table, not an array"),
    ("w.toml", "version = 1\n[waiver.CVE-1]\nreason = \"x\"\n", "unknown key `waiver`"),
    ("w.toml", "version = 1\n[waivers.CVE-1]\nexpires = \"2027-01-01\"\n", "missing key `reason`"),
    ("w.toml", "version = 1\n[waivers.CVE-1]\nreason = \"x\"\n", "missing key `expires`"),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = 1\nexpires = \"2027-01-01\"\n",
        "`waivers.CVE-1.reason` must be a text",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpire = \"2027-01-01\"\n",
        "unknown key `expire`",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = \"never\"\n",
        "\"never\" is not a day",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = \"2027-02-30\"\n",
        "\"2027-02-30\" is not a day",
    ),
    ("w.toml", "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = \"27-02-03\"\n", "is not a day"),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = 2027-02-03\n",
        "must be a day, not the date or time",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = \"2027-02-03T00:00:00Z\"\n",
        "is not a day",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.\"CVE 1\"]\nreason = \"x\"\nexpires = \"2027-02-03\"\n",
        "`CVE 1` is not a name of a vulnerability",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.\"*\"]\nreason = \"x\"\nexpires = \"2027-02-03\"\n",
        "`*` is not a name of a vulnerability",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.\"\"]\nreason = \"x\"\nexpires = \"2027-02-03\"\n",
        "is not a name of a vulnerability",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\n[waivers.CVE-1]\n",
        "the key `CVE-1` is there twice",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = \"2027-02-03\"\nservices = \"api\"\n",
        "must be a list",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = \"2027-02-03\"\nservices = [\"A\"]\n",
        "\"A\" is not a name",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = \"2027-02-03\"\npaths = [1]\n",
        "must be a text",
    ),
    // Its meaning.
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"\"\nexpires = \"2027-02-03\"\n",
        "the waiver of CVE-1 has no reason",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \" \\n\"\nexpires = \"2027-02-03\"\n",
        "has no reason",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = \"2027-02-03\"\nservices = [\"apo\"]\n",
        "is for `apo`, which is not a service",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = \"2027-02-03\"\npackages = [\" \"]\n",
        "a package without a name",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = \"2027-02-03\"\npaths = [\"\"]\n",
        "which is no path within an image",
    ),
    (
        "w.toml",
        "version = 1\n[waivers.CVE-1]\nreason = \"x\"\nexpires = \"2027-02-03\"\npaths = [\"a/../b\"]\n",
        "is for `a/../b`, which is no path",
    ),
    // Lines.
    (".trivyignore", "# x\nCVE-1\n", "the waiver of CVE-1 does not expire"),
    (".trivyignore", "CVE-1 exp:2027-01-01\n", "the waiver of CVE-1 has no reason"),
    (".trivyignore", "# x\n\nCVE-1 exp:2027-01-01\n", "the waiver of CVE-1 has no reason"),
    (".trivyignore", "#\nCVE-1 exp:2027-01-01\n", "the waiver of CVE-1 has no reason"),
    (".trivyignore", "# x\nCVE-1 exp:2027-13-01\n", "`exp:2027-13-01` is no day"),
    (".trivyignore", "# x\nCVE-1 exp:\n", "`exp:` is no day"),
    (".trivyignore", "# x\nCVE-1 expires:2027-01-01\n", "`expires:2027-01-01` behind CVE-1 means nothing"),
    (".trivyignore", "# x\nCVE-1 exp:2027-01-01 CVE-2\n", "`CVE-2` behind CVE-1 means nothing"),
    (".trivyignore", "# x\nCVE-1 exp:2027-01-01 exp:2028-01-01\n", "CVE-1 has two last days"),
    (".trivyignore", "# x\nCVE-1 exp:2027-01-01\nCVE-1 exp:2028-01-01\n", "CVE-1 is waived twice"),
    (".trivyignore", "# x\n*.pem exp:2027-01-01\n", "`*.pem` is no vulnerability and no rule"),
    (".trivyignore", "# x\n../CVE-1 exp:2027-01-01\n", "`../CVE-1` is no vulnerability and no rule"),
    (".trivyignore.yaml", "vulnerabilities:\n  - id: CVE-1\n", "`vulnerabilities:` is no vulnerability"),
];

#[test]
fn each_bad_file_is_told_what_is_wrong_and_where() {
    assert!(BAD.len() >= 40, "{}", BAD.len());
    let mut wrong = Vec::new();
    for (name, text, says) in BAD {
        let problems = read(name, text).expect_err(text);
        let told = problems.to_string();
        if !told.contains(says) || !problems.iter().all(|problem| problem.place.is_some()) {
            wrong.push(format!("{text:?} should say `{says}` and says\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_that_cannot_be_read_are_told_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("latin.toml"), b"version = 1 # \xe9\n").unwrap();
    fs::write(folder.path().join("large"), vec![b'#'; 2 << 20]).unwrap();
    fs::create_dir(folder.path().join("folder.toml")).unwrap();
    let files = ["gone.toml", "latin.toml", "large", "folder.toml"].map(PathBuf::from);
    let told = Waivers::read(folder.path(), &files, &[]).unwrap_err().to_string();
    for says in
        ["cannot read gone.toml", "latin.toml is not UTF-8", "large is larger than", "not a regular file"]
    {
        assert!(told.contains(says), "{told}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*|([#a-zA-Z0-9:. \n-]{0,80})") {
        let _ = read("w.toml", &text);
        if let Ok(waivers) = read(".trivyignore", &text) {
            proptest::prop_assert!(waivers.iter().all(|waiver| !waiver.reason.trim().is_empty()));
        }
    }
}
