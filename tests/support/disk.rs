//! Small disks under real components.

use crate::{
    Engine, Registry,
    processes::{Process, all_pids},
};
use std::{ffi::OsString, fs, path::PathBuf, process::Command};

/// A small disk, empty at first, on which a component keeps what it has until this is dropped. The component is started
/// anew for it.
pub struct SmallDisk<'a> {
    host: Host<'a>,
}

enum Host<'a> {
    Registry(&'a Registry),
    Engine(&'a Engine),
}

impl Host<'_> {
    fn halt(&self) {
        match self {
            Self::Registry(registry) => registry.halt(),
            Self::Engine(engine) => engine.halt(),
        }
    }

    fn go_on(&self) {
        match self {
            Self::Registry(registry) => registry.go_on(),
            Self::Engine(engine) => engine.go_on(),
        }
    }

    /// Where it keeps what it has.
    fn data(&self) -> PathBuf {
        let folder = match self {
            Self::Registry(registry) => registry.folder(),
            Self::Engine(engine) => engine.folder(),
        };
        folder.join("data")
    }
}

impl<'a> SmallDisk<'a> {
    /// Under a registry; `size` as `mount` takes it: `4m`.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[track_caller]
    pub fn under_registry(registry: &'a Registry, size: &str) -> Self {
        Self::under(Host::Registry(registry), size)
    }

    /// Under an engine.
    ///
    /// # Panics
    /// As [`SmallDisk::under_registry`].
    #[track_caller]
    pub fn under_engine(engine: &'a Engine, size: &str) -> Self {
        Self::under(Host::Engine(engine), size)
    }

    #[track_caller]
    fn under(host: Host<'a>, size: &str) -> Self {
        host.halt();
        let disk = Self { host };
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        disk.host.go_on();
        disk
    }

    /// Makes room, as an operator would.
    ///
    /// # Panics
    /// If it cannot be had.
    #[track_caller]
    pub fn grow(&self, size: &str) {
        self.mount(&["-o", &format!("remount,size={size}")]);
    }

    /// Mounts where the component sees its files.
    #[track_caller]
    fn mount(&self, arguments: &[&str]) {
        let mut words: Vec<OsString> = Vec::new();
        if let Host::Engine(engine) = self.host {
            // Its mounts are its own: those of the process that its first one has started.
            let outer = fs::read_to_string(engine.folder().join("pid")).expect("its number");
            let outer: i32 = outer.trim().parse().expect("a number");
            let is_inner = |process: &Process| process.parent == outer;
            let inner = all_pids().into_iter().filter_map(Process::of).find(is_inner).expect("its child").pid;
            words.extend(["nsenter", "--mount", "--target", &inner.to_string()].map(OsString::from));
        }
        words.push("mount".into());
        words.extend(arguments.iter().map(OsString::from));
        words.push(self.host.data().into());
        let output = Command::new(&words[0]).args(&words[1..]).output();
        assert!(output.as_ref().is_ok_and(|output| output.status.success()), "{words:?}: {output:?}");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // That of an engine goes with its namespace.
        if let Host::Registry(registry) = self.host {
            registry.halt();
            // The registry's own end complains if this does not succeed.
            let _ = Command::new("umount").arg(self.host.data()).output();
        }
    }
}
