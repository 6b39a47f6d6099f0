//! A supervisor within the test process, real processes below it, and a router that only keeps books.

mod fixture;
mod ledger;
mod lifecycle;
mod migrate;
mod prepare;
mod processes;
mod recovery;
mod routing;
