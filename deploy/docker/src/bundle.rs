//! A bundle on the engine: a volume that is filled once, through a container that is never started.
//!
//! **Invariant.** A bundle that the state names is whole and is never changed again. It is filled under a name that nobody
//! else knows; what a filling left behind that was broken off is removed with the next commit.

use crate::{
    container::{FILES, ROOT, SECRETS, bundle_mount},
    engine::{Engine, label_of},
    error::{passing, terminal},
    image::Image,
    place::{Kind, Place, label},
    state::Stored,
    store::nonce,
};
use bollard::models::{ContainerCreateBody, HostConfig};
use deploy::{
    adapter::process::SecretResolver,
    bundle::{Bundle, BundleHash, BundleSource},
    port::EffectError,
    reason::ReasonCode,
};
use pipeline::causes::in_one_line;
use pipeline::{digest::Digest, secret::Secret};
use std::{fs, io, io::Read};
use zeroize::Zeroizing;

/// What a tar needs for a file besides its bytes: headers, one for a long name, and padding.
const TAR_OVERHEAD: usize = 4 * 512;

/// The command of a container that is never started: the engine wants one.
const NEVER: &str = "never-started";

/// What goes into the volume of a bundle.
pub(crate) struct Contents {
    /// Config files: name, mode, bytes.
    files: Vec<(String, u32, Vec<u8>)>,
    /// Secrets: name, value.
    secrets: Vec<(String, Secret)>,
}

impl Contents {
    /// Reads and resolves all of a bundle, and refuses what is not as planned.
    pub(crate) fn gather(
        bundle: &Bundle,
        source: &BundleSource,
        resolver: &dyn SecretResolver,
    ) -> Result<Self, EffectError> {
        let service = &bundle.service;
        let failed = |message: String| terminal(ReasonCode::PrepareFailed, message);
        let no_source =
            |name: &str| failed(format!("bundle of {service}: the plan names no source for `{name}`"));
        for name in bundle.files.keys().chain(bundle.secrets.keys()) {
            if !is_file_name(name) {
                return Err(failed(format!(
                    "bundle of {service}: `{name}` cannot be a file name in a bundle"
                )));
            }
        }
        let mut files = Vec::new();
        for (name, planned) in &bundle.files {
            let path = source.files.get(name).ok_or_else(|| no_source(name))?;
            let bytes = fs::read(path)
                .map_err(|error| failed(format!("cannot read `{}`: {error}", path.display())))?;
            let found = Digest::of_bytes(&bytes);
            if found != planned.digest {
                return Err(failed(format!(
                    "`{}` is not what was planned: its digest is {found}, the plan says {}; it was changed since: \
                     plan again",
                    path.display(),
                    planned.digest
                )));
            }
            files.push((name.clone(), planned.mode, bytes));
        }
        let mut secrets = Vec::new();
        for (name, planned) in &bundle.secrets {
            if planned.in_env {
                return Err(failed(format!(
                    "secret `{name}` of {service} is wanted in the environment, which everybody who reaches the engine can \
                     read of a container: take `secret-env` away and let the service read the file in `{name}_FILE`"
                )));
            }
            let reference = source.secrets.get(name).ok_or_else(|| no_source(name))?;
            let value = resolver.resolve(name, reference, planned).map_err(|message| {
                terminal(ReasonCode::SecretUnavailable, format!("secret `{name}` of {service}: {message}"))
            })?;
            secrets.push((name.clone(), Secret::new(value)));
        }
        Ok(Self { files, secrets })
    }

    /// As a tar whose files belong to a user. Only that user reads secrets.
    fn to_tar(&self, uid: u64) -> io::Result<Zeroizing<Vec<u8>>> {
        // Room for all of it: a buffer that moves while it grows leaves copies of secrets behind.
        let bytes = self.files.iter().map(|(_, _, bytes)| bytes.len());
        let bytes = bytes.chain(self.secrets.iter().map(|(_, value)| value.expose().len()));
        let room = bytes.map(|length| length + TAR_OVERHEAD).sum::<usize>() + 4 * TAR_OVERHEAD;
        let mut packed = Zeroizing::new(Vec::with_capacity(room));
        let mut tar = tar::Builder::new(&mut *packed);
        for folder in [FILES, SECRETS] {
            let mut header =
                header(uid, if folder == FILES { 0o755 } else { 0o700 }, tar::EntryType::Directory);
            tar.append_data(&mut header, format!("{folder}/"), io::empty())?;
        }
        let files = self.files.iter().map(|(name, mode, bytes)| (FILES, name, *mode, bytes.as_slice()));
        let secrets = self.secrets.iter().map(|(name, value)| (SECRETS, name, 0o600, value.expose()));
        for (folder, name, mode, bytes) in files.chain(secrets) {
            let mut header = header(uid, mode, tar::EntryType::Regular);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, format!("{folder}/{name}"), bytes)?;
        }
        tar.into_inner()?;
        Ok(packed)
    }
}

fn header(uid: u64, mode: u32, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(uid);
    header.set_size(0);
    header
}

