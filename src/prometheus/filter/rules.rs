//! The answer of `/api/v1/rules`.
//!
//! A rule whose own labels name a namespace belongs to it, with all that it says. Another alerting rule
//! belongs to nobody: the caller gets it for the alerts of theirs in it, and what it says of itself (query,
//! annotations, last error, the group's file) is left out, since that may be about others. A recording rule
//! that names no namespace is left out.
//!
//! What is not wholly the caller's has the members that are known here, and no others: a later release may say more.
//! The order of members changes where something must be known before it can be written.

use super::envelope::Envelope;
use super::labels::Ownership;
use super::rule::{Group, Position, Private, Rule};
use super::scanner::Container;
use super::walk::{Plan, Treatment, Walk};
use super::{Filter, FilterError, Limits, shape};
use crate::namespace::NamespaceSet;

/// Keeps the rules and alerts of some namespaces in an answer of `/api/v1/rules`.
///
/// The token for the next page of groups is dropped: it tells of groups that the caller may not see.
#[derive(Debug)]
pub struct RulesFilter(Walk<Envelope<Rules>>);

impl RulesFilter {
    /// Keeps what has one of `namespaces` in `label`.
    pub fn new(namespaces: NamespaceSet, label: &str, limits: Limits) -> Self {
        let label = label.into();
        let rules = Rules {
            ownership: Ownership { label, namespaces },
            limits,
            with_alerts: true,
            place: Place::Outside,
            field: Field::Other,
            key: Vec::new(),
            has_groups: false,
            first_group: true,
            group: Group::default(),
            rule: Rule::default(),
        };
        Self(Walk::new(Envelope::new(rules), limits))
    }

    /// Writes no alerts, as Prometheus does for `exclude_alerts=true`. Prometheus itself must not be asked to
    /// leave them out: they tell which rules concern the caller.
    #[must_use]
    pub fn without_alerts(mut self) -> Self {
        self.0.plan().data().with_alerts = false;
        self
    }
}

impl Filter for RulesFilter {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.0.push(chunk, out)
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), FilterError> {
        self.0.finish()
    }
}

#[derive(Debug)]
struct Rules {
    ownership: Ownership,
    limits: Limits,
    with_alerts: bool,
    place: Place,
    /// The member that is being read of the innermost object.
    field: Field,
    key: Vec<u8>,
    has_groups: bool,
    first_group: bool,
    group: Group,
    rule: Rule,
}

/// The innermost container that is being read. Each has one kind of parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    Data,
    Groups,
    Group,
    Rules,
    Rule,
    Alerts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    File,
    Labels,
    State,
    Private(Private),
    /// What is looked into: groups, rules or alerts.
    List,
    /// Not known to tell of the group's or rule's owner alone.
    Unknown,
    Other,
}

/// Further members of a group that tell nothing of its rules. `partialResponseStrategy` is Thanos'.
const OF_GROUPS: &[&str] = &[
    "name",
    "interval",
    "limit",
    "evaluationTime",
    "lastEvaluation",
    "queryOffset",
    "partialResponseStrategy",
];

/// Further members of a rule that tell nothing of its alerts, or are the rule's name.
const OF_RULES: &[&str] = &[
    "name",
    "type",
    "duration",
    "keepFiringFor",
    "health",
    "evaluationTime",
    "lastEvaluation",
];

impl Rules {
    fn group_field(&mut self, name: &str) -> Result<Field, FilterError> {
        let (field, repeated) = match name {
            "rules" => (
                Field::List,
                std::mem::replace(&mut self.group.has_rules, true),
            ),
            "file" => (Field::File, self.group.file.is_some()),
            _ if OF_GROUPS.contains(&name) => (Field::Other, false),
            _ => (Field::Unknown, false),
        };
        if repeated {
            return shape("a group has one file and one list of rules");
        }
        Ok(field)
    }

    fn rule_field(&mut self, name: &str) -> Result<Field, FilterError> {
        let (field, repeated) = match name {
            "alerts" => (Field::List, self.rule.knows_alerts()),
            "labels" => (Field::Labels, self.rule.owner.is_some()),
            "state" => (Field::State, self.rule.has_state()),
            "query" => (Field::Private(Private::Query), false),
            "annotations" => (Field::Private(Private::Annotations), false),
            "lastError" => (Field::Private(Private::LastError), false),
            _ if OF_RULES.contains(&name) => (Field::Other, false),
            _ => (Field::Private(Private::Unknown), false),
        };
        if repeated {
            return shape("a rule has one state, one set of labels and one list of alerts");
        }
        Ok(field)
    }

