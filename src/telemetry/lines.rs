//! Buffers for log lines. A worker leaves its line in a buffer and goes on; a thread writes what has gathered there,
//! many lines at once.
//!
//! A channel would wake that thread, and write, once for each line: a fifth of what a request costs.

use std::io::{self, Write};
use std::time::Duration;
#[cfg(not(loom))]
use std::{sync, thread};

use tracing_subscriber::fmt::MakeWriter;

use self::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use self::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use self::thread::Thread;
#[cfg(loom)]
use crate::model::{sync, thread};

/// How much may wait in one buffer, in bytes, before lines are lost: some thousand lines.
const MAX_WAITING_BYTES: usize = 2 * 1024 * 1024;

/// Capacity that an emptied buffer keeps, in bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// How long lines gather after a write. The first line after a pause is written at once. At 40,000 lines a second about
/// as much gathers as a pipe takes in one write, so that the thread and the reader do not have to alternate.
const GATHERED_FOR: Duration = Duration::from_millis(5);

/// How long the shutdown waits for a reader that does not read.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(1);

/// A buffer for lines. Clones share it; [`Lines::another`] does not, and is for another thread.
#[derive(Clone)]
pub struct Lines {
    buffer: Arc<Buffer>,
    shared: Arc<Shared>,
}

/// The thread that writes. When this is dropped, what waits is written and the thread ends.
pub struct Writing {
    shared: Arc<Shared>,
    thread: Thread,
    ended: mpsc::Receiver<()>,
}

/// How many lines were lost so far.
#[derive(Clone)]
pub struct Lost(Arc<Shared>);

#[derive(Default)]
struct Buffer(Mutex<Vec<u8>>);

#[derive(Default)]
struct Shared {
    buffers: Mutex<Vec<Arc<Buffer>>>,
    /// `None` before the thread has begun.
    thread: OnceLock<Thread>,
    /// Whether the thread will check the buffers again without being woken.
    awake: AtomicBool,
    ending: AtomicBool,
    lost: AtomicU64,
}

impl Lines {
    /// Starts a thread that writes to `out`.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<(Self, Writing)> {
        let shared = Arc::new(Shared::default());
        let (end, ended) = mpsc::channel();
        let thread = thread::Builder::new().name("log".to_owned()).spawn({
            let shared = shared.clone();
            move || {
                shared.write(out);
                let _ = end.send(());
            }
        })?;
        let thread = thread.thread().clone();
        let _ = shared.thread.set(thread.clone());
        let writing = Writing {
            shared: shared.clone(),
            thread,
            ended,
        };
        Ok((Self::within(shared), writing))
    }

    fn within(shared: Arc<Shared>) -> Self {
        let buffer = Arc::<Buffer>::default();
        lock(&shared.buffers).push(buffer.clone());
        Self { buffer, shared }
    }

    /// A buffer of its own, which is written to the same place.
    pub fn another(&self) -> Self {
        Self::within(self.shared.clone())
    }

    /// Buffers the line that `write` appends, without a line feed. It is lost, and counted, when too many wait.
    pub fn leave(&self, write: impl FnOnce(&mut Vec<u8>)) {
        {
            let mut waiting = lock(&self.buffer.0);
            if waiting.len() >= MAX_WAITING_BYTES {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            write(&mut waiting);
            waiting.push(b'\n');
        }
        self.shared.wake();
    }

    /// How many were lost, of all buffers.
    pub fn lost(&self) -> Lost {
        Lost(self.shared.clone())
    }
}