/// One plain component of a path.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

impl Engine {
    /// Makes a volume with a bundle in it. Nobody knows of it yet.
    pub(crate) async fn fill(
        &self,
        place: &Place,
        generation: u64,
        hash: &BundleHash,
        bundle: &Bundle,
        image: &Image,
        contents: &Contents,
    ) -> Result<Stored, EffectError> {
        let refused = |error: crate::error::EngineError| error.effect(ReasonCode::PrepareFailed);
        let name = place.bundle(hash, &nonce());
        let mut labels = place.labels(Kind::Bundle, generation);
        labels.insert(label("service"), bundle.service.to_string());
        labels.insert(label("bundle"), hash.to_string());
        let document =
            serde_json::to_string(bundle).expect("our own types serialize: string keys, no fallible impl");
        labels.insert(label("document"), document);
        self.make_volume(&name, labels).await.map_err(refused)?;
        let filled = async {
            let body = ContainerCreateBody {
                image: Some(image.id.clone()),
                entrypoint: Some(vec![NEVER.to_owned()]),
                labels: Some(place.labels(Kind::Filler, generation)),
                network_disabled: Some(true),
                host_config: Some(HostConfig {
                    mounts: Some(vec![bundle_mount(&name, false)]),
                    ..HostConfig::default()
                }),
                ..ContainerCreateBody::default()
            };
            self.make_container(&name, body).await.map_err(refused)?;
            let uid = self.uid(&name, &image.user).await?;
            let tar = contents.to_tar(uid);
            let tar = tar
                .map_err(|error| passing(format!("cannot pack the files of {}: {error}", bundle.service)))?;
            self.upload(&name, ROOT, tar).await.map_err(refused)
        };
        let filled = filled.await;
        let emptied = self.remove_container(&name).await.map_err(refused);
        if let Err(error) = filled.and(emptied) {
            // What stays is removed by the next commit.
            let _ = self.remove_volume(&name).await;
            return Err(error);
        }
        let (id, user) = (image.id.clone(), image.user.clone());
        Ok(Stored { service: bundle.service.clone(), volume: name, image: id, user })
    }

    /// The number of a user of an image, which may stand there by its name.
    async fn uid(&self, container: &str, user: &str) -> Result<u64, EffectError> {
        let name = user.split(':').next().unwrap_or_default();
        if let Ok(uid) = name.parse() {
            return Ok(uid);
        }
        let passwd = self.download(container, "/etc/passwd").await;
        let passwd = passwd.map_err(|error| error.effect(ReasonCode::PrepareFailed))?;
        let text = passwd.map(|tar| first_file(&tar)).transpose();
        let text = text.map_err(|error| passing(format!("cannot read the users of the image: {error}")))?;
        let found = text.as_deref().unwrap_or_default().lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
        });
        found.ok_or_else(|| {
            let message =
                format!("the image runs as `{name}`, who is not in its /etc/passwd: name the user by number");
            terminal(ReasonCode::PrepareFailed, message)
        })
    }

    /// The description of a bundle that is here.
    pub(crate) async fn describe(&self, hash: &BundleHash, stored: &Stored) -> Result<Bundle, EffectError> {
        let volume = self.volume(&stored.volume).await;
        let volume = volume.map_err(|error| error.effect(ReasonCode::PrepareFailed))?;
        let not_whole = |what: &str| {
            terminal(ReasonCode::PrepareFailed, format!("bundle {} is not whole: {what}", hash.short()))
        };
        let volume = volume.ok_or_else(|| not_whole(&format!("volume `{}` is gone", stored.volume)))?;
        if label_of(Some(&volume.labels), "bundle") != Some(hash.to_string().as_str()) {
            return Err(not_whole(&format!("volume `{}` is another's", stored.volume)));
        }
        let document = label_of(Some(&volume.labels), "document").unwrap_or_default();
        serde_json::from_str(document).map_err(|error| not_whole(&in_one_line(&error)))
    }
}

fn first_file(tar: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    if let Some(entry) = tar::Archive::new(tar).entries()?.next() {
        entry?.read_to_string(&mut text)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_bundle_is_packed_without_moving() {
        let name = "a-name-that-does-not-fit-into-a-header-".repeat(4);
        let secret = |length| (name.clone(), Secret::new(vec![b'x'; length]));
        for length in [0, 1, 511, 512, 513, 100_000] {
            let contents = Contents {
                files: vec![(name.clone(), 0o644, vec![0; length])],
                secrets: vec![secret(length)],
            };
            let tar = contents.to_tar(1000).expect("memory");
            let bytes = [length, length].map(|length| length + TAR_OVERHEAD).iter().sum::<usize>();
            assert!(tar.len() <= bytes + 4 * TAR_OVERHEAD, "{} bytes for twice {length}", tar.len());
        }
    }

    #[test]
    fn a_name_is_one_component_of_a_path() {
        for name in ["api.conf", "..hidden", "a b"] {
            assert!(is_file_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "../secrets/TOKEN", "a\0b"] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
