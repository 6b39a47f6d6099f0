//! What a user notices of the program, quick enough for every `cargo test`. What takes minutes is in `tests/long`.

mod bad_input;
mod clock;
mod components;
mod data_path;
mod first_deploy;
mod freeze;
mod hooks;
mod interrupted;
mod laws;
mod lease;
mod migrations;
mod output;
mod plan;
mod protected;
mod requests;
mod state_files;
mod waves;
