//! The broker under loom: each model is one race, at most three threads. For every ordering and step that the protocols rely
//! on, the last test runs a model with just that one weakened, and requires it to fail.
//!
//! Run by `make loom`, which is `scripts/loom`.
#![cfg(loom)]

mod models;

use std::process::Command;

use tierup_broker::Mutation;

/// Which model notices the lack of what.
const CONTROLS: &[(Mutation, &str)] = &[
    (Mutation::Publish, "install_vs_call"),
    (Mutation::Invoke, "install_vs_call"),
    (Mutation::Publish, "osr_install_vs_entry"),
    (Mutation::OsrLookup, "osr_install_vs_entry"),
    (Mutation::OsrClaim, "osr_request_vs_request"),
    (Mutation::OsrUnclaim, "osr_request_vs_compile"),
    (Mutation::Lineage, "osr_install_vs_reload"),
    (Mutation::ArmFirst, "osr_install_vs_look_ahead"),
    (Mutation::Successor, "osr_install_vs_update"),
    (Mutation::Horizon, "osr_retire_vs_quiescent"),
    (Mutation::Current, "install_vs_visit"),
    (Mutation::Lineage, "install_vs_reload"),
    (Mutation::CalleeCheck, "install_vs_reload_of_a_callee"),
    (Mutation::CalleeWithdrawal, "install_vs_reload_of_a_callee"),
    (Mutation::AssumptionCheck, "deopt::break_vs_install"),
    (Mutation::AssumptionWithdrawal, "deopt::break_vs_install"),
    (Mutation::ExitLookup, "deopt::deopt_vs_install"),
    (Mutation::Publish, "deopt::deopt_vs_install"),
    (Mutation::Offline, "deopt::deopt_vs_retire"),
    (Mutation::ExitOfUnit, "deopt::deopt_vs_reload"),
    (Mutation::Forgive, "deopt::deopt_vs_reload"),
    (Mutation::Flag, "deopt::break_vs_poll"),
    (Mutation::PollLoad, "deopt::break_vs_poll"),
    (Mutation::PollStore, "deopt::break_vs_poll"),
    (Mutation::PolledLoad, "deopt::break_vs_poll"),
    (Mutation::RetireStamp, "deopt::break_vs_poll"),
    (Mutation::Park, "deopt::break_vs_unpark"),
    (Mutation::Unpark, "deopt::break_vs_unpark"),
    (Mutation::UnparkFence, "deopt::break_vs_unpark"),
    (Mutation::TicketFence, "deopt::break_vs_unpark"),
    (Mutation::Raise, "deopt::break_vs_answer"),
    (Mutation::Lower, "deopt::break_vs_answer"),
    (Mutation::Raise, "deopt::break_vs_sample"),
    (Mutation::Lower, "deopt::break_vs_sample"),
    (Mutation::Report, "census::census_vs_frame"),
    (Mutation::Report, "census::census_vs_install"),
    (Mutation::ReportPut, "census::census_vs_return"),
    (Mutation::ReportTake, "census::census_vs_return"),
    (Mutation::PollLoad, "census::census_vs_retire"),
    (Mutation::Report, "census::census_vs_unpark"),
    (Mutation::UnparkFence, "census::census_vs_unpark"),
    (Mutation::CollectFence, "census::census_vs_unpark"),
    (Mutation::OnlineFence, "census::census_vs_coming_online"),
    (Mutation::CollectFence, "census::census_vs_coming_online"),
    (Mutation::Raise, "census::ask_vs_answer"),
    (Mutation::Lower, "census::ask_vs_answer"),
    (Mutation::Activate, "register_vs_walk"),
    (Mutation::Snapshot, "register_vs_walk"),
    (Mutation::Transition, "release_vs_panicking_compile"),
    (Mutation::InboxPush, "requests_vs_drain"),
    (Mutation::InboxDrain, "requests_vs_drain"),
    (Mutation::DrainRecheck, "shutdown_vs_queued_work"),
    (Mutation::Answered, "answer_vs_waiting"),
    (Mutation::Pending, "answer_vs_waiting"),
    (Mutation::ChunkPublish, "register_vs_walk"),
    (Mutation::ChunkLoad, "register_vs_walk"),
    (Mutation::SlotGive, "release_vs_register"),
    (Mutation::SlotTake, "release_vs_register"),
    (Mutation::Join, "join_vs_collect"),
    (Mutation::Participants, "join_vs_collect"),
    (Mutation::Online, "retire_vs_offline_and_back"),
    (Mutation::OnlineFence, "retire_vs_coming_online"),
    (Mutation::CollectFence, "retire_vs_coming_online"),
    (Mutation::QuiesceLoad, "free_vs_call_after_quiescent"),
    (Mutation::QuiesceStore, "free_vs_call_before_quiescent"),
    (Mutation::Offline, "retire_vs_going_offline"),
    (Mutation::Horizon, "free_vs_call_before_quiescent"),
    (Mutation::RetireStamp, "free_vs_call_after_quiescent"),
    (Mutation::LimboPush, "retire_vs_collect"),
    (Mutation::LimboTake, "retire_vs_collect"),
    (Mutation::EventPost, "post_vs_deliver"),
    (Mutation::EventTake, "post_vs_deliver"),
    (Mutation::WakeFence, "request_vs_park"),
    (Mutation::ParkFence, "request_vs_park"),
    (Mutation::ParkRecheck, "request_vs_park"),
    (Mutation::FailureOfBody, "reload_vs_panicking_compile"),
    (Mutation::OnlineWake, "online_vs_park"),
    (Mutation::OnlineFence, "online_vs_park"),
    (Mutation::ParkFence, "online_vs_park"),
    (Mutation::ParkRecheck, "online_vs_park"),
    (Mutation::Contain, "request_vs_panicking_compile"),
    (Mutation::StateExchange, "request_vs_request"),
    (Mutation::PublishExchange, "install_vs_invalidate"),
    (Mutation::HandOver, "hand_over_vs_park"),
    (Mutation::UnitPhase, "update_vs_invalidate"),
];

