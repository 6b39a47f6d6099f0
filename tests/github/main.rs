//! What GitHub is told of deploys, reports, plans and releases, by a double of it that keeps state and has every request
//! validated by GitHub's own description of its API, and every answer as well. Run by `tests/all`.

mod answers;
mod checker;
mod double;
mod ground;
mod outage;
mod parts;
mod reports;
mod rollouts;
mod world;
