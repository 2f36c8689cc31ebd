//! The audit line of a request, as documented in docs/audit.md.

use std::time::Duration;

use super::line::Object;
use super::{Inner, SHOWN_AGENT_BYTES, SHOWN_GROUPS};
use crate::authn::Caller;
use crate::namespace::Namespace;
use crate::request::Subject;

impl Inner {
    pub(super) fn write(&self, line: &mut Vec<u8>, duration: Duration) {
        let mut object = Object::begin(line);
        object.shown("timestamp", &self.time);
        object.word("level", "INFO");
        object.word("target", "audit");
        object.word("message", "request");
        object.word("request_id", self.id.hexadecimal().as_str());
        object.word("door", self.door.as_str());
        object.text("method", self.method.as_str());
        object.word("endpoint", self.endpoint.map_or("none", Subject::name));
        match &self.caller {
            Some(caller) => object.text("caller", caller.username()),
            None => object.null("caller"),
        }
        if let Some(uid) = self.caller.as_ref().and_then(Caller::uid) {
            object.text("uid", uid);
        }
        if let Some(caller) = &self.caller
            && self.log.0.groups
        {
            let groups = caller.groups().iter().map(String::as_str);
            object.texts("groups", groups.take(SHOWN_GROUPS));
        }
        if let Some(client) = &self.client {
            object.shown("client", client);
        }
        if let Some(agent) = self
            .user_agent
            .as_ref()
            .and_then(|agent| agent.to_str().ok())
        {
            object.text("user_agent", &agent[..agent.len().min(SHOWN_AGENT_BYTES)]);
        }
        object.word("decision", self.decision.as_str());
        for (key, namespaces) in [
            ("namespaces_asked", &self.asked),
            ("namespaces_granted", &self.granted),
        ] {
            if !namespaces.is_empty() {
                object.texts(key, namespaces.iter().map(Namespace::as_str));
            }
        }
        if self.granted_count > 0 {
            object.number("namespaces_granted_count", self.granted_count as u64);
        }
        if let Some(query) = &self.query {
            object.text("query", query);
        }
        if let Some(reason) = &self.reason {
            object.text("reason", reason);
        }
        if let Some(code) = self.reason_code {
            object.word("reason_code", code.as_str());
        }
        match self.status {
            Some(status) => object.number("status", status.as_u16().into()),
            None => object.null("status"),
        }
        object.word("outcome", self.outcome.as_str());
        object.number("bytes", self.bytes);
        object.milliseconds("duration_ms", duration);
        if !self.kubernetes.is_zero() {
            object.milliseconds("kubernetes_ms", self.kubernetes);
        }
        if let Some(upstream) = self.upstream {
            object.milliseconds("upstream_ms", upstream);
        }
        if let Some(answer) = self.answer {
            object.word("answer", answer.as_str());
        }
        if let Some(trace) = &self.trace {
            object.word("trace_id", &trace.shown());
        }
        object.end();
    }
}