impl Lost {
    pub fn count(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn wake(&self) {
        // Read first: many threads may read it at the same time, one only may write.
        if !self.awake.load(Ordering::SeqCst)
            && !self.awake.swap(true, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    #[allow(clippy::disallowed_methods, reason = "the log's own thread")]
    fn write(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        self.awake.store(true, Ordering::SeqCst);
        loop {
            // Before the check: what is left before the end is still written.
            let ending = self.ending.load(Ordering::SeqCst);
            if self.write_waiting(&mut out, &mut taken) {
                thread::sleep(GATHERED_FOR);
                continue;
            }
            if ending {
                return;
            }
            // A swap, not a store: as cheap, and ordered with the swaps of those who have left a line.
            self.awake.swap(false, Ordering::SeqCst);
            // A line that was left before this, and after the check above, has woken nobody.
            if self.write_waiting(&mut out, &mut taken) {
                self.awake.store(true, Ordering::SeqCst);
                thread::sleep(GATHERED_FOR);
                continue;
            }
            if !self.ending.load(Ordering::SeqCst) {
                thread::park();
            }
            self.awake.store(true, Ordering::SeqCst);
        }
    }

    /// Whether there was anything to write.
    fn write_waiting(&self, out: &mut impl Write, taken: &mut Vec<u8>) -> bool {
        let mut any = false;
        let buffers = lock(&self.buffers).clone();
        for buffer in buffers {
            taken.clear();
            taken.shrink_to(KEPT_BYTES);
            std::mem::swap(&mut *lock(&buffer.0), taken);
            if !taken.is_empty() {
                any = true;
                // There is nobody left to tell.
                let _ = out.write_all(taken);
            }
        }
        if any {
            let _ = out.flush();
        }
        any
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        self.thread.unpark();
        let _ = self.ended.recv_timeout(LAST_LINES_WITHIN);
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            lines: self,
            text: Vec::new(),
        }
    }
}

/// A line that is written piece by piece. It is buffered when this is dropped.
pub struct Line<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let text = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        if !text.is_empty() {
            self.lines.leave(|waiting| waiting.extend_from_slice(text));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A line half written by a panic is a broken line, not a broken log.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Keeps what is written. Nothing is written while it is held.
    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn leave(lines: &Lines, text: &str) {
        lines.leave(|waiting| waiting.extend_from_slice(text.as_bytes()));
    }

    #[test]
    fn every_line_of_every_thread_is_written_once_and_in_its_order() {
        const THREADS: usize = 4;
        const EACH: usize = 5_000;
        let out = Out::default();
        let (lines, writing) = Lines::start(out.clone()).expect("a thread");
        thread::scope(|scope| {
            for number in 0..THREADS {
                let lines = lines.another();
                scope.spawn(move || {
                    for index in 0..EACH {
                        leave(&lines, &format!("{number} {index}"));
                        if index % 1_000 == 0 {
                            thread::yield_now();
                        }
                    }
                });
            }
        });
        drop(writing);
        let text = String::from_utf8(lock(&out.0).clone()).expect("text");
        for number in 0..THREADS {
            let prefix = format!("{number} ");
            let of_thread = text.lines().filter_map(|line| line.strip_prefix(&prefix));
            let indexes: Vec<usize> = of_thread.map(|index| index.parse().unwrap()).collect();
            assert!(indexes.iter().copied().eq(0..EACH), "of thread {number}");
        }
        assert_eq!(
            (text.lines().count(), lines.lost().count()),
            (THREADS * EACH, 0)
        );
    }

    #[test]
    fn a_lone_line_is_written_without_another_that_follows() {
        let (sender, written) = mpsc::channel();
        struct Told(mpsc::Sender<Vec<u8>>);
        impl Write for Told {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.send(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (lines, _writing) = Lines::start(Told(sender)).expect("a thread");
        for text in ["one", "two", "three"] {
            leave(&lines, text);
            let line = written.recv_timeout(Duration::from_secs(60));
            assert_eq!(line, Ok(format!("{text}\n").into_bytes()));
        }
    }

    #[test]
    fn what_too_slow_a_reader_does_not_take_is_lost_and_counted_and_holds_nobody_up() {
        let out = Out::default();
        let held = lock(&out.0);
        let (lines, writing) = Lines::start(out.clone()).expect("a thread");
        let line = "x".repeat(1023);
        let sent = 3 * MAX_WAITING_BYTES / 1024;
        for _ in 0..sent {
            leave(&lines, &line);
        }
        let lost = lines.lost().count() as usize;
        // The thread holds as much as waits behind it, at most.
        assert!(lost >= sent / 3, "{lost} of {sent}");
        drop(held);
        drop(writing);
        let written = lock(&out.0).len() / 1024;
        assert_eq!(written + lost, sent);
    }

    #[test]
    fn the_end_does_not_wait_for_ever_for_a_reader() {
        let out = Out::default();
        let _held = lock(&out.0);
        let (lines, writing) = Lines::start(out.clone()).expect("a thread");
        leave(&lines, "never read");
        drop(writing);
    }
}
