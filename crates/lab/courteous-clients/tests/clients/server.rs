use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
};

use http::{Request, Response, Uri, request::Parts};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};

/// An answer, or none: then the connection is closed when the request has arrived.
pub(crate) type Answer = Option<Response<String>>;

/// The server of an API, which gives the answers that it is told, in their order. Stopped when it is dropped.
pub(crate) struct Server {
    uri: Uri,
    seen: Arc<Mutex<Vec<(Parts, String)>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let seen = Arc::default();
        let answers = Arc::new(Mutex::new(answers.into_iter().collect()));
        let task = tokio::spawn(serve(listener, Arc::clone(&seen), answers));
        let uri = uri.parse().unwrap();
        Self { uri, seen, task }
    }

    pub(crate) fn uri(&self) -> Uri {
        self.uri.clone()
    }

    /// The heads and bodies of the requests so far.
    pub(crate) fn seen(&self) -> Vec<(Parts, String)> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    seen: Arc<Mutex<Vec<(Parts, String)>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, answers) = (Arc::clone(&seen), Arc::clone(&answers));
        let service = service_fn(move |request: Request<Incoming>| {
            let (seen, answers) = (Arc::clone(&seen), Arc::clone(&answers));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = String::from_utf8(body.into()).unwrap();
                seen.lock().unwrap().push((head, body));
                let answer = answers.lock().unwrap().pop_front();
                answer
                    .flatten()
                    .ok_or(io::Error::other("no answer, as told"))
            }
        });
        // Fails where it was told to give no answer.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}
