//! `cargo xtask` with Docker engines.

fn main() -> std::process::ExitCode {
    fairlead::main()
}
