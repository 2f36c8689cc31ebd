//! The log's buffers.

use std::io::{self, Write};

use crate::lines::Lines;
use crate::model::every_order;
use crate::model::sync::mpsc::{Sender, channel};

/// Tells each piece that is written.
struct Told(Sender<Vec<u8>>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(bytes.to_vec());
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
fn a_line_wakes_the_thread_in_whatever_it_is_doing() {
    every_order(|| {
        let (sender, written) = channel();
        let (lines, _writing) = Lines::start(Told(sender)).expect("a thread");
        for text in ["1", "2"] {
            leave(&lines, text);
            // One that nobody is woken for would be waited for here for ever, which loom finds.
            assert_eq!(written.recv(), [text.as_bytes(), b"\n"].concat());
        }
    });
}

#[test]
fn lines_of_two_threads_are_all_written_before_the_end() {
    every_order(|| {
        let (sender, written) = channel();
        let (lines, writing) = Lines::start(Told(sender)).expect("a thread");
        let other = lines.another();
        let thread = loom::thread::spawn(move || leave(&other, "2"));
        leave(&lines, "1");
        thread.join().expect("no panic");
        drop(writing);
        let mut pieces = [written.recv(), written.recv()];
        pieces.sort();
        assert_eq!(pieces, [b"1\n", b"2\n"]);
    });
}