    fn group_member(&mut self, value: &[u8]) -> Result<(), FilterError> {
        match self.field {
            Field::File => self.group.file = Some(value.to_vec()),
            Field::List if value == b"null" => {}
            Field::List => return shape("the rules of a group are a list"),
            Field::Unknown => self.group.unknown.add(&self.key, value),
            _ => self.group.members.add(&self.key, value),
        }
        self.bounded(self.group.held())
    }

    fn rule_member(&mut self, value: &[u8]) -> Result<(), FilterError> {
        match self.field {
            Field::Labels => {
                let owner = self.ownership.rule(value)?;
                self.rule.set_owner(owner, &self.key, value);
            }
            Field::State => self.rule.set_state(value),
            Field::Private(private) => self.rule.add_private(private, &self.key, value),
            Field::List if value == b"null" => self.rule.set_no_alerts(&self.key),
            Field::List => return shape("the alerts of a rule are a list"),
            _ => self.rule.members.add(&self.key, value),
        }
        self.bounded(self.rule.held())
    }

    fn alert(&mut self, alert: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        let Some(state) = self.ownership.alert(alert)? else {
            self.rule.hide_alert();
            return Ok(());
        };
        let text = self.with_alerts.then_some(alert);
        let mut position = Position {
            group: &mut self.group,
            first_group: &mut self.first_group,
        };
        self.rule.keep_alert(state, text, &mut position, out);
        self.bounded(self.rule.held())
    }

    fn bounded(&self, held: usize) -> Result<(), FilterError> {
        let limit = self.limits.element_bytes;
        if held > limit {
            return Err(FilterError::TooLarge { limit });
        }
        Ok(())
    }
}

impl Plan for Rules {
    fn open(&mut self, container: Container, out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.place = match (self.place, container) {
            (Place::Outside, Container::Object) => {
                out.push(b'{');
                Place::Data
            }
            (Place::Data, Container::Array) => {
                out.extend_from_slice(br#""groups":["#);
                Place::Groups
            }
            (Place::Groups, Container::Object) => {
                self.group.reset();
                Place::Group
            }
            (Place::Group, Container::Array) => Place::Rules,
            (Place::Rules, Container::Object) => {
                self.rule.reset();
                Place::Rule
            }
            (Place::Rule, Container::Array) => {
                self.rule.begin_alerts();
                Place::Alerts
            }
            _ => return shape("data has groups, which are objects with a list of rules"),
        };
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.place = match self.place {
            Place::Alerts => Place::Rule,
            Place::Rule => {
                let mut position = Position {
                    group: &mut self.group,
                    first_group: &mut self.first_group,
                };
                self.rule.end(self.with_alerts, &mut position, out);
                Place::Rules
            }
            Place::Rules => {
                self.group.end_rules(out);
                Place::Group
            }
            Place::Group => {
                self.group.end(out)?;
                Place::Groups
            }
            Place::Groups => {
                out.push(b']');
                Place::Data
            }
            Place::Data | Place::Outside => {
                if !self.has_groups {
                    return shape("data has groups");
                }
                out.push(b'}');
                Place::Outside
            }
        };
        Ok(())
    }

    fn member(
        &mut self,
        name: &str,
        key: &[u8],
        _: &mut Vec<u8>,
    ) -> Result<Treatment, FilterError> {
        self.field = match self.place {
            Place::Group => self.group_field(name)?,
            Place::Rule => self.rule_field(name)?,
            _ if name != "groups" => return Ok(Treatment::Drop),
            _ if std::mem::replace(&mut self.has_groups, true) => {
                return shape("data has one list of groups");
            }
            _ => Field::List,
        };
        self.key.clear();
        self.key.extend_from_slice(key);
        Ok(match self.field {
            Field::List => Treatment::Descend,
            // The labels are still read, so that a second set of them is an error.
            Field::Labels => Treatment::Hold,
            _ if self.place == Place::Rule && self.rule.is_anothers() => Treatment::Drop,
            _ => Treatment::Hold,
        })
    }

    fn element(&mut self) -> Treatment {
        match self.place {
            Place::Alerts if self.rule.is_anothers() => Treatment::Drop,
            Place::Alerts => Treatment::Hold,
            _ => Treatment::Descend,
        }
    }

    fn held(&mut self, value: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        match self.place {
            Place::Group => self.group_member(value),
            Place::Rule => self.rule_member(value),
            Place::Alerts => self.alert(value, out),
            Place::Data if value == b"null" => {
                out.extend_from_slice(br#""groups":null"#);
                Ok(())
            }
            Place::Outside | Place::Data | Place::Groups | Place::Rules => {
                shape("data has groups, which are objects with a list of rules")
            }
        }
    }
}
