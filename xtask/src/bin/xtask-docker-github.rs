//! `cargo xtask` with Docker engines and GitHub.

fn main() -> std::process::ExitCode {
    fairlead::main()
}
