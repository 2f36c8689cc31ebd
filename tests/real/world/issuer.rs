//! An identity provider, as far as the API server needs one: a document, a key, and signed tokens.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use standins::tls::CertificateAuthority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// For whom its tokens are.
const AUDIENCE: &str = "kubernetes";

/// A running identity provider.
pub struct Issuer {
    url: String,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Issuer {
    pub async fn start(authority: &CertificateAuthority) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let key =
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("its own key");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        // Uncompressed: a byte that says so, then both coordinates.
        let point = &key.public_key().as_ref()[1..];
        let keys = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "key",
            "x": base64url(&point[..32]), "y": base64url(&point[32..]),
        }]});
        let configuration = json!({
            "issuer": url, "jwks_uri": format!("{url}/keys"),
            "authorization_endpoint": format!("{url}/authorize"), "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        });
        let mut tls = (*authority.issue(&["127.0.0.1"]).server_config()).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, configuration, keys) = (
                    acceptor.clone(),
                    configuration.to_string(),
                    keys.to_string(),
                );
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let body = match head.starts_with(b"GET /keys ") {
                        true => keys,
                        false => configuration,
                    };
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                         connection: close\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { url, key, random }
    }

    /// The API server's configuration for it: `sub` is the user, `groups` are the groups, `tenant` is an extra
    /// field.
    pub fn authentication(&self, ca_pem: &str) -> Value {
        json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "jwt": [{
                "issuer": {
                    "url": self.url, "certificateAuthority": ca_pem, "audiences": [AUDIENCE],
                },
                "claimMappings": {
                    "username": { "claim": "sub", "prefix": "" },
                    "groups": { "claim": "groups", "prefix": "" },
                    "extra": [{
                        "key": "example.com/tenant",
                        "valueExpression": "has(claims.tenant) ? claims.tenant : ''",
                    }],
                },
            }],
        })
    }

    /// A token with these claims, which lives for that long.
    pub fn token(&self, lifetime: Duration, claims: Value) -> String {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
        let mut all = json!({
            "iss": self.url, "aud": AUDIENCE, "iat": now.as_secs(), "nbf": now.as_secs(),
            "exp": (now + lifetime).as_secs(),
        });
        let claims = claims.as_object().expect("an object").clone();
        all.as_object_mut().expect("an object").extend(claims);
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "key" });
        let part = |value: &Value| base64url(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&all));
        let signature = self.key.sign(&self.random, signed.as_bytes());
        format!(
            "{signed}.{}",
            base64url(signature.expect("signed").as_ref())
        )
    }
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            text.push(ALPHABET[(bits >> (18 - 6 * index) & 63) as usize].into());
        }
    }
    text
}
