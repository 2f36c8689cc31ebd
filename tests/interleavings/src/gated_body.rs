//! The gate before a connection's body.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use loom::future::block_on;

use crate::model::every_order;
use crate::write_gate::{GatedBody, WriteGate};

/// A body with so many pieces, each as much as may be given ahead.
struct Pieces(usize);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(rest) = self.0.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.0 = rest;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 16 * 1024])))))
    }
}

fn next(body: &mut GatedBody<Pieces>) -> bool {
    block_on(poll_fn(|context| Pin::new(&mut *body).poll_frame(context))).is_some()
}

#[test]
fn a_body_that_waits_is_asked_again_once_the_socket_has_taken_something() {
    every_order(|| {
        let gate = WriteGate::default();
        let mut body = GatedBody::new(Pieces(2), Some(gate.clone()));
        gate.wrote(false);
        let socket = loom::thread::spawn(move || gate.wrote(true));
        // One that nobody wakes would be waited for here for ever, which loom finds.
        assert!(next(&mut body));
        socket.join().expect("no panic");
    });
}

#[test]
fn a_body_that_gives_while_the_socket_takes_is_not_forgotten() {
    every_order(|| {
        let gate = WriteGate::default();
        let mut body = GatedBody::new(Pieces(2), Some(gate.clone()));
        let socket = loom::thread::spawn({
            let gate = gate.clone();
            move || gate.wrote(true)
        });
        assert!(next(&mut body));
        socket.join().expect("no panic");
        // What was given is taken, at the latest, now.
        let socket = loom::thread::spawn(move || gate.wrote(true));
        assert!(next(&mut body));
        socket.join().expect("no panic");
    });
}
