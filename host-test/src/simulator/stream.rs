//! What a connection runs over: a socket, or a pipe in memory.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::net::TcpStream;

/// How much a pipe holds that the other end has not yet taken: about what a socket's buffers hold.
const PIPE: usize = 64 * 1024;

/// The server's end of a connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Lets the close that follows be a reset, which the client sees as such.
    fn reset_on_close(&self);
}

impl Stream for TcpStream {
    fn reset_on_close(&self) {
        // A close without lingering discards the connection; if the option cannot be set, the client sees a clean close
        // instead, and the test that waits for a reset will say so.
        let _ = self.set_zero_linger();
    }
}

impl Stream for MemoryStream {
    fn reset_on_close(&self) {
        self.reset.store(true, Ordering::Release);
    }
}

/// One end of a connection in memory, which breaks as a socket does: after a reset, the other end reads what has arrived
/// and then fails with [`ConnectionReset`](io::ErrorKind::ConnectionReset), as its writes do.
#[derive(Debug)]
pub struct MemoryStream {
    pipe: DuplexStream,
    /// Whether the end of the pipe is a reset; both ends share it.
    reset: Arc<AtomicBool>,
}

impl MemoryStream {
    /// The two ends of a new connection.
    pub(super) fn pair() -> (Self, Self) {
        let (one, other) = duplex(PIPE);
        let reset = Arc::new(AtomicBool::new(false));
        (Self { pipe: one, reset: Arc::clone(&reset) }, Self { pipe: other, reset })
    }

    fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Acquire)
    }

    /// The error of a pipe, as a socket would have it.
    fn broken(&self, error: io::Error) -> io::Error {
        if self.is_reset() { io::ErrorKind::ConnectionReset.into() } else { error }
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        ready!(Pin::new(&mut self.pipe).poll_read(cx, buf))?;
        let ended = room > 0 && buf.remaining() == room;
        Poll::Ready(if ended && self.is_reset() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) })
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes).map_err(|error| self.broken(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_reset_follows_what_has_arrived() {
        let (mut client, mut server) = MemoryStream::pair();
        server.write_all(b"half").await.unwrap();
        server.reset_on_close();
        drop(server);
        let mut read = [0; 8];
        assert_eq!(client.read(&mut read).await.unwrap(), 4);
        assert_eq!(client.read(&mut read).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(client.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_clean_close_is_none() {
        let (mut client, server) = MemoryStream::pair();
        drop(server);
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(client.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
