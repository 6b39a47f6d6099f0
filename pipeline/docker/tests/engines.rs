//! Real engines of both generations say what they are.

use docker::{Address, ConnectError, Connection};
use tests::{Engine, Generation};

#[tokio::test]
async fn components_of_both_generations_answer() {
    for (generation, version, api) in
        [(Generation::Docker20, "20.10.", (1, 41)), (Generation::Docker28, "28.", (1, 51))]
    {
        let engine = Engine::shared(generation);
        let connection = Connection::open(Address::Unix(engine.socket())).await.expect("it answers");
        let facts = &connection.facts;
        assert!(facts.version.starts_with(version), "{facts:?}");
        assert!(facts.api >= api, "{facts:?}");
        assert!(facts.platform.starts_with("linux/") && facts.has_buildkit, "{facts:?}");
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_named() {
    let address: Address = "unix:///nonexistent/docker.sock".parse().expect("an address");
    let error = Connection::open(address).await.expect_err("nobody is there");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("unix:///nonexistent/docker.sock"), "{error}");
}
