//! What a container is made of. It may do as little as possible, and is told no secret.

use crate::{
    place::{Kind, Place, label},
    state::Stored,
};
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions, PortBinding,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use deploy::{
    bundle::{Bundle, BundleHash},
    model::UnitId,
};
use pipeline::name::Name;
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
};

/// Where a bundle's volume is in a container.
pub(crate) const ROOT: &str = "/fairlead";

/// The folder of config files in it.
pub(crate) const FILES: &str = "files";

/// The folder of secrets in it.
pub(crate) const SECRETS: &str = "secrets";

/// Processes and threads of one container: many for a service, few for a machine that is flooded with them.
const PIDS_MAX: i64 = 1_024;

/// `/tmp`, which is all that a unit can write to: in memory, as much as a few uploads need.
const TMP: &str = "rw,nosuid,nodev,noexec,mode=1777,size=64m";

/// What is kept of a container's log: three parts of 10 MB, so that it cannot fill the disk.
const LOG_PARTS: [(&str, &str); 2] = [("max-size", "10m"), ("max-file", "3")];

/// What a container is for.
pub(crate) enum Role<'a> {
    /// A unit.
    Unit(&'a UnitId),
    /// A migration, with what the executable gets in the place of a unit's arguments.
    Migration { service: &'a Name, bundle: &'a BundleHash, args: &'a [String] },
}

/// All that a container is made from.
pub(crate) struct Design<'a> {
    pub(crate) place: &'a Place,
    pub(crate) generation: u64,
    pub(crate) role: Role<'a>,
    pub(crate) release: &'a str,
    pub(crate) bundle: &'a Bundle,
    pub(crate) stored: &'a Stored,
}

impl Role<'_> {
    fn hash(&self) -> &BundleHash {
        match self {
            Self::Unit(unit) => &unit.bundle,
            Self::Migration { bundle, .. } => bundle,
        }
    }
}

/// The volume of a bundle in a container.
pub(crate) fn bundle_mount(volume: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume.to_owned()),
        target: Some(ROOT.to_owned()),
        read_only: Some(read_only),
        // What the image has there is not the bundle's.
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    }
}

/// The port that a unit listens on within its container: the service's own, which is free there.
fn port(bundle: &Bundle) -> String {
    format!("{}/tcp", bundle.port)
}

/// Where a unit is published on the engine's machine, if it runs.
pub(crate) fn published(container: &bollard::models::ContainerInspectResponse) -> Option<SocketAddr> {
    let ports = container.network_settings.as_ref()?.ports.as_ref()?;
    let mut bindings = ports.values().flatten().flatten();
    let binding = bindings.find(|binding| binding.host_ip.as_deref() == Some("127.0.0.1"))?;
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, binding.host_port.as_ref()?.parse().ok()?)))
}

impl Design<'_> {
    /// As the engine takes it.
    pub(crate) fn body(&self) -> ContainerCreateBody {
        let (args, is_unit) = match &self.role {
            Role::Unit(_) => (self.bundle.args.as_slice(), true),
            Role::Migration { args, .. } => (*args, false),
        };
        ContainerCreateBody {
            image: Some(self.stored.image.clone()),
            user: Some(self.stored.user.clone()),
            // Without arguments the image's own hold.
            cmd: (!args.is_empty()).then(|| args.to_vec()),
            env: Some(self.environment()),
            labels: Some(self.labels()),
            exposed_ports: is_unit.then(|| vec![port(self.bundle)]),
            host_config: Some(self.host(is_unit)),
            ..ContainerCreateBody::default()
        }
    }

    fn labels(&self) -> HashMap<String, String> {
        let kind = match self.role {
            Role::Unit(_) => Kind::Unit,
            Role::Migration { .. } => Kind::Migration,
        };
        let mut labels = self.place.labels(kind, self.generation);
        let mut put = |name: &str, value: String| labels.insert(label(name), value);
        put("service", self.bundle.service.to_string());
        put("bundle", self.role.hash().to_string());
        put("release", self.release.to_owned());
        if let Role::Unit(unit) = self.role {
            put("slot", unit.slot.to_string());
            put("unit", unit.to_string());
        }
        labels
    }

    /// The variables, as `NAME=value`. Secrets are told by the paths of their files.
    fn environment(&self) -> Vec<String> {
        let bundle = self.bundle;
        let mut variables: HashMap<String, String> = bundle.env.clone().into_iter().collect();
        for (file, planned) in &bundle.files {
            if let Some(name) = &planned.env {
                variables.insert(name.clone(), format!("{ROOT}/{FILES}/{file}"));
            }
        }
        for secret in bundle.secrets.keys() {
            variables.insert(format!("{secret}_FILE"), format!("{ROOT}/{SECRETS}/{secret}"));
        }
        variables.insert("FAIRLEAD_RELEASE".to_owned(), self.release.to_owned());
        variables.insert("FAIRLEAD_BUNDLE".to_owned(), self.role.hash().to_string());
        match self.role {
            Role::Unit(unit) => {
                variables.insert("FAIRLEAD_UNIT".to_owned(), format!("{}/{}", unit.service, unit.slot));
                variables.insert(bundle.port_env.clone(), bundle.port.to_string());
                if let Some(name) = &bundle.host_env {
                    // What listens on a container's loopback alone is reached by nobody.
                    variables.insert(name.clone(), Ipv4Addr::UNSPECIFIED.to_string());
                }
            }
            Role::Migration { service, .. } => {
                variables.insert("FAIRLEAD_MIGRATION".to_owned(), service.to_string());
            }
        }
        let mut list: Vec<String> =
            variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        list.sort();
        list
    }

    fn host(&self, is_unit: bool) -> HostConfig {
        let limits = &self.bundle.limits;
        let memory = limits.memory_max_bytes.and_then(|bytes| i64::try_from(bytes).ok());
        let open_files = limits.open_files_max.and_then(|count| i64::try_from(count).ok());
        let open_files = open_files.map(|count| ResourcesUlimits {
            name: Some("nofile".to_owned()),
            soft: Some(count),
            hard: Some(count),
        });
        let loopback = PortBinding {
            host_ip: Some(Ipv4Addr::LOCALHOST.to_string()),
            // The engine chooses one that is free.
            host_port: Some("0".to_owned()),
        };
        let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        HostConfig {
            mounts: Some(vec![bundle_mount(&self.stored.volume, true)]),
            port_bindings: is_unit.then(|| HashMap::from([(port(self.bundle), Some(vec![loopback]))])),
            readonly_rootfs: Some(true),
            tmpfs: Some(HashMap::from([text(("/tmp", TMP))])),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
            pids_limit: Some(PIDS_MAX),
            memory,
            // No more with swap than without: a unit above its limit ends instead of becoming slow.
            memory_swap: memory,
            ulimits: open_files.map(|limit| vec![limit]),
            // What is started again is decided by a rollout.
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            // So that signals and orphans are dealt with whatever the service is.
            init: Some(true),
            log_config: Some(HostConfigLogConfig {
                // The one that every engine can read back.
                typ: Some("json-file".to_owned()),
                config: Some(LOG_PARTS.into_iter().map(text).collect()),
            }),
            ..HostConfig::default()
        }
    }
}
