//! A client that sends exactly the bytes a test gives it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// An answer, its body whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.head, String::from_utf8_lossy(&self.body))
    }
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub(crate) async fn exchange(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.write(request).await;
        self.answer().await
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next answer; fails if the connection ends before it.
    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let mut answer = Answer { status: head[9..12].parse().unwrap(), head, body: Vec::new() };
        if let Some(length) = answer.header("content-length").map(|length| length.parse::<usize>().unwrap()) {
            while self.buffer.len() < length {
                assert!(self.more().await > 0, "the answer is shorter than announced: {}", answer.text());
            }
            answer.body = self.buffer.drain(..length).collect();
        } else if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk().await.expect("a chunked answer ends by itself") {
                answer.body.extend_from_slice(&chunk);
            }
        }
        answer
    }

    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                return String::from_utf8(self.buffer.drain(..at + 4).collect()).unwrap();
            }
            assert!(self.more().await > 0, "the connection ended before an answer: {:?}", self.buffer);
        }
    }

    /// The next chunk; `None` at the last one; an error if the connection ends without it.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, ()> {
        loop {
            if let Some(line) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let size = std::str::from_utf8(&self.buffer[..line]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                if self.buffer.len() >= line + 2 + size + 2 {
                    let chunk = self.buffer[line + 2..line + 2 + size].to_vec();
                    self.buffer.drain(..line + 2 + size + 2);
                    return Ok(Some(chunk).filter(|chunk| !chunk.is_empty()));
                }
            }
            if self.more().await == 0 {
                return Err(());
            }
        }
    }

    /// Everything until the other side closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the other side has closed the connection, and said nothing more before.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.more().await == 0 && self.buffer.is_empty()
    }

    async fn more(&mut self) -> usize {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("the edge says something");
        // A reset is an end, too.
        read.unwrap_or(0)
    }
}
