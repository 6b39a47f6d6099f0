//! Who has the machine: most tests share it, those that measure have it to themselves.

use std::{
    fs::File,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

static USERS: Mutex<Users> = Mutex::new(Users { sharing: 0, wanting: 0, is_whole: false });

static CHANGED: Condvar = Condvar::new();

struct Users {
    /// How many share it.
    sharing: usize,
    /// How many wait until they have it to themselves.
    wanting: usize,
    /// Whether one has it to itself.
    is_whole: bool,
}

/// A share of the machine, until it is dropped, by whichever thread.
pub(crate) struct Shared(());

/// The whole machine, until it is dropped.
pub(crate) struct Whole(());

impl Shared {
    /// Waits until nobody needs the whole machine.
    pub(crate) fn new() -> Self {
        wait_while(|users| users.is_whole || users.wanting > 0).sharing += 1;
        Self(())
    }

    /// Another share for whoever has one: to wait for it would be for ever, if somebody waits for the first one's end.
    pub(crate) fn beside(_: &Self) -> Self {
        users().sharing += 1;
        Self(())
    }
}

impl Whole {
    /// Waits until nobody else uses the machine.
    pub(crate) fn new() -> Self {
        users().wanting += 1;
        let mut users = wait_while(|users| users.is_whole || users.sharing > 0);
        users.wanting -= 1;
        users.is_whole = true;
        Self(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        users().sharing -= 1;
        CHANGED.notify_all();
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        users().is_whole = false;
        CHANGED.notify_all();
    }
}

fn users() -> MutexGuard<'static, Users> {
    // A test that failed has broken nothing here: numbers are changed in one step.
    USERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_while(condition: impl Fn(&Users) -> bool) -> MutexGuard<'static, Users> {
    CHANGED.wait_while(users(), |users| condition(users)).unwrap_or_else(PoisonError::into_inner)
}

/// Holds a lock file against other test runs on this machine; `None` if another has it.
pub(crate) fn try_lock(path: &std::path::Path) -> Option<File> {
    let file = File::create(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}
