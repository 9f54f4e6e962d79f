use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A proxy on this machine for clients that must call a server by a name which is unknown here: what asks for that name
/// is led to where the server is. It ends with the value.
pub struct ConnectProxy {
    pub address: SocketAddr,
    listener: AbortHandle,
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// The longest request that a client of ours makes.
const LONGEST: usize = 8 << 10;

impl ConnectProxy {
    /// Leads `name` (host and port) to `place` (host and port), and everything else to itself.
    pub async fn start(name: String, place: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // One that breaks off is seen by its client.
                tokio::spawn(lead(client, name.clone(), place.clone()));
            }
        });
        Ok(Self { address, listener: task.abort_handle() })
    }
}

async fn lead(mut client: TcpStream, name: String, place: String) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < LONGEST {
        request.push(client.read_u8().await?);
    }
    let Some(wanted) = wanted(&request) else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n").await;
    };
    let target = if wanted == name { place } else { wanted };
    match TcpStream::connect(&target).await {
        Ok(mut server) => {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
        }
        Err(_) => client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await,
    }
}

/// The host and port that a CONNECT names.
fn wanted(request: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(request).ok()?;
    let mut words = text.lines().next()?.split(' ');
    (words.next() == Some("CONNECT")).then(|| words.next().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_led_to_its_place() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let place = server.local_addr().expect("an address").to_string();
        let proxy = ConnectProxy::start("quay.lab.lan:443".into(), place).await.expect("a proxy");
        let mut client = TcpStream::connect(proxy.address).await.expect("the proxy");
        client.write_all(b"CONNECT quay.lab.lan:443 HTTP/1.1\r\nHost: x\r\n\r\nhello").await.expect("sent");
        let (mut accepted, _) = server.accept().await.expect("led there");
        let mut said = [0; 5];
        accepted.read_exact(&mut said).await.expect("read");
        assert_eq!(&said, b"hello");
        assert_eq!(wanted(b"GET / HTTP/1.1\r\n\r\n"), None);
    }
}
