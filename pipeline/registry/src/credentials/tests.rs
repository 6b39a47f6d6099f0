//! Logins from everywhere that the Docker client has them.

use super::*;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{fs, os::unix::fs::PermissionsExt, time::Instant};

/// Every printable character of ASCII.
fn nasty() -> String {
    (' '..='~').collect()
}

/// A folder with a `config.json`, and programs on the path.
struct Home(tempfile::TempDir);

impl Home {
    fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("config.json"), config).expect("a file");
        Self(folder)
    }

    fn helper(self, name: &str, script: &str) -> Self {
        let path = self.0.path().join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a mode");
        self
    }

    fn variables(&self) -> Variables {
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        [("DOCKER_CONFIG", self.0.path().as_os_str().to_owned()), ("PATH", path.into())]
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect()
    }

    async fn find(&self, host: &str) -> Result<Login, CredentialsError> {
        let host = host.parse().expect("a host");
        Login::find(&host, None, &self.variables(), Duration::from_secs(5)).await
    }
}

#[track_caller]
fn password_of(login: &Login) -> (&str, &str) {
    let Credentials::Password { user, password } = &login.credentials else { panic!("{login:?}") };
    (user, std::str::from_utf8(password.expose()).expect("UTF-8"))
}

#[tokio::test]
async fn logins_of_the_docker_client_are_found_under_all_their_names() {
    let password = nasty();
    let auth = STANDARD.encode(format!("me:{password}"));
    for (key, host) in [
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v2/", "ghcr.io"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
    ] {
        let home =
            Home::with(&serde_json::json!({ "auths": { key: { "auth": auth } }, "other": 1 }).to_string());
        let login = home.find(host).await.expect("a login");
        assert_eq!(password_of(&login), ("me", &*password), "{key}");
        assert_eq!(login.source, Source::Config(home.0.path().join("config.json")));
        assert!(!format!("{login:?}").contains(&password[20..40]), "{login:?}");
        assert_eq!(home.find("other.example").await.expect("none").source, Source::Nothing);
    }
}

#[tokio::test]
async fn our_own_variables_come_first_and_only_together() {
    let home = Home::with(r#"{"auths": {"ghcr.io": {"auth": "ZmlsZTpmaWxl"}}}"#);
    let host: Host = "ghcr.io".parse().expect("a host");
    let limit = Duration::from_secs(5);
    let mut variables = home.variables();
    variables.insert(USERNAME.into(), "me".into());
    let login = Login::find(&host, Some(&host), &variables, limit).await.expect("a login");
    assert_eq!(password_of(&login), ("file", "file"));
    variables.insert(PASSWORD.into(), nasty().into());
    let login = Login::find(&host, Some(&host), &variables, limit).await.expect("a login");
    assert_eq!(password_of(&login), ("me", &*nasty()));
    assert_eq!(login.source, Source::Variables);
}

#[tokio::test]
async fn our_own_variables_are_for_the_registry_of_the_project_alone() {
    let home = Home::with(r#"{"auths": {"ghcr.io": {"auth": "ZmlsZTpmaWxl"}}}"#);
    let mut variables = home.variables();
    variables.insert(USERNAME.into(), "me".into());
    variables.insert(PASSWORD.into(), nasty().into());
    let own: Host = "registry.example:5000".parse().expect("a host");
    for own in [Some(&own), None] {
        // The same name with another port is another registry.
        for foreign in ["other.example", "registry.example", "registry.example:5001", "docker.io"] {
            let host = foreign.parse().expect("a host");
            let login = Login::find(&host, own, &variables, Duration::from_secs(5)).await.expect("none");
            assert_eq!(login.source, Source::Nothing, "{foreign}");
        }
        let host = "ghcr.io".parse().expect("a host");
        let login = Login::find(&host, own, &variables, Duration::from_secs(5)).await.expect("a login");
        assert_eq!(password_of(&login), ("file", "file"));
    }
    // One that cannot be read is no matter of a registry that is not given it.
    variables.insert(PASSWORD.into(), std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]));
    let host = "other.example".parse().expect("a host");
    let found = Login::find(&host, Some(&own), &variables, Duration::from_secs(5)).await;
    assert_eq!(found.expect("none").source, Source::Nothing);
    Login::find(&own, Some(&own), &variables, Duration::from_secs(5)).await.expect_err("it is no text");
}

