//! HTTP servers gone bad, as `uri` meets them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use super::{BOUND, FAILED, MOST_MEMORY, run};

const HERE: &str = "[lab]\nhere ansible_connection=local\n";

/// Answers every connection with this, again and again where that is said, until the test program ends.
fn serve(first: &'static str, again: Option<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let again = again.clone();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let mut go_on = stream.write_all(first.as_bytes()).is_ok();
                let more = again.map(|piece| piece.repeat((64 << 10) / piece.len() + 1));
                while let (true, Some(more)) = (go_on, &more) {
                    go_on = stream.write_all(more).is_ok();
                }
                // Nothing more comes, and it does not close.
                std::thread::sleep(Duration::from_secs(60));
            });
        }
    });
    port
}

#[test]
fn answers_without_end_are_cut_off() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunk = [&b"1000\r\n"[..], &[b'A'; 4096], b"\r\n"].concat();
    for (first, again, said) in [
        ("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", Some(b"A".to_vec()), "max_http_size"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n", Some(b"A".to_vec()), "max_http_size"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Some(chunk), "max_http_size"),
        ("HTTP/1.1 200 OK\r\nX: ", Some(b"A".to_vec()), "Request failed"),
        (ok, Some(b"X: y\r\n".to_vec()), "Request failed"),
        ("", Some(b"\0\xff".to_vec()), "Request failed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", None, "no answer within 2 s"),
        ("", None, "no answer within 2 s"),
    ] {
        let limit = if again.is_some() { 50 } else { 2 };
        let port = serve(first, again);
        let tasks = format!("    - uri: {{url: 'http://127.0.0.1:{port}/', timeout: {limit}}}\n");
        let ran = run(HERE, &tasks, "[defaults]\nmax_http_size = 8M\n", BOUND);
        assert_eq!(ran.code, Some(FAILED), "{first:?}: {}", ran.said);
        assert!(ran.said.contains(said), "{first:?}: {}", ran.said);
        assert!(ran.memory < MOST_MEMORY, "{first:?}: {} MiB", ran.memory);
    }
}
