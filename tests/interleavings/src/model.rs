//! loom's locks, atomics and threads under the names that the files know.

pub(crate) mod sync {
    pub(crate) use std::sync::{OnceLock, PoisonError};

    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard, atomic};

    /// A channel without an end. loom's own, and its condition variables, lose wake-ups.
    pub(crate) mod mpsc {
        use std::collections::VecDeque;
        use std::convert::Infallible;
        use std::time::Duration;

        use loom::sync::{Arc, Mutex, Notify};

        type Shared<T> = Arc<(Mutex<VecDeque<T>>, Notify)>;

        pub(crate) struct Sender<T>(Shared<T>);

        pub(crate) struct Receiver<T>(Shared<T>);

        pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
            let shared = Arc::new((Mutex::new(VecDeque::new()), Notify::new()));
            (Sender(shared.clone()), Receiver(shared))
        }

        impl<T> Sender<T> {
            pub(crate) fn send(&self, value: T) -> Result<(), Infallible> {
                let (values, signal) = &*self.0;
                values.lock().expect("no panic").push_back(value);
                signal.notify();
                Ok(())
            }
        }

        impl<T> Receiver<T> {
            /// Waits for as long as it takes.
            pub(crate) fn recv_timeout(&self, _: Duration) -> Result<T, Infallible> {
                Ok(self.recv())
            }

            pub(crate) fn recv(&self) -> T {
                let (values, signal) = &*self.0;
                loop {
                    let value = values.lock().expect("no panic").pop_front();
                    match value {
                        Some(value) => return value,
                        None => signal.wait(),
                    }
                }
            }
        }
    }
}

pub(crate) mod thread {
    use std::cell::RefCell;
    use std::io;
    use std::time::Duration;

    use loom::sync::{Arc, Notify};

    loom::thread_local! {
        static CURRENT: RefCell<Option<Thread>> = RefCell::new(None);
    }

    /// A thread that can be woken. loom's own forgets it when a thread is woken that waits for a lock.
    #[derive(Clone)]
    pub(crate) struct Thread(Arc<Notify>);

    impl Thread {
        pub(crate) fn unpark(&self) {
            self.0.notify();
        }
    }

    pub(crate) fn park() {
        let thread = CURRENT.with(|current| current.borrow().clone());
        thread.expect("a thread of Builder's").0.wait();
    }

    pub(crate) struct Builder;

    pub(crate) struct Handle(Thread);

    impl Builder {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn name(self, _: String) -> Self {
            self
        }

        pub(crate) fn spawn(self, run: impl FnOnce() + 'static) -> io::Result<Handle> {
            let thread = Thread(Arc::new(Notify::new()));
            let own = thread.clone();
            loom::thread::spawn(move || {
                CURRENT.with(|current| current.replace(Some(own)));
                run();
                // loom counts what is left over when all threads have ended.
                CURRENT.with(|current| current.replace(None));
            });
            Ok(Handle(thread))
        }
    }

    impl Handle {
        pub(crate) fn thread(&self) -> &Thread {
            &self.0
        }
    }

    /// Lets others go first.
    pub(crate) fn sleep(_: Duration) {
        loom::thread::yield_now();
    }
}

/// A channel for one value, as tokio's.
pub(crate) mod oneshot {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use loom::future::AtomicWaker;
    use loom::sync::Mutex;

    struct Shared<T> {
        state: Mutex<State<T>>,
        receiver: AtomicWaker,
    }

    enum State<T> {
        Waiting,
        Sent(T),
        /// Nobody receives any more.
        Closed,
    }

    pub(crate) struct Sender<T>(Arc<Shared<T>>);

    pub(crate) struct Receiver<T>(Arc<Shared<T>>);

    /// Never comes: no sender of the files is dropped while somebody receives.
    #[derive(Debug)]
    pub(crate) struct RecvError;

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Waiting),
            receiver: AtomicWaker::new(),
        });
        (Sender(shared.clone()), Receiver(shared))
    }

    impl<T> Shared<T> {
        /// What the state was. What it held is dropped by the caller, who no longer has the lock then.
        fn change(&self, to: State<T>) -> State<T> {
            std::mem::replace(&mut *self.state.lock().expect("no panic"), to)
        }
    }

    impl<T> Sender<T> {
        pub(crate) fn send(self, value: T) -> Result<(), T> {
            let mut state = self.0.state.lock().expect("no panic");
            if matches!(*state, State::Closed) {
                return Err(value);
            }
            *state = State::Sent(value);
            drop(state);
            self.0.receiver.wake();
            Ok(())
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, RecvError>;

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            self.0.receiver.register_by_ref(context.waker());
            let mut state = self.0.state.lock().expect("no panic");
            match std::mem::replace(&mut *state, State::Waiting) {
                State::Sent(value) => Poll::Ready(Ok(value)),
                State::Waiting => Poll::Pending,
                State::Closed => unreachable!("this is who receives"),
            }
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            drop(self.0.change(State::Closed));
        }
    }
}

pub(crate) mod time {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    #[derive(Debug)]
    pub(crate) struct Elapsed;

    /// No time at all has passed once the future has been looked at; any other never passes.
    pub(crate) async fn timeout<F: Future>(
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if limit.is_zero() => Poll::Ready(Err(Elapsed)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

/// As that of futures, which takes a waker by reference.
#[derive(Default)]
pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

impl AtomicWaker {
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.0.register_by_ref(waker);
    }

    pub(crate) fn wake(&self) {
        self.0.wake();
    }
}

/// Runs `test` in every order of threads in which one is interrupted no more than twice: more finds, in practice,
/// nothing more, and takes very much longer.
pub(crate) fn every_order(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(test);
}
