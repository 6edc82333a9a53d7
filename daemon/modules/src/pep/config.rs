//! A node's configuration: what may be set, its form (XEP-0060 §8.2, §16.4.4), and demands on it
//! (publish-options, §7.1.5).
use super::form::Field;
use super::refusal::{precondition, refuse};
use godwit_wire::{Condition, StanzaError, Writer, ns};
use serde::{Deserialize, Serialize};

/// Longest title, description, type or group, in bytes.
const TEXT_BYTES_MAX: usize = 1_023;
/// The only value that a field may have, for fields that clients send and that change nothing here.
const FIXED: [(&str, &str); 6] = [
    ("pubsub#node_type", "leaf"),
    ("pubsub#publish_model", "publishers"),
    ("pubsub#presence_based_delivery", "true"),
    ("pubsub#purge_offline", "false"),
    ("pubsub#notify_sub", "false"),
    ("pubsub#item_expire", "max"),
];

/// Who besides the owner may read a node and is told of what is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Access {
    Open,
    Presence,
    Roster,
    Whitelist,
}

/// When the last item is sent unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum SendLast {
    Never,
    OnSubscription,
    OnPresence,
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Who may read.
    pub access: Access,
    /// Groups of the owner's roster, for [`Access::Roster`].
    pub groups: Vec<String>,
    /// Items are kept.
    pub persist: bool,
    /// Items kept at most; `None` is as many as the server allows.
    pub items_max: Option<u32>,
    /// When the last item is sent unasked.
    pub send_last: SendLast,
    /// Anybody is told of anything.
    pub deliver: bool,
    /// With the items' payloads.
    pub payloads: bool,
    /// Told of items that are retracted.
    pub notify_retract: bool,
    /// Told of the node's end.
    pub notify_delete: bool,
    /// Notifications are messages of type normal (otherwise headline).
    pub normal: bool,
    /// Name for people.
    pub title: String,
    /// Description for people.
    pub description: String,
    /// Namespace of the payload.
    pub payload_type: String,
}

impl Default for Config {
    /// XEP-0163 §5, and one item where it says nothing.
    fn default() -> Config {
        Config {
            access: Access::Presence,
            groups: Vec::new(),
            persist: true,
            items_max: Some(1),
            send_last: SendLast::OnPresence,
            deliver: true,
            payloads: true,
            notify_retract: true,
            notify_delete: true,
            normal: false,
            title: String::new(),
            description: String::new(),
            payload_type: String::new(),
        }
    }
}

/// A field that can be set.
struct Setting {
    var: &'static str,
    kind: &'static str,
    label: &'static str,
    options: &'static [&'static str],
    get: fn(&Config) -> Vec<String>,
    /// `false`: not a value of this field.
    set: fn(&mut Config, &[String]) -> bool,
}

macro_rules! boolean {
    ($var:literal, $field:ident, $label:literal) => {
        Setting {
            var: $var,
            kind: "boolean",
            label: $label,
            options: &[],
            get: |config| vec![config.$field.to_string()],
            set: |config, values| truth(values).map(|value| config.$field = value).is_some(),
        }
    };
}

macro_rules! text {
    ($var:literal, $field:ident, $label:literal) => {
        Setting {
            var: $var,
            kind: "text-single",
            label: $label,
            options: &[],
            get: |config| Some(config.$field.clone()).filter(|text| !text.is_empty()).into_iter().collect(),
            set: |config, values| {
                let ([] | [_]) = values else { return false };
                config.$field = values.first().cloned().unwrap_or_default();
                config.$field.len() <= TEXT_BYTES_MAX
            },
        }
    };
}

macro_rules! choice {
    ($var:literal, $field:ident, $label:literal, [$($name:literal => $value:expr),*]) => {
        Setting {
            var: $var,
            kind: "list-single",
            label: $label,
            options: &[$($name),*],
            get: |config| {
                let names = [$(($name, $value)),*];
                let found = names.into_iter().find(|(_, value)| *value == config.$field);
                found.map(|(name, _)| name.to_owned()).into_iter().collect()
            },
            set: |config, values| {
                let found = match values {
                    [value] => [$(($name, $value)),*].into_iter().find(|(name, _)| name == value),
                    _ => None,
                };
                found.map(|(_, value)| config.$field = value).is_some()
            },
        }
    };
}

