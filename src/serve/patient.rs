//! The stream of a connection, which keeps its times: how long a client may take, and how long it is still listened to
//! after its last answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::limits::Limits;

/// How long a client that has its answer may go on sending a body that nobody reads, at most. A connection that is closed
/// with bytes unread is reset, and the answer lost with it.
const LINGER: Duration = Duration::from_secs(10);

/// How long such a client may be silent.
const SILENCE: Duration = Duration::from_secs(2);

/// What a connection waits for: as the stream sees bytes and the service requests.
#[derive(Default)]
pub struct Phase {
    /// Whether a request is being answered: what is read then is its body.
    in_request: AtomicBool,
    /// Whether the last request's body was not read to its end.
    has_unread_body: AtomicBool,
}

impl Phase {
    /// A request begins; its body says when it was read.
    pub fn begin_request(self: &Arc<Self>, body: Incoming) -> Watched {
        self.in_request.store(true, Ordering::Relaxed);
        self.has_unread_body.store(!body.is_end_stream(), Ordering::Relaxed);
        Watched { body, phase: self.clone() }
    }

    pub fn end_request(&self) {
        self.in_request.store(false, Ordering::Relaxed);
    }

    fn is_in_request(&self) -> bool {
        self.in_request.load(Ordering::Relaxed)
    }
}

/// A request's body, which notes that it was read.
pub struct Watched {
    body: Incoming,
    phase: Arc<Phase>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.phase.has_unread_body.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What is being waited for between two requests, and since when.
#[derive(Clone, Copy)]
enum Waiting {
    /// Nothing is: a request is being answered.
    No,
    /// The first byte of a request.
    Idle(Instant),
    /// The rest of its head.
    Head(Instant),
}

/// A stream that gives a client up which begins no request, does not end its head, or takes nothing of a response,
/// for too long.
pub struct Patient<S> {
    stream: S,
    phase: Arc<Phase>,
    idle_timeout: Duration,
    header_timeout: Duration,
    write_timeout: Duration,
    waiting: Waiting,
    /// Goes off at the latest when a head that begins now would be late, and is then set again: a request sets none.
    read_alarm: Pin<Box<Sleep>>,
    /// Set while nothing can be written.
    write_alarm: Option<Pin<Box<Sleep>>>,
    linger: Duration,
    /// Set once the client has been told that nothing more comes, where it may still be sending.
    lingering: Option<Lingering>,
}

/// Until when a client is listened to: in all, and without a word of it.
struct Lingering {
    end: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    pub fn new(stream: S, phase: Arc<Phase>, limits: &Limits) -> Self {
        Self {
            stream,
            phase,
            idle_timeout: limits.idle_timeout,
            header_timeout: limits.header_timeout,
            write_timeout: limits.write_timeout,
            waiting: Waiting::Idle(Instant::now()),
            read_alarm: Box::pin(sleep(limits.header_timeout.min(limits.idle_timeout))),
            write_alarm: None,
            linger: limits.body_timeout.min(LINGER),
            lingering: None,
        }
    }

    /// Whether the client may still be sending what nobody reads.
    fn may_be_sending(&self) -> bool {
        self.phase.has_unread_body.load(Ordering::Relaxed) || matches!(self.waiting, Waiting::Head(_))
    }

    /// Notes that something was read.
    fn has_read(&mut self) {
        self.waiting = match self.waiting {
            _ if self.phase.is_in_request() => Waiting::No,
            Waiting::No | Waiting::Idle(_) => Waiting::Head(Instant::now()),
            head => head,
        };
    }

    /// Whether what is waited for is late. Called while there is nothing to read.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.phase.is_in_request() {
            self.waiting = Waiting::No;
        } else if matches!(self.waiting, Waiting::No) {
            self.waiting = Waiting::Idle(Instant::now());
        }
        while self.read_alarm.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let late = match self.waiting {
                Waiting::No => now + self.header_timeout,
                Waiting::Idle(since) => since + self.idle_timeout,
                Waiting::Head(since) => since + self.header_timeout,
            };
            if late <= now {
                return Poll::Ready(());
            }
            self.read_alarm.as_mut().reset(late.min(now + self.header_timeout));
        }
        Poll::Pending
    }

    /// Passes `outcome` on, or an error where it has been pending for too long.
    fn watch<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_alarm = None;
            return outcome;
        }
        let timeout = self.write_timeout;
        let alarm = self.write_alarm.get_or_insert_with(|| Box::pin(sleep(timeout)));
        alarm.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.poll_late(context).map(|()| Err(io::ErrorKind::TimedOut.into())),
            ready => {
                self.has_read();
                ready
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.watch(outcome, context))?;
            if !self.may_be_sending() {
                return Poll::Ready(Ok(()));
            }
            let alarm = Box::pin(sleep(self.linger.min(SILENCE)));
            self.lingering = Some(Lingering { end: Instant::now() + self.linger, alarm });
        }
        self.poll_linger(context).map(Ok)
    }
}

impl<S: AsyncRead + Unpin> Patient<S> {
    /// Reads and forgets until the client closes, or is late.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(lingering) = &mut self.lingering else { return Poll::Ready(()) };
        let mut ignored = [0; 16 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut ignored);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let now = Instant::now();
                    if now >= lingering.end {
                        return Poll::Ready(());
                    }
                    lingering.alarm.as_mut().reset(lingering.end.min(now + SILENCE));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return lingering.alarm.as_mut().poll(context),
            }
        }
    }
}
