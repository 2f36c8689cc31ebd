//! Which form of an object is asked for. JSON is the only encoding: Headlamp and kubectl ask for it, and every client
//! takes it, if among others.

use http::HeaderMap;
use http::header::ACCEPT;

use super::refusal::ListRefusal;

/// How namespaces are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As full objects.
    Plain,
    /// Their metadata alone.
    Metadata,
    /// As rows of a table, for people.
    Table(Included),
}

/// What a row has besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Included {
    Nothing,
    Metadata,
    Object,
}

impl Form {
    /// The first of the accepted forms that there is, in the order of their weights. `listed` is whether a list or a
    /// watch is asked for, and not one object.
    pub(super) fn accepted(
        headers: &HeaderMap,
        listed: bool,
        included: Included,
    ) -> Result<Self, ListRefusal> {
        if !headers.contains_key(ACCEPT) {
            return Ok(Self::Plain);
        }
        let mut forms: Vec<(f32, Self)> = Vec::new();
        for value in headers.get_all(ACCEPT) {
            let ranges = value.to_str().unwrap_or_default().split(',');
            forms.extend(ranges.filter_map(|range| clause(range, listed, included)));
        }
        // Stable: of equal weights the first counts.
        forms.sort_by(|one, other| other.0.total_cmp(&one.0));
        let first = forms.first().map(|(_, form)| *form);
        first.ok_or(ListRefusal::NotAcceptable)
    }
}

fn clause(range: &str, listed: bool, included: Included) -> Option<(f32, Form)> {
    let mut parts = range.split(';').map(str::trim);
    if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
        return None;
    }
    let (mut weight, mut kind, mut group, mut version) = (1.0, None, None, None);
    for parameter in parts {
        let (key, value) = parameter.split_once('=')?;
        match key.trim() {
            "q" => weight = value.parse().ok().filter(|weight| *weight > 0.0)?,
            "as" => kind = Some(value),
            "g" => group = Some(value),
            "v" => version = Some(value),
            "charset" if value.eq_ignore_ascii_case("utf-8") => {}
            "stream" if value == "watch" => {}
            _ => return None,
        }
    }
    let form = match (kind, group, version) {
        (None, None, None) => Form::Plain,
        (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Form::Table(included),
        // A watch is asked for the one as well as for the other.
        (Some("PartialObjectMetadataList"), Some("meta.k8s.io"), Some("v1")) if listed => {
            Form::Metadata
        }
        (Some("PartialObjectMetadata"), Some("meta.k8s.io"), Some("v1")) => Form::Metadata,
        _ => return None,
    };
    Some((weight, form))
}
