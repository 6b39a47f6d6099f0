//! What a user notices of the program under load, under every fault, and across crashes: minutes, with the machine to
//! themselves where they measure. Run by `tests/all`.

mod crash;
mod faults;
mod handover;
mod no_request_lost;
mod same_bundle;
mod strategies;
