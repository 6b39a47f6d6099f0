//! What an environment with engines needs: the engines themselves, and the registry. Changes nothing.

use super::linked::{engine, own};
use crate::{context::Context, doctor::Finding};
use deploy::{
    config::{Loaded, environment::TargetKind},
    session::Place,
};
use docker::{Address, ConnectError, Connection, Facts};
use pipeline::{causes::in_one_line, image::reference::Host};
use registry::{Credentials, CredentialsError, Login, Options, PASSWORD, Registry, USERNAME};
use std::time::Duration;
use tokio::time::timeout;

/// The longest that an engine or a registry may take to say who it is. They take some milliseconds, a busy one a second or
/// two; one that takes longer would make a deploy fail that waits for every answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Looks at every engine that the environment names, once each, and at the registry of the project.
pub(crate) async fn examine(context: &Context, loaded: &Loaded, places: &[Place]) -> Vec<Finding> {
    if !loaded.environment.runs_images() {
        return Vec::new();
    }
    let engines = addresses(context, loaded, places);
    let mut findings = Vec::new();
    for (address, roles) in &engines {
        let check = match engines.len() {
            1 => "engine".to_owned(),
            _ => format!("engine of {}", roles.join(", ")),
        };
        let opened = timeout(DEADLINE, Connection::open(address.clone())).await;
        findings.push(match opened {
            Ok(opened) => engine_finding(&check, address, opened.map(|connection| connection.facts)),
            Err(_) => silent(&check, &format!("the Docker engine at {address}"), "is it busy, or halted?"),
        });
    }
    if let Some(host) = own(loaded) {
        findings.push(registry_finding(context, host).await);
    }
    findings
}

/// The engines, and what each is for.
fn addresses(context: &Context, loaded: &Loaded, places: &[Place]) -> Vec<(Address, Vec<String>)> {
    let targets = places.iter().filter(|place| place.kind == TargetKind::Docker);
    let targets = targets.map(|place| (place.engine.as_ref(), place.target.to_string()));
    let images = (loaded.project.stages.image.engine.as_ref(), "the images".to_owned());
    let mut engines: Vec<(Address, Vec<String>)> = Vec::new();
    for (named, role) in targets.chain([images]) {
        // A variable that names none has been told as a fault of the configuration.
        let Ok(address) = engine(context, named) else { continue };
        match engines.iter_mut().find(|(known, _)| *known == address) {
            Some((_, roles)) => roles.push(role),
            None => engines.push((address, vec![role])),
        }
    }
    engines
}

fn engine_finding(check: &str, address: &Address, opened: Result<Facts, ConnectError>) -> Finding {
    match opened {
        Ok(facts) => {
            let builder = if facts.has_buildkit { "BuildKit" } else { "the classic builder alone" };
            let (version, (major, minor), platform) = (facts.version, facts.api, facts.platform);
            let found =
                format!("{version} (API {major}.{minor}, {platform}, {builder}) answers at {address}");
            Finding::ok(check, found)
        }
        Err(error) => {
            let fix = match &error {
                ConnectError::Unreachable { .. } => {
                    "start it (`systemctl start docker`), let this user reach it (the group `docker`), or name another: \
                     `engine` of the target and of `[stages.image]`, or the variable DOCKER_HOST"
                }
                ConnectError::TooOld { .. } => {
                    "upgrade it: API 1.41 is the oldest that is spoken, which engine 20.10 brought"
                }
            };
            Finding::fail(check, in_one_line(&error), fix)
        }
    }
}

fn silent(check: &str, who: &str, fix: &str) -> Finding {
    Finding::fail(check, format!("{who} does not answer within {} s", DEADLINE.as_secs()), fix)
}

/// Why a registry is not as it should be.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Login(#[from] CredentialsError),
    #[error(transparent)]
    Registry(#[from] registry::Error),
}

/// Asks with our login, and only once: whoever examines wants to hear of a registry that answers now and then.
async fn registry_finding(context: &Context, host: &Host) -> Finding {
    const CHECK: &str = "registry";
    let fix = format!(
        "start it, mend the `prefix` of `[registry]`, or log in: `docker login {host}`, or {USERNAME} and {PASSWORD}"
    );
    let asked = async {
        let login = Login::find(host, Some(host), &context.variables, DEADLINE).await?;
        let registry = Registry::new(host.clone(), login, Options { attempts: 1, ..Options::default() })?;
        registry.ping().await?;
        Ok::<_, Trouble>(match registry.login().credentials {
            Credentials::Anonymous => {
                format!("{host} answers, and asks for no login to say so; none is known")
            }
            _ => format!("{host} answers, and accepts the login {}", registry.login().source),
        })
    };
    match timeout(DEADLINE, asked).await {
        Ok(Ok(found)) => Finding::ok(CHECK, found),
        Ok(Err(error)) => Finding::fail(CHECK, in_one_line(&error), fix),
        Err(_) => silent(CHECK, &format!("the registry {host}"), &fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    #[test]
    fn an_engine_is_told_with_its_address_its_api_and_its_builder() {
        let address: Address = "unix:///run/engine.sock".parse().expect("an address");
        let facts = |has_buildkit| Facts {
            version: "20.10.24".to_owned(),
            api: (1, 41),
            platform: "linux/amd64".to_owned(),
            has_buildkit,
        };
        let found = engine_finding("engine", &address, Ok(facts(true)));
        assert_eq!(found.grade, Grade::Ok);
        assert_eq!(
            found.found,
            "20.10.24 (API 1.41, linux/amd64, BuildKit) answers at unix:///run/engine.sock"
        );
        let found = engine_finding("engine", &address, Ok(facts(false)));
        assert!(found.found.contains("the classic builder alone"), "{}", found.found);
        let error = ConnectError::TooOld { address: address.clone(), version: "19.03.1".to_owned() };
        let found = engine_finding("engine", &address, Err(error));
        assert_eq!(found.grade, Grade::Fail);
        assert!(found.found.contains("is version 19.03.1; 20.10 or newer"), "{}", found.found);
        assert!(found.fix.expect("what to do").contains("1.41"));
    }
}
