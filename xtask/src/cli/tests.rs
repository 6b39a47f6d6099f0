use super::*;
use clap::FromArgMatches as _;
use std::ffi::OsStr;

fn parse(arguments: &str) -> Result<Cli, clap::Error> {
    let arguments = std::iter::once("xtask").chain(arguments.split_whitespace());
    // The same on every terminal.
    let command_line = with_names("cargo xtask").term_width(100);
    Cli::from_arg_matches(&command_line.try_get_matches_from(arguments)?)
}

/// The request of `simulate` with these arguments.
pub(crate) fn simulate_request(arguments: &str) -> Simulate {
    match parse(&format!("simulate {arguments}")).expect("parses").command {
        Command::Simulate(request) => request,
        _ => panic!("another command"),
    }
}

fn help(arguments: &str) -> String {
    let error = parse(arguments).expect_err("help is told as an error");
    assert_eq!(error.exit_code(), 0);
    error.to_string()
}

#[test]
fn the_command_line_is_consistent() {
    with_names("cargo xtask").debug_assert();
}

#[test]
fn the_short_help_reads_well() {
    insta::assert_snapshot!(help("-h"));
}

#[test]
fn the_long_help_lists_exit_codes() {
    insta::assert_snapshot!(help("--help"));
}

#[test]
fn each_command_explains_itself() {
    let commands = [
        "deploy", "plan", "simulate", "status", "history", "rollback", "resume", "pause", "cancel", "logs",
        "lock", "test", "build", "scan", "report", "doctor", "prune", "down",
    ];
    for command in commands {
        insta::assert_snapshot!(format!("help_{command}"), help(&format!("{command} -h")));
    }
}

#[test]
fn simulate_lists_its_words() {
    insta::assert_snapshot!(help("simulate --help"));
}

#[test]
fn hidden_commands_are_hidden() {
    assert!(!help("--help").contains("__"));
    let Command::Supervisor(background) = parse("__supervisor --state /s --help x").expect("parses").command
    else {
        panic!("another command")
    };
    assert_eq!(background.arguments, ["--state", "/s", "--help", "x"]);
}

#[test]
fn global_options_stand_anywhere() {
    let cli = parse("--format json deploy --set a.b=1 --set c=2 -v").expect("parses");
    assert_eq!(cli.global.format, Format::Json);
    assert_eq!(cli.global.set, ["a.b=1", "c=2"]);
    assert!(cli.global.verbose);
    let Command::Deploy(deploy) = cli.command else { panic!("another command") };
    assert_eq!(deploy.environment.environment, "local");
}

#[test]
fn what_contradicts_itself_is_refused() {
    for arguments in [
        "deploy --plan p.json --release r",
        "deploy --plan p.json --only api",
        "deploy --release r --force",
        "deploy -v -q",
        "deploy --only Not_a_name",
        "logs -n many",
        "simulate --plan p.json --release r",
        "simulate --slow often",
        "simulate --seed many",
        "prune production",
        "prune --registry --dry-run --yes",
        "nonsense",
    ] {
        let error = parse(arguments).expect_err(arguments);
        assert_eq!(error.exit_code(), 2, "{arguments}");
    }
}

#[test]
fn the_program_is_called_as_it_was_typed() {
    let cargo = || Some("cargo".into());
    assert_eq!(program(OsStr::new("/t/debug/xtask"), cargo()), "cargo xtask");
    assert_eq!(program(OsStr::new("/t/debug/xtask"), None), "xtask");
    assert_eq!(program(OsStr::new("/usr/bin/fairlead"), cargo()), "fairlead");
}

#[test]
fn yes_is_one_flag_and_does_not_follow_from_anything_else() {
    let yes = |arguments: &str| match parse(arguments).expect("parses").command {
        Command::Deploy(deploy) => deploy.yes,
        _ => panic!("another command"),
    };
    assert!(yes("deploy -y") && yes("deploy local --yes"));
    assert!(!yes("deploy") && !yes("deploy --force"));
}
