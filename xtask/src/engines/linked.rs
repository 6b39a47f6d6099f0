//! A program that has them.

use crate::{context::Context, failure::Failure};
use async_trait::async_trait;
use bollard::auth::DockerCredentials;
use deploy::{
    config::Loaded,
    session::{Platforms, Tool},
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
        credentials: Arc::new(Logins { variables: context.variables.clone() }),
    };
    Ok(Platforms { docker: Some(Arc::new(engines)) })
}

/// Who makes the images of a project.
pub(crate) fn maker(context: &Context, loaded: &Loaded) -> Result<Arc<dyn ImageMaker>, Failure> {
    let address = engine(context, loaded.project.stages.image.engine.as_ref())?;
    Ok(Arc::new(EngineImages::new(address, context.variables.clone())))
}

/// The engine that is named, else that of `DOCKER_HOST`, else the one of this machine.
fn engine(context: &Context, named: Option<&EngineAddress>) -> Result<Address, Failure> {
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

/// Logins from where the Docker client has them.
struct Logins {
    variables: Variables,
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
            let login = Login::find(&host, &self.variables, DEADLINE).await?;
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
