//! Bytes both ways between two connections, as they come, until both ways have ended.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// For so long a connection may be still: agents wait for builds and for models that think.
pub const IDLE: Duration = Duration::from_secs(3600);

/// Passes bytes on until both sides have ended, one of them fails, or nothing has come from either
/// for as long as `idle`. A side that has said all it had to say may still listen.
///
/// # Errors
/// When a side fails; `TimedOut` when both were still for too long.
pub async fn relay<A, B>(a: A, b: B, idle: Duration) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let pulse = Pulse { begin: Instant::now(), last: AtomicU64::new(0) };
    let (mut a, mut b) = (Heard { of: a, pulse: &pulse }, Heard { of: b, pulse: &pulse });
    tokio::select! {
        ended = tokio::io::copy_bidirectional(&mut a, &mut b) => ended.map(|_| ()),
        () = pulse.stops(idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// When something was heard last, in milliseconds since the beginning.
struct Pulse {
    begin: Instant,
    last: AtomicU64,
}

impl Pulse {
    fn beat(&self) {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    async fn stops(&self, idle: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let over = self.begin + last + idle;
            if over <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(over).await;
        }
    }
}

/// A side of which each byte is noted.
struct Heard<'a, S> {
    of: S,
    pulse: &'a Pulse,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.of).poll_read(cx, buffer));
        self.pulse.beat();
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.of).poll_write(cx, bytes));
        self.pulse.beat();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.of).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.of).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn one_side_may_end_and_still_listen() {
        let (mut left, a) = duplex(64);
        let (mut right, b) = duplex(64);
        let passing = tokio::spawn(relay(a, b, IDLE));
        left.write_all(b"question").await.unwrap();
        left.shutdown().await.unwrap();
        let mut asked = String::new();
        right.read_to_string(&mut asked).await.unwrap();
        right.write_all(b"answer").await.unwrap();
        right.shutdown().await.unwrap();
        let mut answered = String::new();
        left.read_to_string(&mut answered).await.unwrap();
        assert_eq!((asked.as_str(), answered.as_str()), ("question", "answer"));
        passing.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_still_for_too_long_ends_and_what_speaks_does_not() {
        let (mut left, a) = duplex(64);
        let (mut right, b) = duplex(64);
        let begin = Instant::now();
        let passing = tokio::spawn(relay(a, b, IDLE));
        for _ in 0..3 {
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
            left.write_all(b"x").await.unwrap();
            right.read_u8().await.unwrap();
        }
        let ended = passing.await.unwrap().unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= IDLE * 4 - Duration::from_secs(4));
    }
}
