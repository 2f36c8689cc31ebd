//! Any path: it is refused, or every byte of it has one meaning.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prom_rbac_proxy::prometheus::{Endpoint, LabelName, Path};

fuzz_target!(|text: &str| {
    if let Ok(label) = LabelName::parse(text) {
        let again = LabelName::parse(&label.encoded()).expect("what is encoded can be read");
        assert_eq!(again, label);
    }
    let Ok(path) = Path::parse(text) else { return };
    assert!(path.rest.starts_with('/') && text.ends_with(path.rest));
    assert!(!path.rest.contains("//") && !path.rest.contains(';') && !path.rest.contains('\\'));
    for segment in path.rest.split('/') {
        assert!(!matches!(segment, "." | ".."));
    }
    if let Some((endpoint, label)) = Endpoint::find(path.rest) {
        assert_eq!(endpoint.path(label), path.rest);
    }
});
