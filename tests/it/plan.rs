//! A plan shows what would happen, and what happens is what it showed.

use nix::sys::signal::Signal;
use tests::{Project, signal};

#[test]
fn a_plan_changes_nothing_and_is_carried_out_as_it_is() {
    let mut project = Project::new();
    project.deploy().expect(0);
    project.change_code("api");
    let (_, units) = project.snapshot();
    let planned = project.run(&["plan", "--out", "plan.json"]).expect(0);
    assert!(format!("{planned:?}").contains("api"), "{planned:?}");
    assert_eq!(project.snapshot().1, units, "a plan changed a unit");

    // Not committed, and so not planned.
    let planned_release = project.release();
    project.run(&["deploy", "--plan", "plan.json", "--yes"]).expect(0);
    project.assert_serves("api", &planned_release);
    let empty = project.run(&["plan"]).expect(0).says("nothing to do");
    assert!(!empty.stdout.contains("artifact"), "{empty:?}");
}

#[test]
fn a_plan_whose_ground_has_shifted_is_refused_and_names_the_field() {
    let mut project = Project::new();
    project.deploy().expect(0);
    project.change_code("api");
    project.run(&["plan", "--out", "plan.json"]).expect(0);
    let victim = project.processes_of("api")[0].clone();
    signal(victim.pid, Signal::SIGKILL);
    project.wait_for_units("the end of the unit", "api", |units| {
        units.iter().all(|unit| unit.process.pid != victim.pid)
    });

    let before = project.snapshot().1;
    let refused = project.run(&["deploy", "--plan", "plan.json", "--yes"]).expect(3);
    assert!(refused.stderr.contains("api"), "it names no field: {refused:?}");
    assert_eq!(project.snapshot().1, before, "refused, and yet something changed");
}

#[test]
fn a_plan_that_was_edited_is_refused() {
    let mut project = Project::new();
    project.deploy().expect(0);
    project.change_code("api");
    project.run(&["plan", "--out", "plan.json"]).expect(0);
    let before = project.snapshot().1;
    project.edit("plan.json", |text| text.replace(&project.release(), "another"));
    project.run(&["deploy", "--plan", "plan.json", "--yes"]).expect(3).says("was changed since it was made");
    assert_eq!(project.snapshot().1, before, "refused, and yet something changed");
}

#[test]
fn a_plan_that_another_deploy_has_overtaken_is_refused() {
    let mut project = Project::new();
    project.deploy().expect(0);
    project.change_code("api");
    project.run(&["plan", "--out", "plan.json"]).expect(0);
    project.change_code("api");
    project.deploy().expect(0);
    let newest = project.release();
    project.run(&["deploy", "--plan", "plan.json", "--yes"]).expect(3).says("api");
    project.assert_serves("api", &newest);
}

#[test]
fn a_fault_that_is_asked_for_is_shown_as_a_risk() {
    let mut project = Project::new();
    project.reshape(|shape| shape.fault("slow-start=1s"));
    project.commit();
    project.run(&["plan"]).expect(0).says("NOOGH_FAULT");
    project.run(&["plan", "--set", "services.mcp.env.NOOGH_FAULT=hang"]).expect(0).says("--set");
}