const SETTINGS: [Setting; 13] = [
    text!("pubsub#title", title, "A name for the node"),
    text!("pubsub#description", description, "A description of the node"),
    text!("pubsub#type", payload_type, "The namespace of the payload"),
    choice!("pubsub#access_model", access, "Who may subscribe and retrieve items", [
        "open" => Access::Open, "presence" => Access::Presence, "roster" => Access::Roster,
        "whitelist" => Access::Whitelist
    ]),
    Setting {
        var: "pubsub#roster_groups_allowed",
        kind: "text-multi",
        label: "Groups of the roster that may, if the access model is roster",
        options: &[],
        get: |config| config.groups.clone(),
        set: |config, values| {
            config.groups = values.to_vec();
            values.iter().all(|group| group.len() <= TEXT_BYTES_MAX)
        },
    },
    boolean!("pubsub#persist_items", persist, "Items are kept"),
    Setting {
        var: "pubsub#max_items",
        kind: "text-single",
        label: "How many items are kept; max is as many as the server allows",
        options: &[],
        get: |config| vec![config.items_max.map_or("max".into(), |max| max.to_string())],
        set: |config, values| {
            let [value] = values else { return false };
            config.items_max = if value == "max" { None } else { value.parse().ok() };
            value == "max" || config.items_max.is_some_and(|max| max > 0)
        },
    },
    choice!("pubsub#send_last_published_item", send_last, "When the last item is sent unasked", [
        "never" => SendLast::Never, "on_sub" => SendLast::OnSubscription,
        "on_sub_and_presence" => SendLast::OnPresence
    ]),
    boolean!("pubsub#deliver_notifications", deliver, "Notifications are sent"),
    boolean!("pubsub#deliver_payloads", payloads, "Notifications hold the payload"),
    boolean!("pubsub#notify_retract", notify_retract, "Retracted items are notified"),
    boolean!("pubsub#notify_delete", notify_delete, "The node's deletion is notified"),
    choice!("pubsub#notification_type", normal, "Type of notifications", [
        "headline" => false, "normal" => true
    ]),
];

fn truth(values: &[String]) -> Option<bool> {
    match values {
        [value] if value == "true" || value == "1" => Some(true),
        [value] if value == "false" || value == "0" => Some(false),
        _ => None,
    }
}

/// What became of one field.
enum Set {
    Done,
    Unknown,
}

impl Config {
    /// Items that may be kept, under a server's limit.
    pub fn items_max(&self, limit: u32) -> u64 {
        u64::from(self.items_max.unwrap_or(limit).min(limit))
    }

    fn set(&mut self, (var, values): &Field<'_>, limit: u32) -> Result<Set, StanzaError> {
        let wrong = || {
            let text = format!("{var} cannot be {:?} here", values.join(", "));
            StanzaError::new(Condition::NotAcceptable).with_text(text)
        };
        if let Some((_, only)) = FIXED.iter().find(|(name, _)| name == var) {
            let same = match truth(values) {
                Some(value) => *only == value.to_string(),
                None => values.len() == 1 && values.first().is_some_and(|value| value == only),
            };
            return if same { Ok(Set::Done) } else { Err(wrong()) };
        }
        let Some(setting) = SETTINGS.iter().find(|setting| setting.var == *var) else {
            return Ok(Set::Unknown);
        };
        if !(setting.set)(self, values) {
            return Err(match *var {
                "pubsub#access_model" => refuse(Condition::NotAcceptable, "unsupported-access-model"),
                _ => wrong(),
            });
        }
        if self.items_max.is_some_and(|max| max > limit) {
            let text = format!("pubsub#max_items is {limit} at most; max stands for that");
            return Err(StanzaError::new(Condition::NotAcceptable).with_text(text));
        }
        Ok(Set::Done)
    }

