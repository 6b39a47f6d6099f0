//! Documents for people: tables and sentences. Pure; nothing is asked here.

mod doctor;
mod history;
mod lock;
mod plan;
mod prune;
mod simulate;
mod status;
mod table;
mod time;

pub(crate) use doctor::doctor;
pub(crate) use history::history;
pub(crate) use lock::lock;
pub(crate) use plan::plan;
pub(crate) use prune::prunable;
pub(crate) use simulate::simulation;
pub(crate) use status::status;
pub(crate) use time::Now;

#[cfg(test)]
mod tests;
