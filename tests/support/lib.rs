//! What the black-box tests are made of: a project of its own for each test, the program as a user runs it, and judges
//! that look at the outside world alone (sockets, `/proc`, files), never at what the program says of itself.

mod actions;
mod browser;
mod chance;
mod components;
mod disk;
mod evidence;
pub mod http;
mod images;
mod law;
mod load;
mod machine;
mod ports;
mod processes;
mod program;
mod project;
mod recorder;
mod scanner;
mod schemas;
mod shape;
mod sockets;
mod tree;
mod units;
mod wait;

pub use actions::{Actions, workflow_files, workflows};
pub use browser::Browser;
pub use chance::{Chance, variable};
pub use components::{Description, Engine, Generation, Host, Registry};
pub use disk::SmallDisk;
pub use images::Login;
pub use law::Case;
pub use load::{FailureClass, Load, LoadConfig, Report, Seen};
pub use ports::Port;
pub use processes::{Process, all_pids, processes_under, signal};
pub use program::{
    Background, Binaries, Output, binaries, event_name, is_action, program_with_engines,
    program_with_engines_and_fail_points, program_with_fail_points, program_with_github, static_service,
};
pub use project::Project;
pub use recorder::{Recorder, Sample};
pub use scanner::{Advisory, TRIVY_VERSION, Trivy};
pub use schemas::{assert_cyclonedx, assert_junit, assert_sarif};
pub use shape::{Service, Shape};
pub use sockets::{listening_ports, listening_ports_of, listening_ports_of_each};
pub use tree::Tree;
pub use units::{Unit, UnitFile};
pub use wait::{pause, wait_for};
