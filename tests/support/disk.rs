//! Small disks under real components.

use crate::{Engine, Registry};
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

impl<'a> SmallDisk<'a> {
    /// Under a registry; `size` as `mount` takes it: `4m`.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[track_caller]
    pub fn under_registry(registry: &'a Registry, size: &str) -> Self {
        registry.halt();
        let disk = Self { host: Host::Registry(registry) };
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        registry.go_on();
        disk
    }

    /// Under an engine.
    ///
    /// # Panics
    /// As [`SmallDisk::under_registry`].
    #[track_caller]
    pub fn under_engine(engine: &'a Engine, size: &str) -> Self {
        engine.halt();
        let disk = Self { host: Host::Engine(engine) };
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        engine.go_on();
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

    fn data(&self) -> PathBuf {
        match self.host {
            Host::Registry(registry) => registry.folder().join("data"),
            Host::Engine(engine) => engine.folder().join("data"),
        }
    }

    /// Runs a program where the component sees its files.
    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) {
        let mut words: Vec<OsString> = Vec::new();
        if let Host::Engine(engine) = self.host {
            // Its mounts are its own: those of the process that its first one has started.
            let outer = fs::read_to_string(engine.folder().join("pid")).expect("its number");
            let outer = outer.trim();
            let children =
                fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).expect("its child");
            let inner = children.split_whitespace().next().expect("one").to_owned();
            words.extend(["nsenter", "--mount", "--target", &inner].map(OsString::from));
        }
        words.push(program.into());
        words.extend(arguments.iter().map(OsString::from));
        words.push(self.data().into());
        let output = Command::new(&words[0]).args(&words[1..]).output();
        assert!(output.as_ref().is_ok_and(|output| output.status.success()), "{words:?}: {output:?}");
    }

    #[track_caller]
    fn mount(&self, arguments: &[&str]) {
        self.run("mount", arguments);
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // That of an engine goes with its namespace.
        if let Host::Registry(registry) = self.host {
            registry.halt();
            // The registry's own end complains if this does not succeed.
            let _ = Command::new("umount").arg(self.data()).output();
        }
    }
}
