//! Takes connections, makes TLS of them where there is a certificate, and serves HTTP
//! over them; what takes too long is closed, and what is one too many not taken.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::doors::{Doors, Place, Turned};
use super::tls::Tls;

/// How often the certificate's files are read again.
const RENEWAL: Duration = Duration::from_secs(60);
/// The longest head of a request, in bytes.
const MOST_HEAD: usize = 16 << 10;
/// How long a connection lasts that becomes no WebSocket.
const MOST_CONVERSATION: Duration = Duration::from_secs(30);
/// How long nothing is taken where the system has no more sockets.
const BREATH: Duration = Duration::from_millis(100);

/// Serves until `stop` says so, and each connection until it is through. Requests have
/// their `Arc<Place>` among their extensions.
pub(super) async fn listen(
    listener: TcpListener,
    mut tls: Option<Tls>,
    app: Router,
    doors: Arc<Doors>,
    mut stop: watch::Receiver<bool>,
) {
    let mut renewal = interval(RENEWAL);
    loop {
        let accepted = tokio::select! {
            () = told(&mut stop) => return,
            _ = renewal.tick() => {
                if let Some(tls) = &mut tls {
                    match tls.renew() {
                        Ok(true) => info!("the certificate was renewed"),
                        Ok(false) => {}
                        Err(why) => warn!(%why, "the certificate stays the one before"),
                    }
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                let Some(place) = doors.enter(Instant::now(), remote.ip()) else { continue };
                // Without it, what is said goes out a little later.
                let _ = stream.set_nodelay(true);
                let acceptor = tls.as_ref().map(Tls::acceptor);
                tokio::spawn(attend(stream, acceptor, app.clone(), place, stop.clone()));
            }
            Err(why) => {
                warn!(%why, "a connection could not be taken");
                sleep(BREATH).await;
            }
        }
    }
}

/// Serves one connection.
async fn attend<S>(
    stream: S,
    acceptor: Option<TlsAcceptor>,
    app: Router,
    place: Place,
    stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(acceptor) = acceptor else { return converse(stream, app, place, stop).await };
    match timeout(place.patience(), acceptor.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, app, place, stop).await,
        Ok(Err(_)) => place.count(Instant::now(), Turned::Tls),
        Err(_) => place.count(Instant::now(), Turned::Patience),
    }
}

async fn converse<S>(stream: S, app: Router, place: Place, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::new(place);
    let app = TowerToHyperService::new(app);
    let asker = Arc::clone(&place);
    let service = service_fn(move |mut request: Request<Incoming>| {
        asker.asked();
        request.extensions_mut().insert(Arc::clone(&asker));
        app.call(request)
    });
    let mut http = http1::Builder::new();
    // All heads must come within it, and every next request.
    http.timer(TokioTimer::new()).header_read_timeout(place.patience()).max_header_size(MOST_HEAD);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // One that asks and does not read the answer would stay for ever.
        () = sleep(MOST_CONVERSATION) => return place.count(Instant::now(), Turned::Patience),
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if ended.is_err_and(|why| why.is_timeout()) {
        place.count(Instant::now(), Turned::Patience);
    }
}

/// Until `stop` says so, or nobody is left who could.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::server::config::LimitsConfig;

    /// A server's doors, and a connection that went through them; time goes on by
    /// itself to whatever is waited for.
    fn connect(acceptor: Option<TlsAcceptor>) -> (Arc<Doors>, DuplexStream, watch::Sender<bool>) {
        let doors = Doors::new(&LimitsConfig::default(), Instant::now());
        let place = doors.enter(Instant::now(), [192, 0, 2, 1].into()).expect("a place");
        let (ours, theirs) = duplex(4_096);
        let (stop, stopped) = watch::channel(false);
        let app = Router::new().route("/", get(async || "fine"));
        tokio::spawn(attend(theirs, acceptor, app, place, stopped));
        (doors, ours, stop)
    }

    fn turned(doors: &Doors) -> Vec<&'static str> {
        let turned = doors.turned().filter(|(_, count)| *count > 0);
        turned
            .flat_map(|(why, count)| std::iter::repeat_n(why, usize::try_from(count).expect("few")))
            .collect()
    }

    async fn rest(stream: &mut DuplexStream) -> String {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.expect("text");
        rest
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_waited_for_so_long_and_no_longer() {
        let (doors, mut stream, _stop) = connect(None);
        let start = Instant::now();
        // A byte a second, as slowloris does it.
        let head = b"GET / HTTP/1.1\r\nhost: x\r\nx-long: aaaaaaaaaaaaaaaa";
        let mut sent = 0;
        for byte in head {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            sent += 1;
            sleep(Duration::from_secs(1)).await;
        }
        assert!((9..=12).contains(&sent), "{sent} bytes were taken");
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(start.elapsed() < Duration::from_secs(15));
        assert_eq!((turned(&doors), doors.sizes()), (vec!["patience_s"], (0, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asked_is_served_and_closed_when_nothing_more_comes() {
        let (doors, mut stream, _stop) = connect(None);
        assert_eq!(doors.sizes(), (1, 1));
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is read");
        let mut start = [0; 15];
        stream.read_exact(&mut start).await.expect("an answer");
        assert_eq!((&start, doors.sizes()), (b"HTTP/1.1 200 OK", (1, 0)));
        assert!(rest(&mut stream).await.ends_with("fine"), "until it is closed");
        assert_eq!(doors.sizes(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_end_with_the_server() {
        let (doors, mut stream, stop) = connect(None);
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is read");
        let mut start = [0; 15];
        stream.read_exact(&mut start).await.expect("an answer");
        stop.send(true).expect("it is heard");
        rest(&mut stream).await;
        assert_eq!((turned(&doors), doors.sizes()), (vec![], (0, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_does_not_go_on_is_given_up() {
        let folder = super::super::tls::tests::Folder::new("handshake");
        let tls = Tls::load(&folder.pair("one")).expect("a certificate");
        let (doors, mut stream, _stop) = connect(Some(tls.acceptor()));
        // The head of a ClientHello that never comes.
        stream.write_all(&[0x16, 3, 1, 2, 0]).await.expect("it is read");
        assert_eq!(rest(&mut stream).await, "");
        assert_eq!((turned(&doors), doors.sizes()), (vec!["patience_s"], (0, 0)));
        let (doors, mut stream, _stop) = connect(Some(tls.acceptor()));
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is read");
        let mut alert = Vec::new();
        stream.read_to_end(&mut alert).await.expect("bytes");
        assert_eq!(alert.first(), Some(&0x15), "an alert");
        assert_eq!((turned(&doors), doors.sizes()), (vec!["tls"], (0, 0)));
    }
}
