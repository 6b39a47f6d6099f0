//! A program that has them.

use crate::{context::Context, failure::Failure};
use async_trait::async_trait;
use bollard::auth::DockerCredentials;
use deploy::{
    config::Loaded,
    session::{Place, Platforms, Tool},
};
use docker::{Address, EngineImages};
use docker_target::{Credentials, FindCredentials, LocalEngines, RouterProgram};
use pipeline::{
    config::scalar::EngineAddress,
    image::reference::{Host, Reference},
    secret::{DEADLINE, Variables},
    stage::ImageMaker,
};
use registry::{Credentials as Proof, Login};
use std::{
    collections::{BTreeSet, HashMap},
    error::Error,
    ffi::OsStr,
    sync::Arc,
};

/// The variable that names the engine, as for the Docker client.
const ENGINE: &str = "DOCKER_HOST";

/// The engines of an environment.
pub(crate) fn platforms(context: &Context, loaded: &Loaded, tool: &Tool) -> Result<Platforms, Failure> {
    if !loaded.environment.runs_images() {
        return Ok(Platforms::default());
    }
    let engines = LocalEngines {
        project: loaded.project.name.clone(),
        environment: loaded.environment.name.clone(),
        engine: engine(context, None)?,
        router: Arc::new(RouterProgram { executable: tool.executable.clone(), version: tool.build.clone() }),
        credentials: Arc::new(Logins { variables: context.variables.clone(), own: own(loaded).cloned() }),
    };
    Ok(Platforms { docker: Some(Arc::new(engines)) })
}

/// The process id of the router of a target that is an engine, if it runs.
pub(crate) async fn router(place: &Place) -> Option<u32> {
    docker_target::router_process(place).await
}

/// Who makes the images of a project.
pub(crate) fn maker(context: &Context, loaded: &Loaded) -> Result<Arc<dyn ImageMaker>, Failure> {
    let address = engine(context, loaded.project.stages.image.engine.as_ref())?;
    Ok(Arc::new(EngineImages::new(address, context.variables.clone(), own(loaded).cloned())))
}

/// The registry of the project: what our own variables say of a login is for it.
pub(super) fn own(loaded: &Loaded) -> Option<&Host> {
    loaded.project.registry.as_ref().map(|registry| registry.prefix.prefix().host())
}

/// The engine that is named, else that of `DOCKER_HOST`, else the one of this machine.
pub(super) fn engine(context: &Context, named: Option<&EngineAddress>) -> Result<Address, Failure> {
    if let Some(named) = named {
        return Ok(named.address().clone());
    }
    match context.variables.get(OsStr::new(ENGINE)).filter(|value| !value.is_empty()) {
        None => Ok(Address::default()),
        Some(value) => value.to_string_lossy().parse().map_err(|error| {
            Failure::usage(format!("the variable {ENGINE} names no engine")).because(error).into()
        }),
    }
}

/// Logins from where the Docker client has them, and for the project's own registry from our variables.
struct Logins {
    variables: Variables,
    own: Option<Host>,
}

#[async_trait]
impl FindCredentials for Logins {
    async fn find(&self, images: &[String]) -> Result<Credentials, Box<dyn Error + Send + Sync>> {
        let hosts: BTreeSet<Host> = images
            .iter()
            .filter_map(|image| Some(image.parse::<Reference>().ok()?.repository.host))
            .collect();
        let mut found = HashMap::new();
        for host in hosts {
            let login = Login::find(&host, self.own.as_ref(), &self.variables, DEADLINE).await?;
            let mut credentials =
                DockerCredentials { serveraddress: Some(host.to_string()), ..Default::default() };
            match login.credentials {
                Proof::Anonymous => continue,
                Proof::Password { user, password } => {
                    credentials.username = Some(user);
                    credentials.password = Some(String::from_utf8_lossy(password.expose()).into_owned());
                }
                Proof::IdentityToken { token } => {
                    credentials.identitytoken = Some(String::from_utf8_lossy(token.expose()).into_owned());
                }
            }
            found.insert(host.to_string(), credentials);
        }
        Ok(Credentials(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn our_own_login_goes_to_no_engine_for_the_registry_of_somebody_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = r#"{"auths": {"other.example": {"auth": "dGhlbTp0aGVpcnM="}}}"#;
        fs::write(folder.path().join("config.json"), config).expect("a file");
        let variables: Variables = [
            ("DOCKER_CONFIG".into(), folder.path().into()),
            (registry::USERNAME.into(), "us".into()),
            (registry::PASSWORD.into(), "ours".into()),
        ]
        .into();
        let images = ["own.example/team/api", "other.example/team/api", "third.example/api", "postgres"];
        let images = images.map(String::from);
        let find = async |own: Option<&str>| {
            let own = own.map(|host| host.parse().expect("a host"));
            let found = Logins { variables: variables.clone(), own }.find(&images).await.expect("logins").0;
            let found = found.into_iter().map(|(host, one)| (host, one.password.unwrap_or_default()));
            found.collect::<std::collections::BTreeMap<String, String>>()
        };
        let login = |host: &str, password: &str| (host.to_owned(), password.to_owned());
        let client = login("other.example", "theirs");
        assert_eq!(find(None).await, [client.clone()].into());
        assert_eq!(find(Some("own.example")).await, [login("own.example", "ours"), client].into());
    }
}
