//! Bounds the frames of an HTTP/2 connection that carry nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE and unknown
//! ones. Each costs the reader more than the sender, and h2 counts none of them. What it counts itself (resets, empty
//! DATA, CONTINUATION) is limited along with the listener's other settings.

use std::time::Duration;

use tokio::time::Instant;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many such frames may come in a burst, on top of those that traffic allows.
const BURST: u32 = 2_000;

/// One more is allowed each time this passes.
const REFILL_INTERVAL: Duration = Duration::from_millis(50);

/// One more is allowed for so many bytes of responses. Go's client sends WINDOW_UPDATE twice for each 4 KiB; hyper's
/// may send a PING for each round trip while it reads.
const BYTES_PER_FRAME: usize = 1024;

const HEAD: usize = 9;

/// Follows the frames of a connection and counts those that carry nothing.
pub(super) struct Frames {
    state: State,
    left: u32,
    /// When `left` was last refilled.
    counted: Instant,
    /// Bytes of responses since then.
    written: usize,
}

enum State {
    /// So many bytes of the preface have arrived.
    Preface(usize),
    /// HTTP/1.1, or whatever follows it.
    None,
    /// So many bytes of a frame's header have arrived.
    Head([u8; HEAD], usize),
    /// So many bytes of the frame's payload are still to come.
    Payload(usize),
}

impl Frames {
    /// For a new connection.
    pub(super) fn new() -> Self {
        Self {
            state: State::Preface(0),
            left: BURST,
            counted: Instant::now(),
            written: 0,
        }
    }

    /// Follows bytes that were read. `false`: too many frames that carry nothing.
    #[must_use]
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match &mut self.state {
                State::None => return true,
                State::Preface(came) => {
                    let length = bytes.len().min(PREFACE.len() - *came);
                    if bytes[..length] != PREFACE[*came..*came + length] {
                        self.state = State::None;
                        return true;
                    }
                    *came += length;
                    bytes = &bytes[length..];
                    if *came == PREFACE.len() {
                        self.state = State::Head([0; HEAD], 0);
                    }
                }
                State::Head(head, came) => {
                    let length = bytes.len().min(HEAD - *came);
                    head[*came..*came + length].copy_from_slice(&bytes[..length]);
                    *came += length;
                    bytes = &bytes[length..];
                    if *came == HEAD {
                        let [a, b, c, kind, ..] = *head;
                        self.state = State::Payload(u32::from_be_bytes([0, a, b, c]) as usize);
                        if carries_nothing(kind) && !self.take_one() {
                            return false;
                        }
                    }
                }
                State::Payload(left) => {
                    let length = bytes.len().min(*left);
                    *left -= length;
                    bytes = &bytes[length..];
                }
            }
            if matches!(self.state, State::Payload(0)) {
                self.state = State::Head([0; HEAD], 0);
            }
        }
        true
    }

    /// Notes bytes that were written, for which more frames are allowed.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes);
    }

    fn take_one(&mut self) -> bool {
        if self.left == 0 {
            let earned = self.counted.elapsed().as_millis() / REFILL_INTERVAL.as_millis();
            let earned = usize::try_from(earned).unwrap_or(usize::MAX);
            let earned = earned.saturating_add(self.written / BYTES_PER_FRAME);
            self.left = u32::try_from(earned).unwrap_or(BURST).min(BURST);
            self.counted = Instant::now();
            self.written = 0;
        }
        let take_one = self.left.checked_sub(1);
        self.left = take_one.unwrap_or(0);
        take_one.is_some()
    }
}

/// All but DATA, HEADERS, RST_STREAM and CONTINUATION.
fn carries_nothing(kind: u8) -> bool {
    !matches!(kind, 0 | 1 | 3 | 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, content: usize) -> Vec<u8> {
        let length = u32::try_from(content).expect("short").to_be_bytes();
        let head = [length[1], length[2], length[3], kind, 0, 0, 0, 0, 0];
        let mut frame = head.to_vec();
        // Looks like a PING, were the length not minded.
        frame.extend([0, 0, 8, 6, 0, 0, 0, 0, 0].iter().cycle().take(content));
        frame
    }

    fn begun() -> Frames {
        let mut frames = Frames::new();
        assert!(frames.received(PREFACE));
        frames
    }

    #[tokio::test(start_paused = true)]
    async fn h35_frames_that_carry_nothing_are_bounded_and_others_are_not() {
        for kind in [2, 4, 5, 6, 7, 8, 10, 16, 255] {
            let mut frames = begun();
            let frame = frame(kind, 8);
            for _ in 0..BURST {
                assert!(frames.received(&frame));
            }
            assert!(!frames.received(&frame), "{kind}");
        }
        let mut frames = begun();
        for kind in [0, 1, 3, 9] {
            let frame = frame(kind, 100);
            assert!((0..10 * BURST).all(|_| frames.received(&frame)), "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn h35_more_may_come_with_time_and_with_answers() {
        let mut frames = begun();
        let ping = frame(6, 8);
        let most = |frames: &mut Frames| (0..).take_while(|_| frames.received(&ping)).count();
        assert_eq!(most(&mut frames), BURST as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(most(&mut frames), 20);
        frames.sent(100 * BYTES_PER_FRAME);
        assert_eq!(most(&mut frames), 100);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(most(&mut frames), BURST as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn h35_pieces_make_no_difference_and_http_1_is_not_looked_at() {
        let flood = frame(6, 8).repeat(BURST as usize + 1);
        let flood = [PREFACE, &frame(0, 3000), &frame(0, 0), &flood].concat();
        for size in [1, 2, 7, 9, 10, 1000] {
            let mut frames = Frames::new();
            assert!(
                !flood.chunks(size).all(|piece| frames.received(piece)),
                "{size}"
            );
        }
        let mut frames = Frames::new();
        assert!(frames.received(b"PRI * HTTP/1.1\r\n"));
        assert!(frames.received(&flood));
    }
}