#[tokio::test]
async fn helpers_are_asked_for_their_registry_alone() {
    let config = r#"{"credHelpers": {"ghcr.io": "one"}, "credsStore": "all", "auths": {"x.example": {}}}"#;
    let json = r#"{"ServerURL": "'"$host"'", "Username": "NAME", "Secret": "of '"$host"'"}"#;
    let says = |name: &str| format!("read host; test \"$1\" = get && echo '{}'", json.replace("NAME", name));
    let home = Home::with(config).helper("one", &says("one")).helper("all", &says("<token>"));
    let login = home.find("ghcr.io").await.expect("a login");
    assert_eq!(password_of(&login), ("one", "of ghcr.io"));
    assert!(login.source.to_string().contains("`docker-credential-one`"), "{}", login.source);
    let login = home.find("docker.io").await.expect("a login");
    let Credentials::IdentityToken { token } = &login.credentials else { panic!("{login:?}") };
    assert_eq!(token.expose(), b"of https://index.docker.io/v1/");
}

#[tokio::test]
async fn a_helper_that_knows_nothing_is_no_error_and_any_other_end_is_told() {
    let config = r#"{"credsStore": "store"}"#;
    let unknown = "echo 'credentials not found in native keychain'; exit 1";
    let login = Home::with(config).helper("store", unknown).find("ghcr.io").await.expect("none");
    assert_eq!(login.source, Source::Nothing);
    for (script, told) in [
        (
            "echo 'the store is locked'; exit 1",
            "gave no login for ghcr.io: the store is locked (exit status: 1)",
        ),
        ("exit 3", "exit status: 3"),
        ("echo nonsense", "not the JSON"),
        (
            r#"echo '{"Username":"me","Secret":"hunter2hunter2"}'; echo 'no: hunter2hunter2' >&2; exit 1"#,
            "no: ",
        ),
    ] {
        let error = Home::with(config).helper("store", script).find("ghcr.io").await.expect_err(script);
        assert!(error.to_string().contains(told), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let error = Home::with(config).find("ghcr.io").await.expect_err("there is none");
    assert!(
        matches!(&error, CredentialsError::NoHelper { program, .. } if program == "docker-credential-store")
    );
}

#[tokio::test]
async fn a_helper_that_waits_for_somebody_is_ended() {
    let home = Home::with(r#"{"credsStore": "store"}"#);
    let left = home.0.path().join("left");
    let home = home.helper("store", &format!("sleep 600 & echo $! > {}; wait", left.display()));
    let host = "ghcr.io".parse().expect("a host");
    let begun = Instant::now();
    let error =
        Login::find(&host, None, &home.variables(), Duration::from_secs(2)).await.expect_err("a deadline");
    assert!(matches!(error, CredentialsError::HelperDeadline { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let child = fs::read_to_string(left).expect("it had begun");
    ::tests::wait_for("what it started to be gone", Duration::from_secs(10), || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

#[tokio::test]
async fn damaged_files_are_named_and_their_values_are_not() {
    for (config, told) in [
        ("", "line 1"),
        ("{", "line 1"),
        (r#"{"auths": {"ghcr.io": "hunter2hunter2"}}"#, "damaged in line 1"),
        (r#"{"auths": {"ghcr.io": {"auth": "hunter2hunter2!"}}}"#, "`auth` is not base64"),
        (r#"{"auths": {"ghcr.io": {"auth": "aHVudGVyMg=="}}}"#, "no colon"),
    ] {
        let home = Home::with(config);
        let error = home.find("ghcr.io").await.expect_err(config);
        let text = error.to_string();
        assert!(text.contains(told) && text.contains("config.json"), "{config}: {text}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let nowhere = Variables::from([("HOME".into(), "/nonexistent".into())]);
    let host = "ghcr.io".parse().expect("a host");
    let login = Login::find(&host, None, &nowhere, Duration::from_secs(5)).await.expect("none");
    assert_eq!(login.source, Source::Nothing);
}
