//! `cargo xtask` with GitHub.

fn main() -> std::process::ExitCode {
    fairlead::main()
}
