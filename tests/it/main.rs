//! What a user notices of the program, quick enough for every `cargo test`. What takes minutes is in `tests/long`.

mod bad_input;
mod clock;
mod data_path;
mod first_deploy;
mod interrupted;
mod laws;
mod lease;
mod output;
mod plan;
mod protected;
mod state_files;
