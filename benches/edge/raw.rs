//! HTTP/1.1 by hand: a request's bytes out, an answer's bytes in, as little work as it can be.

use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest answer in bytes.
const ANSWER_BYTES_MAX: usize = 16_384;

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A connection that is kept open.
pub(crate) struct Raw {
    stream: Box<dyn Stream>,
    buffer: Box<[u8; ANSWER_BYTES_MAX]>,
}

impl Raw {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self::over(tcp(to).await)
    }

    pub(crate) async fn connect_by(tls: &TlsConnector, to: SocketAddr) -> Self {
        Self::over(tls.connect(ServerName::from(to.ip()), tcp(to).await).await.unwrap())
    }

    fn over(stream: impl Stream + 'static) -> Self {
        let stream = Box::new(stream);
        Self { stream, buffer: Box::new([0; ANSWER_BYTES_MAX]) }
    }

    /// The whole answer, which must be a success.
    pub(crate) async fn exchange(&mut self, head: &[u8], body: &[u8]) -> &[u8] {
        self.stream.write_all(head).await.unwrap();
        if !body.is_empty() {
            self.stream.write_all(body).await.unwrap();
        }
        let mut filled = 0;
        while !is_whole(&self.buffer[..filled]) {
            let read = self.stream.read(&mut self.buffer[filled..]).await.unwrap();
            assert!(read > 0, "the connection was closed after {:?}", String::from_utf8_lossy(&self.buffer[..filled]));
            filled += read;
        }
        let answer = &self.buffer[..filled];
        assert!(answer.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(answer));
        answer
    }
}

async fn tcp(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else { return false };
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    };
    // Expect safety: whoever answers here says how long the answer is.
    answer.len() >= end + 4 + head.lines().find_map(field).expect("an answer with a length")
}
