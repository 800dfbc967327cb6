//! What is said about single functions by name: a do-not-compile list, a highest tier, thresholds of their own.
//!
//! Rules are looked up when a bead is registered, and when [asked for](crate::Broker::apply_rules), by the name that
//! [`describe`](crate::BrokerBuilder::describe) gives it. The
//! same form comes out of a broker, with what its compilers failed at ([`Broker::do_not_compile`](crate::Broker::do_not_compile)), and
//! goes into the next: a list of what need not be tried again.
#![forbid(unsafe_code)]

use crate::Tier;

/// Rules for functions, by name. Later ones win.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Rules(pub Vec<Rule>);

/// What is said about the functions of one name.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct Rule {
    /// The function's name; a `*` stands for any text.
    pub function: String,
    /// The highest tier it may go to: 0 has it interpreted for good.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub stop_at_tier: Option<u8>,
    /// What its thresholds are multiplied by: below 1 it is compiled sooner. (HotSpot: `CompileThresholdScaling` of one method.)
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub scale: Option<f64>,
    /// Why, for whoever reads it.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub why: Option<String>,
}

/// What the rules say about one function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) limit: Tier,
    pub(crate) scale: f64,
}

impl Verdict {
    /// What is so for functions that no rule names.
    pub(crate) const NONE: Verdict = Verdict { limit: Tier::MAX, scale: 1.0 };
}

impl Rules {
    /// What they say about `name`.
    pub(crate) fn of(&self, name: &str) -> Verdict {
        let mut verdict = Verdict::NONE;
        for rule in self.0.iter().filter(|rule| matches(&rule.function, name)) {
            verdict.limit = rule.stop_at_tier.map_or(verdict.limit, |tier| Tier::new(tier).min(Tier::MAX));
            verdict.scale = rule.scale.filter(|scale| scale.is_finite() && *scale > 0.0).unwrap_or(verdict.scale);
        }
        verdict
    }
}

/// Whether `name` is what `pattern` says: byte by byte, each `*` any number of bytes. Takes time of the product at most: when the rest
/// does not match, only the last star takes one byte more.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut in_name) = (0, 0);
    let mut star = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, in_name));
                at += 1;
            }
            Some(byte) if *byte == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => match &mut star {
                Some((after, from)) => {
                    *from += 1;
                    (at, in_name) = (*after, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        let table = [
            ("f", "f", true),
            ("f", "g", false),
            ("f", "ff", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("*ab*ab*", "xababx", true),
            ("*ab*ab*", "xabx", false),
            ("a**b", "ab", true),
            ("*größe", "die größe", true),
        ];
        for (pattern, name, is) in table {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
        assert!(!matches(&"a*".repeat(30), &"a".repeat(29)), "and it does not take for ever to say no");
    }

    #[test]
    fn later_rules_win() {
        let rule = |function: &str, stop_at_tier, scale| Rule { function: function.to_owned(), stop_at_tier, scale, why: None };
        let rules = Rules(vec![rule("*", Some(1), None), rule("hot*", None, Some(0.5)), rule("hottest", Some(200), Some(-1.0))]);
        let verdict = |limit, scale| Verdict { limit: Tier::new(limit), scale };
        assert_eq!(rules.of("cold"), verdict(1, 1.0));
        assert_eq!(rules.of("hot"), verdict(1, 0.5));
        assert_eq!(rules.of("hottest"), verdict(7, 0.5), "what is out of range counts as the nearest, or not at all");
        assert_eq!(Rules::default().of("any"), Verdict::NONE);
    }
}
