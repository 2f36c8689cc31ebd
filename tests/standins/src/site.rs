//! A site of a few small pages. It knows no methods and no headers.

use std::future::Future;
use std::io;

use http::{Response, Uri};

use crate::body::Body;
use crate::serve::{self, Cut};

/// A running site on a free loopback port. Dropping it closes its port.
pub struct Site {
    listener: serve::Listener,
}

impl Site {
    /// Answers each request by its path and query.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start<A, F>(answer: A) -> io::Result<Self>
    where
        A: Fn(Uri) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = serve::serve(serve::Settings::plain(), move |request, _| {
            let answer = answer(request.uri().clone());
            async move { Ok::<_, Cut>(answer.await) }
        })
        .await?;
        Ok(Self { listener })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address())
    }
}