/// The races that have to be looked at, and the models that do: each model exists, and each race has a control.
const RACES: &[(&str, &[&str])] = &[
    ("request and request", &["request_vs_request", "osr_request_vs_request", "requests_vs_drain"]),
    ("install and call", &["install_vs_call"]),
    ("install and invalidate", &["install_vs_invalidate"]),
    ("install and reload", &["install_vs_reload", "install_vs_reload_of_a_callee", "osr_install_vs_reload"]),
    ("retire and call", &["free_vs_call_before_quiescent", "free_vs_call_after_quiescent", "retire_vs_going_offline"]),
    ("retire and who comes online", &["retire_vs_coming_online", "retire_vs_offline_and_back", "join_vs_collect"]),
    (
        "OSR and install",
        &["osr_install_vs_entry", "osr_install_vs_update", "osr_install_vs_look_ahead", "osr_request_vs_compile"],
    ),
    ("OSR and retire", &["osr_retire_vs_quiescent", "osr_retire_of_a_version_vs_entry", "osr_invalidate_vs_entry"]),
    ("deopt and retire", &["deopt::deopt_vs_retire", "deopt::deopt_vs_install", "deopt::deopt_vs_reload"]),
    ("shutdown and compile", &["shutdown_vs_queued_work"]),
    ("a worker that panics", &["request_vs_panicking_compile", "release_vs_panicking_compile", "reload_vs_panicking_compile"]),
    ("census and install", &["census::census_vs_install", "census::census_vs_frame", "census::census_vs_retire"]),
    ("who asks and who sleeps", &["request_vs_park", "online_vs_park", "hand_over_vs_park"]),
];

#[test]
fn every_race_has_a_model_and_a_control() {
    let output = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let list = String::from_utf8_lossy(&output.stdout);
    for (race, models) in RACES {
        for model in *models {
            assert!(list.lines().any(|line| line == format!("models::{model}: test")), "{race}: there is no model `{model}`");
        }
        assert!(models.iter().any(|model| CONTROLS.iter().any(|(_, other)| model == other)), "{race} has no control");
    }
}

/// Runs one model in a process of its own with one mutation, and says whether it failed. The process may fail any way it
/// likes: code that is entered after it was freed need not end in a polite assertion.
fn notices(mutation: Mutation, model: &str) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("models::{model}")])
        .env("TIERUP_WEAKEN", format!("{mutation:?}"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("running 1 test"), "there is a model `{model}`:\n{text}");
    !output.status.success()
}

#[test]
fn every_mutation_is_noticed() {
    let unnoticed: Vec<_> = CONTROLS.iter().filter(|(mutation, model)| !notices(*mutation, model)).collect();
    assert!(unnoticed.is_empty(), "models that do not notice: {unnoticed:?}");
    let uncovered: Vec<_> = Mutation::ALL.iter().filter(|all| !CONTROLS.iter().any(|(one, _)| one == *all)).collect();
    assert!(uncovered.is_empty(), "mutations without a model: {uncovered:?}");
}
