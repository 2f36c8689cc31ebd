//! Configurations of nginx: the upstream with its fixed answers, and the reverse proxies that are compared.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use standins::process::{Process, find};
use standins::tls::Issued;

use crate::Result;
use crate::cases::Size;

/// The path of the Kubernetes API that the gateway passes on.
pub(crate) const PASSED_PATH: &str = "/api/v1/namespaces/team-a/pods";

/// The value of `time` for which the upstream answers what it was asked.
pub(crate) const ECHO: u32 = 4;

/// The value of `time` for which it answers what [`leave`] has left there.
pub(crate) const LEFT: u32 = 5;

/// A free port, as far as one can know.
///
/// # Errors
/// If there is none.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Certificate and key as files.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl TlsFiles {
    /// Writes them to `folder`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn write(issued: &Issued, folder: &Path) -> io::Result<Self> {
        let files = Self {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
        };
        fs::write(&files.certificate, &issued.certificate_pem)?;
        fs::write(&files.key, &issued.key_pem)?;
        Ok(files)
    }

    fn directives(&self) -> String {
        format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;",
            self.certificate.display(),
            self.key.display()
        )
    }
}

/// A running nginx; it ends, with its workers, when this is dropped.
pub(crate) struct Nginx(Process);

impl Nginx {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.exited().is_some()
    }
}

impl Drop for Nginx {
    /// The workers of a master that is killed go on; one that is asked to end takes them along.
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        if self.0.signal("TERM").is_ok() {
            while !self.has_ended() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Starts nginx with what stands in its `http` block.
///
/// # Errors
/// If it is not installed.
pub(crate) fn start(name: &str, folder: &Path, http: &str) -> Result<Nginx> {
    let folder = folder.join(name);
    fs::create_dir_all(&folder)?;
    let mut text = String::new();
    // As root the workers would become another user, who may not read this folder.
    if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        text.push_str("user root;\n");
    }
    let path = folder.display();
    write!(
        text,
        "daemon off;
worker_processes auto;
pid {path}/nginx.pid;
error_log {path}/error.log warn;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  default_type application/json;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 300s;
  # The default closes a connection after 1,000 requests.
  keepalive_requests 1000000000;
  client_body_temp_path {path}/body;
  proxy_temp_path {path}/proxy;
  fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi;
  scgi_temp_path {path}/scgi;
{http}
}}
"
    )?;
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let output = File::create(folder.join("output"))?;
    let arguments = [
        "-p".as_ref(),
        folder.as_os_str(),
        "-c".as_ref(),
        file.as_os_str(),
    ];
    let installed = Path::new("/usr/sbin/nginx");
    let program = if installed.is_file() {
        installed
    } else {
        Path::new("nginx")
    };
    // Should this process be killed, the master is to end its workers, and not to be killed as well.
    let gently = ["--pdeathsig", "TERM", "--"].map(OsStr::new);
    let setpriv = Path::new("setpriv");
    let (program, arguments) = match find(setpriv) {
        None => (program, arguments.to_vec()),
        Some(_) => (
            setpriv,
            [&gently[..], &[program.as_os_str()], &arguments].concat(),
        ),
    };
    let started = Process::start(program, arguments, |command| {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::from(output));
    });
    let process = started.map_err(|error| format!("nginx cannot be run: {error}"))?;
    Ok(Nginx(process))
}

/// The upstream: plain HTTP for Prometheus, and HTTPS in front of the API server at `api`, which all requests
/// but the fixed ones go on to.
///
/// # Errors
/// If the answers cannot be written.
pub(crate) fn upstream(
    folder: &Path,
    plain: SocketAddr,
    secure: SocketAddr,
    tls: &TlsFiles,
    api: SocketAddr,
) -> Result<String> {
    let answers = folder.join("answers");
    fs::create_dir_all(&answers)?;
    let mut sizes = String::new();
    for size in Size::ALL {
        fs::write(answers.join(size.name()), answer(size.bytes()))?;
        writeln!(sizes, "    {} {};", size.time(), size.name())?;
    }
    writeln!(sizes, "    {LEFT} left;")?;
    let root = answers.display();
    let fixed = format!(
        r#"if ($arg_time = {ECHO}) {{ return 200 '{{"status":"success","data":"$arg_query"}}'; }}
      root {root}; try_files /$answer =404;"#
    );
    let tls = tls.directives();
    Ok(format!(
        r"  map $arg_time $answer {{
    default none;
{sizes}  }}
  open_file_cache max=10;
  open_file_cache_valid 1s;
  server {{
    listen {plain} backlog=4096;
    location = /api/v1/query {{ {fixed} }}
    location / {{ return 200 '{{}}'; }}
  }}
  server {{
    listen {secure} ssl http2 backlog=4096;
    {tls}
    location = {PASSED_PATH} {{ {fixed} }}
    location / {{
      proxy_pass https://{api};
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_read_timeout 1h;
    }}
  }}"
    ))
}

/// Has the upstream in `folder` answer with so many bytes to [`LEFT`].
///
/// # Errors
/// If they cannot be written.
pub(crate) fn leave(folder: &Path, bytes: usize) -> io::Result<()> {
    // Under another name first: the upstream keeps files open.
    let answers = folder.join("answers");
    fs::write(answers.join("new"), answer(bytes))?;
    fs::rename(answers.join("new"), answers.join("left"))
}

/// How a reverse proxy differs from the plainest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Differences<'a> {
    /// A buffered log of each request goes to this file.
    pub(crate) log: Option<&'a Path>,
    /// It serves HTTPS.
    pub(crate) tls: Option<&'a TlsFiles>,
    /// The upstream speaks HTTPS.
    pub(crate) to_https: bool,
}

/// A reverse proxy that checks nothing. What differs from nginx's defaults is in its favour: connections to the
/// upstream are kept, and an answer that a slow reader does not take is not written to disk.
pub(crate) fn reverse_proxy(
    address: SocketAddr,
    upstream: SocketAddr,
    differences: &Differences<'_>,
) -> String {
    let log = differences.log.map_or(String::new(), |file| {
        format!(
            "access_log {} combined buffer=64k flush=1s;",
            file.display()
        )
    });
    let (ssl, tls) = match differences.tls {
        Some(files) => (" ssl", files.directives()),
        None => ("", String::new()),
    };
    let scheme = if differences.to_https {
        "https"
    } else {
        "http"
    };
    format!(
        "  upstream prometheus {{ server {upstream}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen {address}{ssl} backlog=4096;
    {tls}
    {log}
    location / {{
      proxy_pass {scheme}://prometheus;
      proxy_http_version 1.1;
      proxy_set_header Connection '';
      proxy_max_temp_file_size 0;
    }}
  }}"
    )
}

/// A query's answer of exactly that many bytes.
fn answer(bytes: usize) -> Vec<u8> {
    let mut text = r#"{"status":"success","data":{"resultType":"vector","result":["#.to_owned();
    let end = r#"]},"infos":[""#;
    let close = r#""]}"#;
    let mut index = 0_u64;
    loop {
        let series = format!(
            r#"{}{{"metric":{{"namespace":"team-a","pod":"web-{index:06}"}},"value":[1700000000,"0.{:08}"]}}"#,
            if index > 0 { "," } else { "" },
            index.wrapping_mul(7_919_317) % 100_000_000,
        );
        if text.len() + series.len() + end.len() + close.len() > bytes {
            break;
        }
        text.push_str(&series);
        index += 1;
    }
    text.push_str(end);
    let rest = bytes - text.len() - close.len();
    text.push_str(&"x".repeat(rest));
    text.push_str(close);
    text.into_bytes()
}
