//! Which part of the test data a Prometheus gets, and its way into blocks that Prometheus reads.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::series::{self, Series};
use crate::{clock, process, random};

/// Part of the cache's key: another number makes the blocks anew. To be raised with every change
/// of the series.
const GENERATION: u32 = 4;

/// Hours of history before the current one; Headlamp's default chart is 24 hours long.
const HOURS_BEFORE: u64 = 26;

/// Hours after the start of the current one, so that data made once serve for hours: a demo may be left
/// running.
const HOURS_AFTER: u64 = 4;

/// A selection of the test data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    namespaces: Option<Vec<String>>,
    /// Metrics with this prefix are counted to a namespace by that label.
    labels: Vec<(String, String)>,
    pub(crate) rules: bool,
    pub(crate) exporter: bool,
    /// Namespaces that have a target.
    pub(crate) targets: Vec<String>,
}

impl Data {
    /// All series, and all rules.
    pub fn everything() -> Self {
        Self {
            namespaces: None,
            labels: Vec::new(),
            rules: true,
            exporter: false,
            targets: Vec::new(),
        }
    }

    /// The series whose `namespace` label is one of these, and the rules of these.
    pub fn only<'a>(namespaces: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            namespaces: Some(namespaces.into_iter().map(str::to_owned).collect()),
            ..Self::everything()
        }
    }

    /// No series at all.
    pub fn nothing() -> Self {
        Self::only([]).without_rules()
    }

    /// Counts metrics whose name starts with `prefix` to a namespace by another label:
    /// `("keda_", "exported_namespace")`.
    #[must_use]
    pub fn counting(mut self, prefix: &str, label: &str) -> Self {
        self.labels.push((prefix.to_owned(), label.to_owned()));
        self
    }

    /// No recording or alerting rules: what they write depends on when they ran.
    #[must_use]
    pub fn without_rules(mut self) -> Self {
        self.rules = false;
        self
    }

    /// Scrapes an exporter too, once a second, which gives targets, metadata and exemplars.
    #[must_use]
    pub fn with_exporter(mut self) -> Self {
        self.exporter = true;
        self
    }

    /// The same, and targets of these namespaces, which tell different things of the same metrics.
    #[must_use]
    pub fn scraping<'a>(mut self, namespaces: impl IntoIterator<Item = &'a str>) -> Self {
        self.targets = namespaces.into_iter().map(str::to_owned).collect();
        self.with_exporter()
    }

    /// Whether something of that namespace belongs to the selection; `""` is what has none.
    pub(crate) fn includes(&self, namespace: &str) -> bool {
        self.namespaces
            .as_ref()
            .is_none_or(|namespaces| namespaces.iter().any(|one| one == namespace))
    }

    fn selects(&self, series: &Series) -> bool {
        let label = self
            .labels
            .iter()
            .find(|(prefix, _)| series.name.starts_with(prefix.as_str()))
            .map_or("namespace", |(_, label)| label.as_str());
        self.includes(series.label(label).unwrap_or_default())
    }

    /// Puts the blocks of this selection into a folder, made by `promtool` or taken from the
    /// cache, where they are kept per hour.
    pub(crate) fn write_blocks(
        &self,
        cache: &Path,
        promtool: &Path,
        target: &Path,
    ) -> io::Result<()> {
        let hour = current_hour();
        let key = format!(
            "{GENERATION} {hour} {:?} {:?}",
            self.namespaces, self.labels
        );
        let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
        let name: String = digest.as_ref()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let cached = cache.join(format!("prometheus-data-{hour}-{name}"));
        fs::create_dir_all(cache)?;
        // One maker at a time, of all processes: the others wait and find the blocks made.
        let lock = File::create(cache.join("lock"))?;
        lock.lock()?;
        if !cached.is_dir() {
            remove_old(cache, hour);
            let made = cache.join(format!("making-{}", random::uuid()));
            fs::create_dir_all(made.join("blocks"))?;
            let moved = self
                .make_blocks(hour, promtool, &made)
                .and_then(|()| fs::rename(made.join("blocks"), &cached));
            let _ = fs::remove_dir_all(&made);
            moved?;
        }
        drop(lock);
        copy(&cached, target)
    }

    /// The samples of this selection around now as text, with times in milliseconds.
    pub(crate) fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        self.write_samples(current_hour(), 1000, &mut text)?;
        Ok(text)
    }

    /// Writes the samples around an hour, with times in so many parts of a second. False if there are none.
    fn write_samples(&self, hour: u64, parts: u64, file: &mut impl Write) -> io::Result<bool> {
        let times = (hour - HOURS_BEFORE * 3600, hour + HOURS_AFTER * 3600);
        let mut any = false;
        for series in series::all().iter().filter(|series| self.selects(series)) {
            write_series(file, series, times, parts)?;
            any = true;
        }
        Ok(any)
    }

    fn make_blocks(&self, hour: u64, promtool: &Path, folder: &Path) -> io::Result<()> {
        let text = folder.join("data.om");
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&text)?);
        let any = self.write_samples(hour, 1, &mut file)?;
        file.write_all(b"# EOF\n")?;
        file.flush()?;
        if !any {
            return Ok(());
        }
        let promtool = process::find(promtool)
            .ok_or_else(|| io::Error::other(format!("{} is not installed", promtool.display())))?;
        // promtool reads the whole text once for every block: few, long blocks.
        let output = Command::new(promtool)
            .args([
                "tsdb",
                "create-blocks-from",
                "--max-block-duration=64h",
                "openmetrics",
            ])
            .arg(&text)
            .arg(folder.join("blocks"))
            .output()?;
        if output.status.success() {
            Ok(())
        } else {
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(io::Error::other(format!(
                "promtool refuses the data: {message}"
            )))
        }
    }
}

fn current_hour() -> u64 {
    clock::now() / 3600 * 3600
}

fn write_series(
    file: &mut impl Write,
    series: &Series,
    (from, to): (u64, u64),
    parts: u64,
) -> io::Result<()> {
    let labels: Vec<String> = series
        .labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    let prefix = format!("{}{{{}}} ", series.name, labels.join(","));
    for time in (from..to).step_by(usize::try_from(series.step).unwrap_or(60)) {
        let (value, time) = (series.value(time), time * parts);
        file.write_all(prefix.as_bytes())?;
        if value.fract() == 0.0 {
            writeln!(file, "{value:.0} {time}")?;
        } else {
            writeln!(file, "{value:.4} {time}")?;
        }
    }
    Ok(())
}

/// Removes data of hours long gone, and what processes have left behind that were killed; errors
/// are for the next time.
fn remove_old(cache: &Path, hour: u64) {
    let has_proc = Path::new("/proc/self").exists();
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let number = |prefix: &str| -> Option<u64> {
            let rest = name.strip_prefix(prefix)?;
            rest.split('-').next()?.parse().ok()
        };
        let is_past = number("prometheus-data-").is_some_and(|made| made + 2 * 3600 < hour);
        let is_orphan = number("prometheus-")
            .is_some_and(|process| has_proc && !Path::new(&format!("/proc/{process}")).exists());
        if is_past || is_orphan || name.starts_with("making-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