    /// With the fields of a submitted form. Fields that are not known are left alone (XEP-0004).
    pub fn with(mut self, fields: &[Field<'_>], limit: u32) -> Result<Config, StanzaError> {
        for field in fields {
            self.set(field, limit)?;
        }
        Ok(self)
    }

    /// What publish-options make of a node: they must describe the one that is there; a new one is made so.
    pub fn demanded(
        existing: Option<&Config>,
        fields: &[Field<'_>],
        limit: u32,
    ) -> Result<Config, StanzaError> {
        let mut wanted = existing.cloned().unwrap_or_default();
        for field in fields {
            match wanted.set(field, limit) {
                Ok(Set::Done) => {}
                Ok(Set::Unknown) => return Err(precondition(format!("there is no option {}", field.0))),
                // What cannot be set cannot be the case either.
                Err(_) if existing.is_some() => {
                    return Err(precondition(format!("{} is different", field.0)));
                }
                Err(error) => return Err(error),
            }
            if existing.is_some_and(|existing| *existing != wanted) {
                return Err(precondition(format!("{} is different", field.0)));
            }
        }
        Ok(wanted)
    }

    /// The configuration as a form of a type (`form`, `result`), under a `FORM_TYPE`.
    pub fn write(&self, type_: &str, writer: &mut Writer<'_>) {
        writer.start("x").attr("xmlns", ns::DATA_FORMS).attr("type", type_);
        writer.start("field").attr("var", "FORM_TYPE").attr("type", "hidden");
        writer.start("value").text(ns::PUBSUB_NODE_CONFIG).end().end();
        for setting in &SETTINGS {
            writer.start("field").attr("var", setting.var).attr("type", setting.kind);
            writer.attr("label", setting.label);
            for option in setting.options {
                writer.start("option").start("value").text(option).end().end();
            }
            for value in (setting.get)(self) {
                writer.start("value").text(&value).end();
            }
            writer.end();
        }
        for (var, only) in FIXED {
            writer.start("field").attr("var", var).attr("type", "text-single");
            writer.start("value").text(only).end().end();
        }
        writer.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<'a>(var: &'a str, values: &[&str]) -> Field<'a> {
        (var, values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn every_setting_accepts_what_it_says() {
        let config = Config { groups: vec!["g".into()], title: "t".into(), ..Config::default() };
        for setting in &SETTINGS {
            let mut other = Config::default();
            assert!((setting.set)(&mut other, &(setting.get)(&config)), "{}", setting.var);
            assert_eq!((setting.get)(&other), (setting.get)(&config), "{}", setting.var);
            for option in setting.options {
                assert!((setting.set)(&mut other, &[(*option).to_owned()]), "{} {option}", setting.var);
                assert_eq!((setting.get)(&other), [*option], "{}", setting.var);
            }
        }
    }

    #[test]
    fn options_make_a_new_node_and_must_hold_for_an_old_one() {
        let private = [
            field("pubsub#persist_items", &["1"]),
            field("pubsub#access_model", &["whitelist"]),
            field("pubsub#max_items", &["max"]),
            field("pubsub#send_last_published_item", &["never"]),
        ];
        let made = Config::demanded(None, &private, 100).expect("a new node");
        assert_eq!((made.access, made.items_max, made.send_last), (Access::Whitelist, None, SendLast::Never));
        assert_eq!(Config::demanded(Some(&made), &private, 100).as_ref(), Ok(&made));
        assert_eq!(Config::demanded(Some(&made), &[field("pubsub#persist_items", &["true"])], 100), Ok(made));
        for (var, value) in [
            ("pubsub#access_model", "open"),
            ("pubsub#access_model", "authorize"),
            ("pubsub#max_items", "101"),
            ("pubsub#max_items", "7"),
            ("pubsub#no_such_option", "1"),
            ("pubsub#publish_model", "open"),
        ] {
            let error = Config::demanded(Some(&Config::default()), &[field(var, &[value])], 100)
                .expect_err("a demand that does not hold");
            assert_eq!(error.condition, Condition::Conflict, "{var} {value}");
            let xml = String::from_utf8(error.application).expect("text");
            assert!(xml.contains("precondition-not-met"), "{xml}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_for_a_new_node() {
        for (var, value) in [
            ("pubsub#access_model", "authorize"),
            ("pubsub#max_items", "101"),
            ("pubsub#max_items", "0"),
            ("pubsub#max_items", "-1"),
            ("pubsub#persist_items", "yes"),
            ("pubsub#publish_model", "open"),
        ] {
            let error = Config::default().with(&[field(var, &[value])], 100).expect_err("no such value");
            assert_eq!(error.condition, Condition::NotAcceptable, "{var} {value}");
        }
        assert_eq!(
            Config::default().with(&[field("pubsub#unknown", &["1"])], 100),
            Ok(Config::default()),
            "XEP-0004 leaves unknown fields alone"
        );
        for (var, only) in FIXED {
            assert!(Config::default().with(&[field(var, &[only])], 100).is_ok(), "{var}");
        }
    }
}
