//! A host, and a connection to it.

use ssh::{Connector, Host, Options};
use std::time::Duration;

/// Longer than anything takes that is not meant to fail.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// One that reaches what this host's configuration knows, and notices within 3 s that it is lost.
pub(crate) fn connector(host: &tests::Host) -> Connector {
    let options =
        Options { config: Some(host.config()), alive: Duration::from_secs(1), ..Options::default() };
    Connector::new(options).expect("a folder")
}

/// Connected as root.
pub(crate) async fn connect(host: &tests::Host) -> Host {
    connector(host).connect(&"host".parse().expect("a name")).await.expect("it lets us in")
}

/// What can be done with a shell, with an option, or with neither.
pub(crate) fn hostile() -> Vec<String> {
    let words = [
        "",
        " ",
        "a b",
        "'",
        "''",
        "\"",
        "\\",
        "\\'",
        "$HOME",
        "$(touch /tmp/executed)",
        "`touch /tmp/executed`",
        "; touch /tmp/executed #",
        "&& false",
        "| cat",
        "> /tmp/executed",
        "*",
        "?",
        "[a]",
        "{a,b}",
        "~",
        "!",
        "!!",
        "-n",
        "--help",
        "-",
        "--",
        "a\nb",
        "\n",
        "\t",
        "\r",
        "%s",
        "ü日本🚀",
        "\u{1b}[31m",
        "=",
        "#",
        "a'b\"c$d`e\\f",
    ];
    words.into_iter().map(str::to_owned).chain(["x".repeat(10_000)]).collect()
}
