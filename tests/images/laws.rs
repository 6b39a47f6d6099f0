//! The judge of the laws sits over every rollout of these tests; here, that it sees containers as it sees processes.

use crate::ground::{Ground, Host};
use tests::{Engine, Generation, Project, Shape};

#[test]
fn a_success_of_containers_that_is_falsified_is_found_out() {
    for generation in Generation::ALL {
        let mut shape = Shape::api_only();
        shape.api().replicas = 2;
        let mut ground = Ground::with(Host::Shared(Engine::shared(generation)), Project::with(shape));
        ground.deploy(0);
        assert_eq!(ground.project.cases().len(), 1, "the first rollout was not witnessed");
        ground.project.change_code("api");
        ground.deploy(0);
        let mut cases = ground.project.cases();
        assert_eq!(cases.len(), 1, "the second rollout was not witnessed");
        let case = cases.remove(0);
        assert_eq!(case.breaches(), [], "{generation:?}");
        assert!(case.is_over());
        case.assert_falsified_successes_are_found_out();
    }
}
