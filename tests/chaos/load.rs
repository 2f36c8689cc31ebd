//! Callers who refresh their charts without pause, and count what fails.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::stage::{CALLERS, token};
use support::client::encoded;

/// Between two requests of a caller.
const PAUSE: Duration = Duration::from_millis(40);

/// No caller waits longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Points of the range query.
const POINTS: u64 = 240;

/// Where requests go: one of these after the other.
pub type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

type Client = hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// Callers at work.
pub struct Load {
    stop: watch::Sender<bool>,
    callers: JoinSet<Tally>,
}

/// What came of their requests.
#[derive(Debug, Default)]
pub struct Tally {
    pub requests: usize,
    pub failures: Vec<Failure>,
    pub slowest: Duration,
}

/// Something other than a good and whole answer.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "the texts are there to be printed")]
pub enum Failure {
    /// A status that is not 200, with the text.
    Status(u16, String),
    /// No head, or not all of the body.
    Cut(String),
    /// An answer that looks good, and does not hold what it must.
    Wrong(String),
    /// None in time.
    Late,
}

impl Load {
    /// Starts all callers against one address.
    pub fn start(address: SocketAddr) -> Self {
        Self::over(Arc::new(Mutex::new(vec![address])))
    }

    /// Starts all callers against several.
    pub fn over(addresses: Addresses) -> Self {
        Self::spoken("http", addresses, || client(&[]))
    }

    /// Starts all callers against one address, over HTTPS, trusting these authorities.
    pub fn over_https(address: SocketAddr, authorities: &[&str]) -> Self {
        let addresses = Arc::new(Mutex::new(vec![address]));
        Self::spoken("https", addresses, || client(authorities))
    }

    fn spoken(scheme: &'static str, addresses: Addresses, client: impl Fn() -> Client) -> Self {
        let stop = watch::Sender::new(false);
        let mut callers = JoinSet::new();
        let turn = Arc::new(AtomicUsize::new(0));
        for caller in 0..CALLERS {
            let url = Url {
                scheme,
                addresses: addresses.clone(),
                turn: turn.clone(),
            };
            callers.spawn(call(caller, client(), url, stop.subscribe()));
        }
        Self { stop, callers }
    }

    /// Lets them finish what they have begun.
    pub async fn stop(self) -> Tally {
        self.stop.send_replace(true);
        let tallies = self.callers.join_all().await;
        tallies.into_iter().fold(Tally::default(), |mut sum, one| {
            sum.requests += one.requests;
            sum.failures.extend(one.failures);
            sum.slowest = sum.slowest.max(one.slowest);
            sum
        })
    }
}

impl Tally {
    /// Prints the line of a case.
    pub fn print(&self, case: &str) {
        println!(
            "case {case} requests {} failed {} (slowest {} ms)",
            self.requests,
            self.failures.len(),
            self.slowest.as_millis()
        );
    }

    /// Prints it, and demands that nothing failed.
    pub fn expect_none_failed(&self, case: &str) {
        self.print(case);
        // A case may be over soon, and the machine busy.
        assert!(self.requests >= 5, "there was no load");
        let few: Vec<_> = self.failures.iter().take(5).collect();
        assert!(
            self.failures.is_empty(),
            "{} failed: {few:#?}",
            self.failures.len()
        );
    }
}

/// A client, with connections of its own.
pub fn client(authorities: &[&str]) -> Client {
    let mut roots = rustls::RootCertStore::empty();
    for pem in authorities {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        roots.add(certificate).expect("an authority");
    }
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector)
}

/// Where a caller's requests go, in turn.
struct Url {
    scheme: &'static str,
    addresses: Addresses,
    turn: Arc<AtomicUsize>,
}

impl Url {
    fn next(&self) -> String {
        let addresses = self.addresses.lock().expect("not poisoned");
        let address = addresses[self.turn.fetch_add(1, Relaxed) % addresses.len()];
        format!("{}://{address}", self.scheme)
    }
}

async fn call(caller: usize, client: Client, url: Url, stop: watch::Receiver<bool>) -> Tally {
    let mut tally = Tally::default();
    // Not all at once.
    tokio::time::sleep(PAUSE * caller as u32 / CALLERS as u32).await;
    while !*stop.borrow() {
        let url = url.next();
        let range = tally.requests % 2 == 1;
        let begun = Instant::now();
        let outcome = tokio::time::timeout(PATIENCE, ask(&client, &url, caller, range)).await;
        tally.requests += 1;
        tally.slowest = tally.slowest.max(begun.elapsed());
        tally
            .failures
            .extend(outcome.unwrap_or(Err(Failure::Late)).err());
        tokio::time::sleep(PAUSE).await;
    }
    tally
}

/// Asks once.
pub async fn ask(client: &Client, url: &str, caller: usize, range: bool) -> Result<(), Failure> {
    let query = format!("vector({caller})");
    let path = if range {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        let (start, end) = ((now - POINTS * 15).to_string(), now.to_string());
        let pairs = [
            ("query", &*query),
            ("start", &start),
            ("end", &end),
            ("step", "15"),
        ];
        format!("/api/v1/query_range?{}", encoded(&pairs))
    } else {
        format!("/api/v1/query?{}", encoded(&[("query", &query)]))
    };
    let request = Request::get(format!("{url}{path}"))
        .header("authorization", format!("Bearer {}", token(caller)))
        .body(Empty::new())
        .expect("a request");
    let cut = |error: &dyn std::error::Error| {
        let source = error.source().map(ToString::to_string);
        Failure::Cut(format!("{error}: {}", source.unwrap_or_default()))
    };
    let answer = client.request(request).await.map_err(|error| cut(&error))?;
    let status = answer.status().as_u16();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|error| cut(&error))?;
    let body = body.to_bytes();
    if status != 200 {
        return Err(Failure::Status(
            status,
            String::from_utf8_lossy(&body).into_owned(),
        ));
    }
    let wrong =
        || Failure::Wrong(String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned());
    let json: serde_json::Value = serde_json::from_slice(&body).map_err(|_| wrong())?;
    let result = &json["data"]["result"][0];
    let expected = caller.to_string();
    let good = if range {
        let values = result["values"].as_array();
        values.is_some_and(|values| values.len() as u64 == POINTS + 1)
    } else {
        result["value"][1] == *expected
    };
    if good { Ok(()) } else { Err(wrong()) }
}
