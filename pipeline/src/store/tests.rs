use super::*;
use std::error::Error as _;

const FORMAT: Format = Format { what: "shopping list", version: 2 };

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct List {
    version: u32,
    items: Vec<String>,
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_with_the_mode_asked_for_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    write_atomic(&path, b"old", PUBLIC).unwrap();
    write_atomic(&path, b"new", PRIVATE).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names_in(folder.path()), ["a.json"]);
}

#[test]
fn a_full_disk_leaves_the_old_file_whole_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    write_atomic(&path, b"old", PUBLIC).unwrap();
    let error = write_atomic_with(&path, PUBLIC, |file| {
        file.write_all(b"ne")?;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    })
    .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let text = error.to_string();
    assert!(text.contains("a.json") && text.contains("free some space"), "{text}");
    assert!(error.source().is_some(), "the cause stays reachable");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names_in(folder.path()), ["a.json"]);
}

#[test]
fn errors_name_the_file() {
    for error in [
        write_atomic(Path::new("/nonexistent/x.json"), b"", PUBLIC).unwrap_err(),
        create_exclusive(Path::new("/nonexistent/x.json"), b"", PUBLIC).unwrap_err(),
        read(Path::new("/nonexistent/x.json")).unwrap_err(),
        create_folder(Path::new("/dev/null/x.json")).unwrap_err(),
    ] {
        assert!(error.to_string().contains("x.json"), "{error}");
    }
    assert!(write_atomic(Path::new("/"), b"", PUBLIC).is_err());
}

#[test]
fn exclusive_creation_lets_one_of_many_win_and_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("7");
    let wins = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8_u8).map(|i| (i, &path)).collect();
        let threads: Vec<_> = tries
            .into_iter()
            .map(|(i, path)| scope.spawn(move || create_exclusive(path, &[i; 100], PRIVATE).map(|()| i)))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    let winners: Vec<_> = wins.iter().filter_map(|r| r.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1, "{wins:?}");
    assert_eq!(fs::read(&path).unwrap(), [*winners[0]; 100]);
    assert!(wins.iter().filter_map(|r| r.as_ref().err()).all(|e| e.kind() == io::ErrorKind::AlreadyExists));
    assert_eq!(names_in(folder.path()), ["7"]);
}

#[test]
fn a_document_comes_back_and_an_older_one_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.json");
    assert!(read_json_if_exists::<List>(&path, FORMAT).unwrap().is_none());
    for version in [1, 2] {
        let list = List { version, items: vec!["tea".into()] };
        write_json(&path, &list, PUBLIC).unwrap();
        assert_eq!(read_json::<List>(&path, FORMAT).unwrap(), list);
    }
}

#[test]
fn a_newer_document_is_refused_with_file_versions_and_way_out() {
    let path = Path::new("some/list.json");
    let error = parse_json::<List>(br#"{"version":3,"shelves":{}}"#, path, FORMAT).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`some/list.json` is a shopping list of format version 3, but this Fairlead reads versions up to 2: \
         use the Fairlead that wrote it, or a newer one"
    );
}

#[test]
fn damaged_documents_are_named_and_located() {
    let path = Path::new("list.json");
    for bytes in
        [&b""[..], b"{", b"[]", b"{\"version\":-1}", b"{\"version\":1}", b"\xff\xfe", b"{\"items\":[]}"]
    {
        let error = parse_json::<List>(bytes, path, FORMAT).unwrap_err();
        assert!(matches!(error, ReadError::Malformed { .. }), "{error:?}");
        assert!(error.to_string().contains("list.json"));
        assert!(error.source().unwrap().to_string().contains("line"), "{:?}", error.source());
    }
}
