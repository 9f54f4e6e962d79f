//! A server for tests that keeps what it was told.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

/// Requests as they came, headers and all.
pub type Heard = Arc<Mutex<Vec<String>>>;

/// Answers each request by its first line and its headers, until the test ends.
pub fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> (SocketAddr, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let heard = Heard::default();
    let kept = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = String::new();
            let mut lines = BufReader::new(&stream);
            while let Ok(read) = lines.read_line(&mut request) {
                if read <= 2 {
                    break;
                }
            }
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
            // A client that hung up has what it wanted.
            let _ = stream.write_all(answer(&request).as_bytes());
        }
    });
    (address, heard)
}

/// An answer with these headers, each with its line end.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
