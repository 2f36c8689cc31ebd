//! Bounds the frames of an HTTP/2 connection that carry nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE and unknown
//! ones. Each costs the reader more than the sender, and h2 counts none of them. What it counts itself (resets, empty
//! DATA, CONTINUATION) is set beside the listener's other limits.

use std::time::Duration;

use tokio::time::Instant;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So many may come at once, on top of those that come with traffic.
const AT_ONCE: u32 = 2_000;

/// And one more after this long.
const ONE_MORE_EVERY: Duration = Duration::from_millis(50);

/// And one for each so many bytes of answers. Go's client sends WINDOW_UPDATE twice for each 4 KiB; hyper's may send a
/// PING for each round trip while it reads.
const BYTES_FOR_ONE: usize = 1024;

const HEAD: usize = 9;

/// What is known of a connection's frames.
pub(super) struct Frames {
    state: State,
    left: u32,
    /// When `left` was last added to for the time that passed.
    counted: Instant,
    /// Bytes of answers that were not counted yet.
    written: usize,
}

enum State {
    /// So many bytes of the preface came.
    Preface(usize),
    /// HTTP/1.1, or whatever follows it.
    None,
    /// So many bytes of a frame's head.
    Head([u8; HEAD], usize),
    /// So many bytes of its content are to come.
    Content(usize),
}

impl Frames {
    /// Of a connection on which nothing came.
    pub(super) fn new() -> Self {
        Self {
            state: State::Preface(0),
            left: AT_ONCE,
            counted: Instant::now(),
            written: 0,
        }
    }

    /// Looks at what came. `false`: too many frames that carry nothing.
    pub(super) fn came(&mut self, mut bytes: &[u8]) -> bool {
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
                        self.state = State::Content(u32::from_be_bytes([0, a, b, c]) as usize);
                        if carries_nothing(kind) && !self.one_less() {
                            return false;
                        }
                    }
                }
                State::Content(left) => {
                    let length = bytes.len().min(*left);
                    *left -= length;
                    bytes = &bytes[length..];
                }
            }
            if matches!(self.state, State::Content(0)) {
                self.state = State::Head([0; HEAD], 0);
            }
        }
        true
    }

    /// So many bytes went out.
    pub(super) fn went(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes);
    }

    fn one_less(&mut self) -> bool {
        if self.left == 0 {
            let earned = self.counted.elapsed().as_millis() / ONE_MORE_EVERY.as_millis();
            let earned = usize::try_from(earned).unwrap_or(usize::MAX);
            let earned = earned.saturating_add(self.written / BYTES_FOR_ONE);
            self.left = u32::try_from(earned).unwrap_or(AT_ONCE).min(AT_ONCE);
            self.counted = Instant::now();
            self.written = 0;
        }
        let one_less = self.left.checked_sub(1);
        self.left = one_less.unwrap_or(0);
        one_less.is_some()
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
        assert!(frames.came(PREFACE));
        frames
    }

    #[tokio::test(start_paused = true)]
    async fn h35_frames_that_carry_nothing_are_bounded_and_others_are_not() {
        for kind in [2, 4, 5, 6, 7, 8, 10, 16, 255] {
            let mut frames = begun();
            let frame = frame(kind, 8);
            for _ in 0..AT_ONCE {
                assert!(frames.came(&frame));
            }
            assert!(!frames.came(&frame), "{kind}");
        }
        let mut frames = begun();
        for kind in [0, 1, 3, 9] {
            let frame = frame(kind, 100);
            assert!((0..10 * AT_ONCE).all(|_| frames.came(&frame)), "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn h35_more_may_come_with_time_and_with_answers() {
        let mut frames = begun();
        let ping = frame(6, 8);
        let most = |frames: &mut Frames| (0..).take_while(|_| frames.came(&ping)).count();
        assert_eq!(most(&mut frames), AT_ONCE as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(most(&mut frames), 20);
        frames.went(100 * BYTES_FOR_ONE);
        assert_eq!(most(&mut frames), 100);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(most(&mut frames), AT_ONCE as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn h35_pieces_make_no_difference_and_http_1_is_not_looked_at() {
        let flood = frame(6, 8).repeat(AT_ONCE as usize + 1);
        let flood = [PREFACE, &frame(0, 3000), &frame(0, 0), &flood].concat();
        for size in [1, 2, 7, 9, 10, 1000] {
            let mut frames = Frames::new();
            assert!(
                !flood.chunks(size).all(|piece| frames.came(piece)),
                "{size}"
            );
        }
        let mut frames = Frames::new();
        assert!(frames.came(b"PRI * HTTP/1.1\r\n"));
        assert!(frames.came(&flood));
    }
}
