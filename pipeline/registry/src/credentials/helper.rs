//! Programs that keep logins: `docker-credential-pass get`, with the registry's name on standard input.

use super::{Credentials, CredentialsError, Login, Source, path_of, server};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use pipeline::image::reference::Host;
use pipeline::secret::{Redactor, Secret, Variables};
use serde::Deserialize;
use std::{io, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};
use zeroize::Zeroizing;

/// The most that a program may write to each of its outputs: a token and some.
const MAX_BYTES: u64 = 64 * 1024;
/// How much of what it says is told.
const TOLD_CHARS: usize = 300;
/// The name with which a token is given instead of a password.
const TOKEN_NAME: &str = "<token>";
/// What all of them say when they do not know the registry, and exit with 1: the Docker client compares it too.
const UNKNOWN: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Zeroizing<String>,
}

/// Asks the program `docker-credential-NAME`.
pub(super) async fn ask(
    name: &str,
    host: &Host,
    config: &Path,
    variables: &Variables,
    limit: Duration,
) -> Result<Login, CredentialsError> {
    let program = format!("docker-credential-{name}");
    // A name with a slash would be a program of any place.
    let found = if name.contains('/') { None } else { path_of(variables, &program) };
    let Some(file) = found else {
        return Err(CredentialsError::NoHelper { host: host.clone(), path: config.to_owned(), program });
    };
    let error =
        |what: String| CredentialsError::Helper { host: host.clone(), program: program.clone(), what };
    let answer = match timeout(limit, run(&file, server(host), variables)).await {
        Ok(answer) => answer.map_err(|source| CredentialsError::HelperRun {
            host: host.clone(),
            program: program.clone(),
            source,
        })?,
        Err(_) => return Err(CredentialsError::HelperDeadline { host: host.clone(), program, limit }),
    };
    let (success, status, stdout, stderr) = answer;
    let parsed = serde_json::from_slice::<Answer>(&stdout).ok();
    if !success {
        if String::from_utf8_lossy(&stdout).trim() == UNKNOWN {
            return Ok(Login::anonymous());
        }
        // They tell their errors on standard output, where otherwise the login is.
        let said = if parsed.is_none() { &*stdout } else { &*stderr };
        let redactor = Redactor::default();
        if let Some(answer) = &parsed {
            redactor.learn(&Secret::new(answer.secret.as_bytes().to_vec()));
        }
        let said = redactor.mask_bytes(said);
        let said: String = said.trim().chars().take(TOLD_CHARS).collect();
        return Err(error(if said.is_empty() { status } else { format!("{said} ({status})") }));
    }
    let Some(answer) = parsed else {
        return Err(error("its answer is not the JSON that the Docker client expects".to_owned()));
    };
    let secret = Secret::new(answer.secret.as_bytes().to_vec());
    let credentials = match answer.username.as_str() {
        TOKEN_NAME => Credentials::IdentityToken { token: secret },
        // As some do for registries that they do not know.
        "" if secret.expose().is_empty() => return Ok(Login::anonymous()),
        _ => Credentials::Password { user: answer.username, password: secret },
    };
    Ok(Login { credentials, source: Source::Helper { program, config: config.to_owned() } })
}

type Ended = (bool, String, Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

async fn run(file: &Path, server: &str, variables: &Variables) -> io::Result<Ended> {
    let mut command = Command::new(file);
    command.arg("get").env_clear().envs(variables).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut pipe) = stdin {
            // One that does not read what it is asked for says so by how it ends.
            let _ = pipe.write_all(format!("{server}\n").as_bytes()).await;
        }
    };
    let (status, (), stdout, stderr) = tokio::join!(child.wait(), write, read(stdout), read(stderr));
    let status = status?;
    drop(group);
    Ok((status.success(), status.to_string(), stdout?, stderr?))
}

async fn read(pipe: Option<impl AsyncReadExt + Unpin>) -> io::Result<Zeroizing<Vec<u8>>> {
    // All at once, so that growing leaves no unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize + 1));
    if let Some(pipe) = pipe {
        pipe.take(MAX_BYTES).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// A process group that is killed when this is dropped, so that at a deadline nothing of it is left.
struct Group(Option<i32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // The only errors are that it is gone, and that we may not: neither leaves anything to do.
            let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        }
    }
}
