//! What a process and its children use, as `/proc` tells it. Linux only.

use std::fs;
use std::io;
use std::process::Command;
use std::sync::LazyLock;

/// Ticks of the clock in which the kernel tells processor time.
static TICKS_PER_SECOND: LazyLock<u64> = LazyLock::new(|| {
    let output = Command::new("getconf").arg("CLK_TCK").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(100)
});

/// A contender's processes: those that were started, and all below them.
#[derive(Debug)]
pub(crate) struct Processes(Vec<u32>);

impl Processes {
    /// All processes that descend from `roots` now. Workers that start later are not counted.
    ///
    /// # Errors
    /// If there is no `/proc`.
    pub(crate) fn of(roots: &[u32]) -> io::Result<Self> {
        let mut all = roots.to_vec();
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end while the list is read.
            if let Ok(fields) = stat(id) {
                parents.push((id, fields[1].parse::<u32>().unwrap_or(0)));
            }
        }
        let mut next = 0;
        while next < all.len() {
            let parent = all[next];
            all.extend(
                parents
                    .iter()
                    .filter(|(_, of)| *of == parent)
                    .map(|(id, _)| *id),
            );
            next += 1;
        }
        Ok(Self(all))
    }

    /// Processor time so far, user and system together, in microseconds.
    ///
    /// # Errors
    /// If one of them has ended.
    pub(crate) fn cpu_us(&self) -> io::Result<u64> {
        let mut ticks = 0;
        for id in &self.0 {
            let fields = stat(*id)?;
            // utime and stime: the 14th and 15th field of proc(5).
            for field in &fields[11..13] {
                ticks += field.parse::<u64>().map_err(io::Error::other)?;
            }
        }
        Ok(ticks * 1_000_000 / *TICKS_PER_SECOND)
    }

    /// Resident memory now, in bytes. What processes share counts for each of them.
    ///
    /// # Errors
    /// If one of them has ended.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most resident memory that each ever had, added up, in bytes.
    ///
    /// # Errors
    /// If one of them has ended.
    pub(crate) fn peak_resident_bytes(&self) -> io::Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, key: &str) -> io::Result<u64> {
        let mut kibibytes = 0;
        for id in &self.0 {
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
            kibibytes += number
                .and_then(|number| number.parse::<u64>().ok())
                .ok_or_else(|| io::Error::other(format!("no {key} of process {id}")))?;
        }
        Ok(kibibytes * 1024)
    }
}

/// The fields of `/proc/ID/stat` from the third one, the state, on: the second, the name, may hold spaces.
fn stat(id: u32) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, rest) = text
        .rsplit_once(") ")
        .ok_or_else(|| io::Error::other("/proc is not as proc(5) says"))?;
    let fields: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
    if fields.len() < 13 {
        return Err(io::Error::other("/proc is not as proc(5) says"));
    }
    Ok(fields)
}
