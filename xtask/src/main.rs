//! `cargo xtask`: Fairlead in this repository. Another repository's own `xtask` crate has the same line.

fn main() -> std::process::ExitCode {
    fairlead::main()
}
