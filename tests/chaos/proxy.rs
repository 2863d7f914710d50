//! A TCP proxy that breaks as networks do: it cuts, stalls, lets through one way only, or takes its time.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// What a proxy does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Passes it on.
    Open,
    /// Breaks every connection, and every new one.
    Cut,
    /// Holds everything, both ways, until it is open again.
    Stalled,
    /// Passes on what clients say, and holds what they are answered.
    HalfOpen,
    /// Passes everything on, each piece so much later.
    Slow(Duration),
    /// Holds what is answered to requests of this path (HTTP/1.1); everything else passes.
    AnswersHeld(&'static str),
    /// Lets go of answers, and holds what clients say.
    AnswersOnly,
}

/// Where it leads.
#[derive(Clone, Debug)]
pub(crate) enum Behind {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A proxy that runs until it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    link: watch::Sender<Link>,
    /// How many answers were held so far.
    held: watch::Receiver<u64>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.link.send_replace(Link::Cut);
    }
}

impl Proxy {
    pub(crate) async fn start(behind: Behind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (link, rule) = watch::channel(Link::Open);
        let (tell_held, held) = watch::channel(0);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, behind.clone(), rule.clone(), tell_held.clone()));
            }
        });
        Self { address, link, held, accepting }
    }

    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Resolves once an answer is held that was not when this was called.
    pub(crate) fn next_held(&self) -> impl Future<Output = ()> + use<> {
        let mut held = self.held.clone();
        let before = *held.borrow_and_update();
        async move {
            held.wait_for(|held| *held > before).await.unwrap();
        }
    }
}

type Rule = watch::Receiver<Link>;

async fn connection(client: TcpStream, behind: Behind, rule: Rule, held: watch::Sender<u64>) {
    if *rule.borrow() == Link::Cut {
        return;
    }
    let _ = client.set_nodelay(true);
    let (asked, last_asked) = watch::channel(Vec::new());
    let pumps = async {
        match behind {
            Behind::Tcp(address) => {
                let Ok(server) = TcpStream::connect(address).await else { return };
                let _ = server.set_nodelay(true);
                pumped(client.into_split(), server.into_split(), &rule, asked, last_asked, held).await;
            }
            Behind::Unix(path) => {
                let Ok(server) = UnixStream::connect(path).await else { return };
                pumped(client.into_split(), server.into_split(), &rule, asked, last_asked, held).await;
            }
        }
    };
    let mut cut = rule.clone();
    tokio::select! {
        () = pumps => {}
        _ = cut.wait_for(|link| *link == Link::Cut) => {}
    }
}

/// Both ways, until either end closes.
async fn pumped<R1, W1, R2, W2>(
    (from_client, to_client): (R1, W1),
    (from_server, to_server): (R2, W2),
    rule: &Rule,
    asked: watch::Sender<Vec<u8>>,
    last_asked: watch::Receiver<Vec<u8>>,
    held: watch::Sender<u64>,
) where
    R1: AsyncRead + Unpin,
    W1: AsyncWrite + Unpin,
    R2: AsyncRead + Unpin,
    W2: AsyncWrite + Unpin,
{
    let up = pump(from_client, to_server, rule.clone(), Way::Up { asked });
    let down = pump(from_server, to_client, rule.clone(), Way::Down { asked: last_asked, held });
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

/// A direction, with what one of them tells the other.
enum Way {
    Up {
        /// How the last request began.
        asked: watch::Sender<Vec<u8>>,
    },
    Down {
        asked: watch::Receiver<Vec<u8>>,
        held: watch::Sender<u64>,
    },
}

impl Way {
    async fn until_it_may(&self, rule: &mut Rule, piece: &[u8]) {
        match self {
            Self::Up { asked } => {
                if piece.starts_with(b"POST ") {
                    asked.send_replace(piece[..piece.len().min(256)].to_vec());
                }
                let _ = rule.wait_for(|link| !matches!(link, Link::Stalled | Link::AnswersOnly)).await;
            }
            Self::Down { asked, held } => {
                let asked = asked.borrow().clone();
                let passes = |link: &Link| match link {
                    Link::Stalled | Link::HalfOpen => false,
                    Link::AnswersHeld(path) => !asked.starts_with(format!("POST {path} ").as_bytes()),
                    Link::Open | Link::Cut | Link::Slow(_) | Link::AnswersOnly => true,
                };
                if !passes(&rule.borrow()) {
                    held.send_modify(|held| *held += 1);
                }
                let _ = rule.wait_for(passes).await;
            }
        }
    }
}

async fn pump<R, W>(mut from: R, mut to: W, mut rule: Rule, way: Way)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        way.until_it_may(&mut rule, &buffer[..read]).await;
        let late = match *rule.borrow() {
            Link::Slow(by) => Some(by),
            _ => None,
        };
        if let Some(by) = late {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
