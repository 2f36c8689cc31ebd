//! What is known so far of the group and of the rule that are being read, and what of it may be written.
//!
//! Members are held until it is certain that something of the group or rule is the caller's; from then on
//! alerts are written as they come, so that neither a large group nor a large rule has to be held.

use super::labels::{AlertState, RuleOwner};
use super::{FilterError, shape};

/// Members of an object that are to be written, each with a comma before it.
#[derive(Debug, Default)]
pub(super) struct Members(Vec<u8>);

impl Members {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0.push(b',');
        self.0.extend_from_slice(key);
        self.0.push(b':');
        self.0.extend_from_slice(value);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    /// Writes and forgets the members. `first` says whether the object has had none before.
    fn flush(&mut self, first: &mut bool, out: &mut Vec<u8>) {
        let skip = usize::from(*first && !self.0.is_empty());
        *first &= self.0.is_empty();
        out.extend_from_slice(&self.0[skip..]);
        self.0.clear();
    }
}

/// A group of rules.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) members: Members,
    /// Unknown members, which may tell anything.
    pub(super) unknown: Members,
    pub(super) file: Option<Vec<u8>>,
    pub(super) has_rules: bool,
    /// Whether a rule has been kept, and with it the group.
    begun: bool,
    /// Whether there is a rule in it, kept or not, that is not the caller's own.
    shared: bool,
    /// Whether no member has been written.
    first: bool,
}

impl Group {
    /// Forgets the last group; keeps the allocations.
    pub(super) fn reset(&mut self) {
        self.members.clear();
        self.unknown.clear();
        self.file = None;
        (self.has_rules, self.begun, self.shared, self.first) = (false, false, false, true);
    }

    /// How many bytes of the group are held.
    pub(super) fn held(&self) -> usize {
        self.members.len() + self.unknown.len()
    }

    /// Writes what must stand before a rule that is kept.
    fn begin_rule(&mut self, first_group: &mut bool, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            out.push(b',');
            return;
        }
        if !std::mem::replace(first_group, false) {
            out.push(b',');
        }
        out.push(b'{');
        self.members.flush(&mut self.first, out);
        if !std::mem::replace(&mut self.first, false) {
            out.push(b',');
        }
        out.extend_from_slice(br#""rules":["#);
    }

    /// The array of rules has ended.
    pub(super) fn end_rules(&self, out: &mut Vec<u8>) {
        if self.begun {
            out.push(b']');
        }
    }

    /// The group has ended. A file's path may name whom the other rules in it are for, and so may what is not known.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        if !self.has_rules {
            return shape("a group has rules");
        }
        if !self.begun {
            return Ok(());
        }
        if let Some(file) = self.file.take() {
            let file = if self.shared { br#""""# } else { &file[..] };
            self.members.add(br#""file""#, file);
        }
        if !self.shared {
            self.members.0.extend_from_slice(&self.unknown.0);
        }
        self.members.flush(&mut self.first, out);
        out.push(b'}');
        Ok(())
    }
}

/// A member of a rule that may tell about others than the owner of the alerts in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Private {
    Query,
    Annotations,
    LastError,
    Unknown,
}

