//! A Prometheus on the PATH as a weaker oracle: its `format_query` says whether a text is valid, and prints it.

#![allow(
    unreachable_pub,
    reason = "shared by several suites, each a crate that nobody reaches into"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A Prometheus without data, on a free port. Ends with this value.
pub struct Formatter {
    process: Child,
    address: String,
    data: std::path::PathBuf,
}

impl Formatter {
    /// Starts it, and waits until it listens.
    pub fn start() -> Self {
        let data = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "formatter-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&data).expect("a directory for its data");
        let configuration = data.join("prometheus.yml");
        std::fs::write(&configuration, "{}\n").expect("its configuration");
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("neither Go nor Prometheus is there");
        let log = process.stderr.take().expect("its log is piped");
        let mut lines = BufReader::new(log).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .filter(|line| line.contains("Listening on"))
            .find_map(|line| {
                let address = line.split("address=").nth(1)?;
                Some(address.split_whitespace().next()?.to_owned())
            })
            .expect("it says where it listens");
        // Its log must be read, or it stops.
        std::thread::spawn(move || lines.for_each(drop));
        let formatter = Self {
            process,
            address,
            data,
        };
        while formatter
            .get("/-/ready")
            .is_none_or(|(status, _)| status != 200)
        {
            std::thread::yield_now();
        }
        formatter
    }

    /// The text as Prometheus prints it, or its error.
    pub fn format(&self, query: &str) -> Result<Value, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (_, body) = self
            .get(&format!("/api/v1/format_query?query={encoded}"))
            .expect("it answers");
        let answer: Value = serde_json::from_str(&body).expect("its answer is JSON");
        match answer.get("data") {
            Some(data) => Ok(data.clone()),
            None => Err(answer["error"].to_string()),
        }
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n",
            self.address
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }
}

impl Drop for Formatter {
    fn drop(&mut self) {
        // Nothing can be done about a failure here.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// Compares two printed queries, of which the second has matchers on `label` in addition.
pub fn compare(before: &Value, after: &Value, label: &str) -> Result<(), String> {
    let printed = |query: &Value| {
        let text: String = query.as_str().unwrap_or("").split_whitespace().collect();
        strip(&text, &label.replace(' ', ""))
    };
    if printed(before) == printed(after) {
        Ok(())
    } else {
        Err("the printed query".to_owned())
    }
}

/// Without all matchers on the label, the caller's own among them, and without empty braces.
fn strip(text: &str, label: &str) -> String {
    let mut text = text.to_owned();
    for name in [format!("{label}="), format!("\"{label}\"=")] {
        while let Some(start) = text.find(&name) {
            let value = &text[start + name.len()..];
            let quote = value.find('"').expect("a value in quotes");
            let length = value[quote + 1..].find('"').expect("the end of it") + quote + 2;
            let mut end = start + name.len() + length;
            let mut start = start;
            if text[..start].ends_with(',') {
                start -= 1;
            } else if text[end..].starts_with(',') {
                end += 1;
            }
            text.replace_range(start..end, "");
        }
    }
    text.replace("{}", "")
}
