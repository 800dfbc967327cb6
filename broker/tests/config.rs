//! Policies as configuration: what can be written, what comes out of it, and what is said about mistakes.

use tierup_broker::{
    HotnessPolicy, LoadFeedback, PolicyChoice, PolicyConfig, PolicyConfigError, Rule, Rules, SpiderMonkey, Tier, Tiered,
};

const FULL: &str = r#"
policy.spidermonkey.level = 7
osr-after = 1000
stop-at-tier = 1

[modifiers]
load-feedback.truffle = { min-scale = 0.1, low = 10.0, high = 90.0 }
hysteresis = {}
startup-delay.ms = 50
efficiency-mode.scale = 8.0
code-pressure = { limit = 1048576, from-percent = 75 }
compile-share.percent = 10

[[rules]]
function = "parse_*"
scale = 0.5

[[rules]]
function = "huge"
stop-at-tier = 0
why = "too large"
"#;

#[test]
fn everything_can_be_written() {
    let config: PolicyConfig = toml::from_str(FULL).unwrap();
    assert_eq!(config.policy, PolicyChoice::SpiderMonkey(SpiderMonkey { level: 7, ..SpiderMonkey::default() }));
    assert_eq!(config.modifiers.load_feedback, Some(LoadFeedback::truffle()));
    assert_eq!(config.modifiers.hysteresis.map(|hysteresis| (hysteresis.on, hysteresis.off)), Some((5.0, 2.0)));
    assert_eq!(config.modifiers.compile_share.map(|share| (share.percent, share.burst_ms)), Some((10, 200)));
    assert_eq!(config.rules.0[1].why.as_deref(), Some("too large"));
    let policy = config.build().unwrap();
    assert!(policy.wants_quiet() && policy.rules().is_some_and(|rules| rules.0.len() == 3));
    // ¼ · 430,000 / 9, and a tenth of that because compilers might be idle.
    assert_eq!((policy.first_budget(Tier::new(1), 100), policy.osr_budget(Tier::new(1), 100)), (1_194, 100));
}

#[test]
fn nothing_at_all_is_the_default() {
    let config: PolicyConfig = toml::from_str("").unwrap();
    assert_eq!(config, PolicyConfig::default());
    let policy = config.build().unwrap();
    assert_eq!(policy.first_budget(Tier::new(2), 1), Tiered::default().first_budget(Tier::new(2), 1));
    assert!(policy.rules().is_none() && !policy.wants_quiet());
}

#[test]
fn every_name_is_a_configuration_that_survives_being_written() {
    for name in PolicyConfig::NAMES {
        let config = PolicyConfig::named(name).unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<PolicyConfig>(&text).unwrap(), config, "{name}:\n{text}");
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<PolicyConfig>(&json).unwrap(), config, "{name}:\n{json}");
        config.build().unwrap();
    }
    assert_eq!(PolicyConfig::named("quick"), None);
}

#[test]
fn what_is_out_of_range_is_named() {
    let table = [
        ("policy.spidermonkey.level = 10", "policy.spidermonkey.level is 10, must be between 1 and 9"),
        ("policy.jsc.baseline = -1.0", "policy.jsc.baseline is -1, must be a number above 0"),
        ("policy.ski-rental.patience = nan", "policy.ski-rental.patience is NaN, must be a number from 0 on"),
        ("stop-at-tier = 8", "stop-at-tier is 8, must be at most 7"),
        (
            "modifiers.load-feedback.truffle = { min-scale = 2.0, low = 1.0, high = 1.0 }",
            "modifiers.load-feedback.truffle.min-scale is 2, must be between 0 and 1",
        ),
        (
            "modifiers.load-feedback.hotspot.feedback = [5.0, 0.0]",
            "modifiers.load-feedback.hotspot.feedback[1] is 0, must be a number above 0",
        ),
        ("modifiers.hysteresis = { on = 1.0 }", "modifiers.hysteresis.on is 1, must be at least off"),
        ("modifiers.code-pressure.from-percent = 100", "modifiers.code-pressure.from-percent is 100, must be below 100"),
        ("[[rules]]\nfunction = 'f'\n[[rules]]\nfunction = 'g'\nscale = 0.0", "rules[1].scale is 0, must be a number above 0"),
    ];
    for (text, message) in table {
        let config: PolicyConfig = toml::from_str(text).unwrap();
        let error: PolicyConfigError = config.build().unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let table = [
        ("policy.quick = {}", "quick"),
        ("policy.v8.basline = 3", "basline"),
        ("policy.v8.baseline = 'soon'", "policy.v8.baseline = 'soon'"),
        ("modifiers.hysteresis.an = 3", "an"),
        ("stop_at_tier = 1", "stop_at_tier"),
        ("[[rules]]\nscale = 2.0", "function"),
    ];
    for (text, named) in table {
        let error = toml::from_str::<PolicyConfig>(text).unwrap_err().to_string();
        assert!(error.contains(named), "{text}: {error}");
    }
}

#[test]
fn rules_can_be_written_and_read() {
    let rule = Rule { function: "f".to_owned(), stop_at_tier: Some(0), scale: None, why: Some("it panics".to_owned()) };
    let rules = Rules(vec![rule]);
    let json = serde_json::to_string(&rules).unwrap();
    assert_eq!(json, r#"[{"function":"f","stop-at-tier":0,"why":"it panics"}]"#);
    assert_eq!(serde_json::from_str::<Rules>(&json).unwrap(), rules);
}