impl Private {
    /// What stands in its place; `None` when the member is dropped.
    fn blank(self) -> Option<(&'static [u8], &'static [u8])> {
        match self {
            Self::Query => Some((br#""query""#, br#""""#)),
            Self::Annotations => Some((br#""annotations""#, b"{}")),
            Self::LastError | Self::Unknown => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Rule {
    pub(super) members: Members,
    /// Known once the labels have been read.
    pub(super) owner: Option<RuleOwner>,
    /// What of [`Private`] was read before the owner was known, and which.
    private: Members,
    blanks: Members,
    state: Option<Vec<u8>>,
    /// Alerts of the caller's that were read before the owner was known, each with a comma before it.
    alerts: Vec<u8>,
    /// Whether there is a list of alerts, and whether there is a member of that name at all.
    has_alerts: bool,
    knows_alerts: bool,
    hides_alerts: bool,
    furthest: Option<AlertState>,
    begun: bool,
    /// Whether no member, and whether no alert, has been written.
    first: bool,
    first_alert: bool,
}

impl Rule {
    /// Forgets the last rule; keeps the allocations.
    pub(super) fn reset(&mut self) {
        self.members.clear();
        self.private.clear();
        self.blanks.clear();
        self.alerts.clear();
        (self.owner, self.state, self.furthest) = (None, None, None);
        (self.has_alerts, self.knows_alerts) = (false, false);
        (self.hides_alerts, self.begun) = (false, false);
        (self.first, self.first_alert) = (true, true);
    }

    /// How many bytes of the rule are held.
    pub(super) fn held(&self) -> usize {
        self.members.len() + self.private.len() + self.blanks.len() + self.alerts.len()
    }

    /// Whether the rule has said something of its alerts.
    pub(super) fn knows_alerts(&self) -> bool {
        self.knows_alerts
    }

    pub(super) fn has_state(&self) -> bool {
        self.state.is_some()
    }

    /// Whether nothing of the rule can be the caller's.
    pub(super) fn is_anothers(&self) -> bool {
        self.owner == Some(RuleOwner::Another)
    }

    pub(super) fn set_owner(&mut self, owner: RuleOwner, key: &[u8], labels: &[u8]) {
        self.owner = Some(owner);
        self.members.add(key, labels);
        self.settle(owner);
    }

    pub(super) fn set_state(&mut self, state: &[u8]) {
        self.state = Some(state.to_vec());
    }

    pub(super) fn add_private(&mut self, private: Private, key: &[u8], value: &[u8]) {
        self.private.add(key, value);
        if let Some((key, value)) = private.blank() {
            self.blanks.add(key, value);
        }
        if let Some(owner) = self.owner {
            self.settle(owner);
        }
    }

    /// Decides which form of the private members is written.
    fn settle(&mut self, owner: RuleOwner) {
        let kept = match owner {
            RuleOwner::Caller => &self.private,
            RuleOwner::EachAlert | RuleOwner::Another => &self.blanks,
        };
        self.members.0.extend_from_slice(&kept.0);
        self.private.clear();
        self.blanks.clear();
    }

    /// The rule has a list of alerts.
    pub(super) fn begin_alerts(&mut self) {
        (self.has_alerts, self.knows_alerts) = (true, true);
    }

    /// The rule has no list of alerts where one might be: Prometheus was asked to leave them out.
    pub(super) fn set_no_alerts(&mut self, key: &[u8]) {
        self.knows_alerts = true;
        self.members.add(key, b"null");
    }

    /// An alert of another's was dropped.
    pub(super) fn hide_alert(&mut self) {
        self.hides_alerts = true;
    }

    /// An alert of the caller's was read; `None` as its text counts it without writing it.
    pub(super) fn keep_alert(
        &mut self,
        state: AlertState,
        text: Option<&[u8]>,
        place: &mut Position<'_>,
        out: &mut Vec<u8>,
    ) {
        self.furthest = self.furthest.max(Some(state));
        let Some(text) = text else { return };
        self.alerts.push(b',');
        self.alerts.extend_from_slice(text);
        if matches!(self.owner, Some(RuleOwner::Caller | RuleOwner::EachAlert)) {
            self.flush_alerts(place, out);
        }
    }

    /// Writes the alerts that are held, and before the first one all that precedes it.
    fn flush_alerts(&mut self, place: &mut Position<'_>, out: &mut Vec<u8>) {
        self.begin(place, out);
        if std::mem::replace(&mut self.first_alert, false) {
            self.members.flush(&mut self.first, out);
            if !std::mem::replace(&mut self.first, false) {
                out.push(b',');
            }
            out.extend_from_slice(br#""alerts":["#);
            out.extend_from_slice(&self.alerts[usize::from(!self.alerts.is_empty())..]);
        } else {
            out.extend_from_slice(&self.alerts);
        }
        self.alerts.clear();
    }

    fn begin(&mut self, place: &mut Position<'_>, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            place.group.begin_rule(place.first_group, out);
            out.push(b'{');
        }
    }

    /// The rule has ended. `with_alerts` says whether its alerts are written.
    pub(super) fn end(&mut self, with_alerts: bool, place: &mut Position<'_>, out: &mut Vec<u8>) {
        let owner = self.owner.unwrap_or(RuleOwner::EachAlert);
        place.group.shared |= owner != RuleOwner::Caller;
        let kept = match owner {
            RuleOwner::Caller => true,
            RuleOwner::EachAlert => self.furthest.is_some(),
            RuleOwner::Another => false,
        };
        if !kept {
            return;
        }
        self.settle(owner);
        self.begin(place, out);
        if self.has_alerts && with_alerts {
            self.flush_alerts(place, out);
            out.push(b']');
        } else if self.has_alerts {
            self.members.add(br#""alerts""#, b"null");
        }
        let state = if self.hides_alerts || owner == RuleOwner::EachAlert {
            Some(self.furthest.unwrap_or(AlertState::Inactive).text())
        } else {
            self.state.as_deref()
        };
        if let Some(state) = state {
            self.members.add(br#""state""#, state);
        }
        self.members.flush(&mut self.first, out);
        out.push(b'}');
    }
}

/// Where a rule stands in the answer that is being written.
#[derive(Debug)]
pub(super) struct Position<'a> {
    pub(super) group: &'a mut Group,
    pub(super) first_group: &'a mut bool,
}
