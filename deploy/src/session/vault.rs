//! The vault: values of secrets in this process, from the moment they are resolved until it ends. Everything that is
//! resolved is masked from then on.

use super::{Kind, SessionError};
use crate::{
    adapter::process::SecretResolver,
    bundle::{Bundle, BundleHash, BundleSecret, BundleSource},
};
use pipeline::{
    digest::Digest,
    secret::{self, EnvironmentKey, Redactor, Secret, SecretRef, Variables, keyed_digest},
    store,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio_util::sync::CancellationToken;

/// Resolves secrets, and remembers them by their digest.
#[derive(Clone)]
pub(super) struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    key_path: PathBuf,
    variables: Variables,
    redactor: Redactor,
    values: Mutex<BTreeMap<Digest, Secret>>,
}

impl Vault {
    pub(super) fn new(root: PathBuf, key_path: PathBuf, variables: Variables, redactor: Redactor) -> Self {
        let values = Mutex::new(BTreeMap::new());
        Self { inner: Arc::new(Inner { root, key_path, variables, redactor, values }) }
    }

    /// Resolves a reference, remembers the value and returns its digest.
    pub(super) async fn digest(&self, name: &str, reference: &SecretRef) -> Result<Digest, SessionError> {
        let inner = &self.inner;
        let folder = inner.key_path.parent().map_or(Ok(()), store::create_folder);
        let key = folder.and_then(|()| EnvironmentKey::load_or_create(&inner.key_path)).map_err(|error| {
            SessionError::new(Kind::State, "the environment's key could not be read or made").because(error)
        })?;
        let cancel = CancellationToken::new();
        let value =
            secret::resolve(reference, &inner.root, &inner.variables, secret::DEADLINE, &cancel).await;
        let value = value.map_err(|error| {
            SessionError::new(Kind::Refused, format!("secret {name} could not be resolved"))
                .because(error)
                .hint(format!("check the reference of {name} in the configuration"))
        })?;
        inner.redactor.learn(&value);
        let digest = keyed_digest(&key, &value);
        inner.values.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(digest, value);
        Ok(digest)
    }

    /// Resolves every secret of a plan again, and refuses any that is not the planned one.
    pub(super) async fn check(
        &self,
        bundles: &BTreeMap<BundleHash, Bundle>,
        sources: &BTreeMap<BundleHash, BundleSource>,
    ) -> Result<(), SessionError> {
        for (hash, source) in sources {
            let Some(bundle) = bundles.get(hash) else { continue };
            for (name, reference) in &source.secrets {
                let planned = bundle.secrets.get(name).map(|secret| secret.keyed_digest);
                if planned != Some(self.digest(name, reference).await?) {
                    let text = format!("secret {name} of {} is not the planned one any more", bundle.service);
                    return Err(SessionError::new(Kind::Refused, text).hint("make a new plan"));
                }
            }
        }
        Ok(())
    }

    fn value(&self, name: &str, reference: &SecretRef, planned: &BundleSecret) -> Result<Vec<u8>, String> {
        let held = |digest: &Digest| {
            let values = self.inner.values.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            values.get(digest).map(|value| value.expose().to_vec())
        };
        if let Some(value) = held(&planned.keyed_digest) {
            return Ok(value);
        }
        // A rollout that was taken up again: the process that resolved it is gone.
        let resolved = tokio::runtime::Handle::current().block_on(self.digest(name, reference));
        let digest = resolved.map_err(|error| match &error.source {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })?;
        if digest != planned.keyed_digest {
            return Err(format!("secret {name} is not the planned one any more"));
        }
        held(&digest).ok_or_else(|| format!("secret {name} is not there"))
    }
}

impl SecretResolver for Vault {
    fn resolve(&self, name: &str, reference: &SecretRef, planned: &BundleSecret) -> Result<Vec<u8>, String> {
        self.value(name, reference, planned)
    }
}

/// Where the environment keeps the key of its digests.
pub(super) fn key_path(state: &Path) -> PathBuf {
    state.join("key")
}
