//! Whoever reads `/metrics` slows no exchange, however much there is to read. Knows the page's size only.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, get, post};
use crate::support::origin::Answering;
use crate::support::proxy::{Metrics, Proxy, Start, upstream};

const CHAT: &str = "v1/chat/completions";

/// A proxy whose page is long: calls of many models to several upstreams.
fn with_a_long_page(answering: &Answering) -> Proxy {
    const UPSTREAMS: usize = 4;
    const MODELS: usize = 150;
    let named = |number: usize| upstream(&format!("u{number}"), &answering.url(), "");
    let proxy = Start::new((0..UPSTREAMS).map(named).collect::<String>()).start();
    let mut client = Client::connect(proxy.address);
    for number in 0..UPSTREAMS * MODELS {
        let (of, model) = (number % UPSTREAMS, number / UPSTREAMS);
        client.send(post(&format!("/u{of}/{CHAT}"), format!("{{\"model\":\"m{model}\"}}")));
        assert_eq!(client.response("POST").head.status(), 200);
    }
    let all = (UPSTREAMS * MODELS) as f64;
    let counted = move |metrics: &Metrics| metrics.sum("clearspan_requests_total", &[]) == all;
    proxy.wait_for_metric("all requests", counted);
    proxy
}

/// Reads the page, and keeps none of it.
fn read_page(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
}

#[test]
fn exchanges_go_on_while_metrics_are_read() {
    const ANSWER: &str =
        r#"{"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let answering =
        Answering::always(format!("{head}Content-Length: {}\r\n\r\n{ANSWER}", ANSWER.len()));
    let proxy = with_a_long_page(&answering);
    let begun = Instant::now();
    read_page(proxy.admin);
    let alone = begun.elapsed();
    // More at once than there are threads that forward: were it theirs to write the page, all would.
    let readers = 2 * thread::available_parallelism().unwrap().get();
    let left = AtomicUsize::new(readers);
    let times: Vec<Duration> = thread::scope(|threads| {
        for _ in 0..readers {
            threads.spawn(|| {
                (0..3).for_each(|_| read_page(proxy.admin));
                left.fetch_sub(1, Relaxed);
            });
        }
        let mut client = Client::connect(proxy.address);
        let mut ask = || {
            let begun = Instant::now();
            client.send(get("/u0/v1/models"));
            assert_eq!(client.response("GET").head.status(), 200);
            // So that they do not pile up.
            answering.requests();
            begun.elapsed()
        };
        std::iter::from_fn(|| (left.load(Relaxed) > 0).then(&mut ask)).collect()
    });
    let all: Duration = times.iter().sum();
    let long: Duration = times.iter().filter(|time| **time > alone / 4).sum();
    println!(
        "{} exchanges in {all:?}, for {long:?} of it long ones; a page takes {alone:?}",
        times.len()
    );
    assert!(long < all / 2, "{long:?} of {all:?} in exchanges that waited for a page of {alone:?}");
}
