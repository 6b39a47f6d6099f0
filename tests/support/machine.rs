//! Who has the machine: most tests share it, those that measure have it to themselves.

use std::{
    fs::File,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

static MACHINE: RwLock<()> = RwLock::new(());

/// A share of the machine, until it is dropped.
pub(crate) struct Shared {
    _guard: RwLockReadGuard<'static, ()>,
}

/// The whole machine, until it is dropped.
pub(crate) struct Whole {
    _guard: RwLockWriteGuard<'static, ()>,
}

impl Shared {
    /// Waits until nobody needs the whole machine.
    pub(crate) fn new() -> Self {
        // A test that failed has poisoned nothing: the lock protects no data.
        Self { _guard: MACHINE.read().unwrap_or_else(|poisoned| poisoned.into_inner()) }
    }
}

impl Whole {
    /// Waits until nobody else uses the machine.
    pub(crate) fn new() -> Self {
        Self { _guard: MACHINE.write().unwrap_or_else(|poisoned| poisoned.into_inner()) }
    }
}

/// Holds a lock file against other test runs on this machine; `None` if another has it.
pub(crate) fn try_lock(path: &std::path::Path) -> Option<File> {
    let file = File::create(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}
