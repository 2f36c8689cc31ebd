//! Kubernetes' protobuf form of the few objects that kubectl's typed clients send: the reviews and
//! token requests. Answers are JSON, which these clients accept.

use serde_json::{Map, Value};

/// What precedes every protobuf object of Kubernetes.
const MAGIC: &[u8] = b"k8s\0";

/// One field of a message, by its name in JSON.
enum Field {
    Text(&'static str),
    Texts(&'static str),
    Number(&'static str),
    Message(&'static str, Message),
}

/// Fields by number; others are skipped.
type Message = &'static [(u64, Field)];

const TYPE: Message = &[(1, Field::Text("apiVersion")), (2, Field::Text("kind"))];

const RESOURCE: Message = &[
    (1, Field::Text("namespace")),
    (2, Field::Text("verb")),
    (3, Field::Text("group")),
    (4, Field::Text("version")),
    (5, Field::Text("resource")),
    (6, Field::Text("subresource")),
    (7, Field::Text("name")),
];

const PATH: Message = &[(1, Field::Text("path")), (2, Field::Text("verb"))];

const SELF_ACCESS: Message = &[(
    2,
    Field::Message(
        "spec",
        &[
            (1, Field::Message("resourceAttributes", RESOURCE)),
            (2, Field::Message("nonResourceAttributes", PATH)),
        ],
    ),
)];

const ACCESS: Message = &[(
    2,
    Field::Message(
        "spec",
        &[
            (1, Field::Message("resourceAttributes", RESOURCE)),
            (2, Field::Message("nonResourceAttributes", PATH)),
            (3, Field::Text("user")),
            (4, Field::Texts("groups")),
            (6, Field::Text("uid")),
        ],
    ),
)];

const RULES: Message = &[(2, Field::Message("spec", &[(1, Field::Text("namespace"))]))];

const TOKEN_REVIEW: Message = &[(
    2,
    Field::Message(
        "spec",
        &[(1, Field::Text("token")), (2, Field::Texts("audiences"))],
    ),
)];

const TOKEN_REQUEST: Message = &[(
    2,
    Field::Message(
        "spec",
        &[
            (1, Field::Texts("audiences")),
            (4, Field::Number("expirationSeconds")),
            (
                3,
                Field::Message(
                    "boundObjectRef",
                    &[
                        (1, Field::Text("kind")),
                        (2, Field::Text("apiVersion")),
                        (3, Field::Text("name")),
                        (4, Field::Text("uid")),
                    ],
                ),
            ),
        ],
    ),
)];

/// Whether the bytes are an object in protobuf.
pub(crate) fn is_protobuf(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The object as JSON; `None` if it is of another kind, or broken.
pub(crate) fn decode(bytes: &[u8]) -> Option<Value> {
    let mut envelope = Reader(bytes.strip_prefix(MAGIC)?);
    let (mut object, mut raw) = (Value::Null, &bytes[..0]);
    while let Some((number, content)) = envelope.field()? {
        match (number, content) {
            (1, Content::Bytes(bytes)) => object = message(bytes, TYPE)?,
            (2, Content::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let schema = match object["kind"].as_str()? {
        "SelfSubjectAccessReview" => SELF_ACCESS,
        "SelfSubjectRulesReview" => RULES,
        "SubjectAccessReview" | "LocalSubjectAccessReview" => ACCESS,
        "SelfSubjectReview" => &[],
        "TokenReview" => TOKEN_REVIEW,
        "TokenRequest" => TOKEN_REQUEST,
        _ => return None,
    };
    let mut fields = message(raw, schema)?;
    object.as_object_mut()?.append(fields.as_object_mut()?);
    Some(object)
}

fn message(bytes: &[u8], schema: Message) -> Option<Value> {
    let mut object = Map::new();
    let mut reader = Reader(bytes);
    while let Some((number, content)) = reader.field()? {
        let Some((_, field)) = schema.iter().find(|(known, _)| *known == number) else {
            continue;
        };
        match (field, content) {
            (Field::Text(name), Content::Bytes(bytes)) => {
                let text = std::str::from_utf8(bytes).ok()?;
                if !text.is_empty() {
                    object.insert((*name).to_owned(), text.into());
                }
            }
            (Field::Texts(name), Content::Bytes(bytes)) => {
                let text = std::str::from_utf8(bytes).ok()?;
                let list = object
                    .entry(*name)
                    .or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut()?.push(text.into());
            }
            (Field::Number(name), Content::Number(number)) => {
                object.insert((*name).to_owned(), number.into());
            }
            (Field::Message(name, schema), Content::Bytes(bytes)) => {
                object.insert((*name).to_owned(), message(bytes, schema)?);
            }
            _ => return None,
        }
    }
    Some(Value::Object(object))
}

enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The wire format: numbered fields, each with its length.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field; `Some(None)` at the end, `None` if the bytes are broken.
    #[allow(clippy::option_option)] // Broken and ended are two things, and `?` serves both.
    fn field(&mut self) -> Option<Option<(u64, Content<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.number()?;
        let content = match key & 7 {
            0 => Content::Number(self.number()?),
            1 => Content::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Content::Bytes(self.take(length)?)
            }
            5 => Content::Bytes(self.take(4)?),
            _ => return None,
        };
        Some(Some((key >> 3, content)))
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}
