//! The HTTP side: `/metrics`, `/healthz`, `/readyz`. One request to a connection; connections, time and
//! request size are bounded, and one answer at a time is gathered.
use super::facts::Facts;
use super::health::Readiness;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections at once.
const CONNECTIONS_MAX: usize = 16;
/// For a request's head to come.
const HEAD_WAIT: Duration = Duration::from_secs(5);
/// For a whole exchange.
const CONNECTION_WAIT: Duration = Duration::from_secs(30);
/// For the facts to be gathered; a store that is being opened anew answers late.
const GATHER_WAIT: Duration = Duration::from_secs(10);
/// Bytes of a request's head, and headers in it.
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 64;
/// After accept failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Gathers the facts. Blocks for as long as reading `/proc` and asking the store takes.
pub type Gather = Arc<dyn Fn() -> Facts + Send + Sync>;

/// Opens the address, before anything that cannot be undone.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What the operator should know of an address, if others than this machine can reach it.
pub fn warning(address: SocketAddr) -> Option<String> {
    (!address.ip().to_canonical().is_loopback()).then(|| {
        format!(
            "listen.metrics: {address}: whoever reaches it reads the metrics; a firewall must say who does"
        )
    })
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, gather: Gather) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let gatherer = Gatherer { gather, one: Arc::new(Semaphore::new(1)) };
    loop {
        match listener.accept().await {
            Ok((client, peer)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let gatherer = gatherer.clone();
                    tokio::spawn(async move {
                        exchange(client, peer, gatherer).await;
                        drop(place);
                    });
                }
                // Dropping it closes it.
                Err(_) => tracing::warn!(%peer, "more than {CONNECTIONS_MAX} metrics connections at once"),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a metrics connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn exchange(client: TcpStream, peer: SocketAddr, gatherer: Gatherer) {
    let service = service_fn(move |request: Request<Incoming>| {
        let gatherer = gatherer.clone();
        async move { Ok::<_, Infallible>(answer(&request, &gatherer).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(TokioIo::new(client), service);
    match timeout(CONNECTION_WAIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a metrics client went away"),
        Err(_) => tracing::debug!(%peer, "a metrics client was too slow"),
    }
}

async fn answer(request: &Request<Incoming>, gatherer: &Gatherer) -> Response<String> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD are understood\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => metrics(gatherer).await,
        "/healthz" => text(StatusCode::OK, "alive\n"),
        "/readyz" => readiness(gatherer).await,
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
    }
}

async fn metrics(gatherer: &Gatherer) -> Response<String> {
    let encoded = gatherer.with(super::encode).await;
    match encoded {
        Some(Ok(body)) => page(StatusCode::OK, super::CONTENT_TYPE, body),
        Some(Err(_)) => text(StatusCode::INTERNAL_SERVER_ERROR, "a metric cannot be encoded\n"),
        None => late(),
    }
}

async fn readiness(gatherer: &Gatherer) -> Response<String> {
    let Some(readiness) = gatherer.with(|facts| Readiness::of(&facts)).await else { return late() };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(&readiness) {
        Ok(body) => page(status, "application/json", body + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn late() -> Response<String> {
    let seconds = GATHER_WAIT.as_secs();
    text(StatusCode::SERVICE_UNAVAILABLE, &format!("the store did not answer within {seconds} s\n"))
}

fn text(status: StatusCode, body: &str) -> Response<String> {
    page(status, "text/plain; charset=utf-8", body.to_owned())
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Gathers off the runtime's threads, once at a time: a store that hangs holds one thread and no more.
#[derive(Clone)]
struct Gatherer {
    gather: Gather,
    one: Arc<Semaphore>,
}

impl Gatherer {
    /// What `make` makes of the facts; nothing if they do not come in time.
    async fn with<T: Send + 'static>(&self, make: impl FnOnce(Facts) -> T + Send + 'static) -> Option<T> {
        let work = async {
            let turn = Arc::clone(&self.one).acquire_owned().await.ok()?;
            let gather = Arc::clone(&self.gather);
            let done = tokio::task::spawn_blocking(move || {
                let made = make(gather());
                drop(turn);
                made
            });
            done.await.ok()
        };
        timeout(GATHER_WAIT, work).await.ok()?
    }
}
