//! One client: its requests one after the other, its events, its waits.
//!
//! A session is one task that either waits for something to do or writes. What it holds is bounded: one line read, one batch to
//! write, as many waits as a connection may have. While the client does not take what is written, nothing else is read from it, and
//! the ring of events goes on without it.

use std::{future, sync::Arc, time::Duration};

use serde::Deserialize;
use tierup_broker::{Event, Tier};
use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{
        broadcast::{
            Receiver,
            error::{RecvError, TryRecvError},
        },
        watch,
    },
    task::{self, JoinSet},
    time,
};

use crate::{
    core::{Core, GRACE, closed},
    error::WaitError,
    lines::{Lines, Next},
    protocol::{Answer, Ask, BeadKey, EventRecord, Farewell, Filter, Id, LONGEST_LINE, Line, PROTOCOL, Refusal, Request},
};

/// Tiers a connection may wait for at a time.
const MOST_WAITS: usize = 64;
/// Bytes, and events looked at, after which a batch is written.
const BATCH_BYTES: usize = 32 * 1024;
const BATCH_EVENTS: usize = 256;

/// Why a session ends.
enum End {
    /// The client has gone, or takes nothing.
    Gone,
    /// The service ends it, and says so.
    Bye(Farewell),
}

/// Serves one client.
pub(crate) async fn run(client: UnixStream, core: Arc<Core>) {
    let (from, to) = client.into_split();
    let closing = core.closing.subscribe();
    let mut session = Session {
        core,
        closing,
        lines: Lines::new(from, LONGEST_LINE),
        to,
        out: Vec::new(),
        greeted: false,
        subscription: None,
        waits: JoinSet::new(),
    };
    if let End::Bye(farewell) = session.serve().await {
        let last = async {
            session.tell_rest().await?;
            session.say(&Line::Bye(farewell)).await
        };
        let _ = time::timeout(GRACE, last).await;
    }
}

struct Session {
    core: Arc<Core>,
    closing: watch::Receiver<Option<Farewell>>,
    lines: Lines<OwnedReadHalf>,
    to: OwnedWriteHalf,
    /// What is written next.
    out: Vec<u8>,
    greeted: bool,
    subscription: Option<Subscribed>,
    waits: JoinSet<Line>,
}

struct Subscribed {
    filter: Filter,
    events: Receiver<Arc<Event>>,
}

/// The next event, if anybody wants any.
async fn next_event(subscription: &mut Option<Subscribed>) -> Result<Arc<Event>, RecvError> {
    match subscription {
        Some(subscribed) => subscribed.events.recv().await,
        None => future::pending().await,
    }
}

/// The next event, if there is one.
fn try_next(events: &mut Receiver<Arc<Event>>) -> Option<Result<Arc<Event>, RecvError>> {
    match events.try_recv() {
        Ok(event) => Some(Ok(event)),
        Err(TryRecvError::Lagged(missed)) => Some(Err(RecvError::Lagged(missed))),
        Err(TryRecvError::Empty | TryRecvError::Closed) => None,
    }
}

impl Session {
    async fn serve(&mut self) -> End {
        let hello_by = time::Instant::now() + self.core.patience;
        loop {
            let done = tokio::select! {
                why = closed(&mut self.closing) => Err(End::Bye(why)),
                () = time::sleep_until(hello_by), if !self.greeted => Err(End::Bye(Farewell::NoHello)),
                next = self.lines.next() => match next {
                    Ok(next) => self.hear(next).await,
                    Err(_) => Err(End::Gone),
                },
                // A wait that panics is answered by nobody: none does.
                Some(Ok(line)) = self.waits.join_next() => self.say(&line).await,
                event = next_event(&mut self.subscription) => self.tell(event).await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn hear(&mut self, next: Next) -> Result<(), End> {
        let line = self.lines.number();
        match next {
            Next::Line(text) => match serde_json::from_slice::<Request>(&text) {
                Ok(request) => self.request(request).await,
                Err(error) => self.say(&malformed(line, &text, &error)).await,
            },
            Next::TooLong => self.say(&Line::error(None, Refusal::TooLong { line, limit: LONGEST_LINE })).await,
            Next::Unfinished => self.say(&Line::error(None, Refusal::Unfinished { line })).await,
            Next::End => Err(End::Gone),
        }
    }

    async fn request(&mut self, Request { id, ask }: Request) -> Result<(), End> {
        let is_shutdown = ask == Ask::Shutdown;
        let answer = match ask {
            Ask::Hello { protocol: PROTOCOL } => {
                self.greeted = true;
                Some(Ok(Answer::Hello(self.core.inspect.hello())))
            }
            Ask::Hello { protocol: asked } => Some(Err(Refusal::Protocol { asked, spoken: PROTOCOL })),
            _ if !self.greeted => Some(Err(Refusal::HelloFirst)),
            Ask::Subscribe(filter) => {
                let events = self.subscription.take().map_or_else(|| self.core.inspect.events(), |before| before.events);
                self.subscription = Some(Subscribed { filter, events });
                Some(Ok(Answer::Subscribed))
            }
            Ask::TierReached { bead, tier, within_ms } => self.wait(id, bead, tier, within_ms).await?.err().map(Err),
            ask => Some(self.inspect(move |inspect| inspect.answer(ask)).await?),
        };
        let last = is_shutdown && matches!(answer, Some(Ok(_)));
        match answer {
            Some(Ok(answer)) => self.say(&Line::Answer { id, is: answer }).await?,
            Some(Err(refusal)) => self.say(&Line::error(Some(id), refusal)).await?,
            None => {}
        }
        if last {
            self.core.close(Farewell::ShutDown);
        }
        Ok(())
    }

    /// Runs `ask` where it may take its time.
    async fn inspect<R: Send + 'static>(
        &mut self,
        ask: impl FnOnce(&dyn crate::inspect::Inspect) -> Result<R, Refusal> + Send + 'static,
    ) -> Result<Result<R, Refusal>, End> {
        let inspect = Arc::clone(&self.core.inspect);
        let asked = task::spawn_blocking(move || ask(&*inspect));
        tokio::select! {
            answer = asked => Ok(answer.unwrap_or_else(|error| Err(Refusal::Failed { problem: problem(error) }))),
            why = closed(&mut self.closing) => Err(End::Bye(why)),
        }
    }

    /// Has a task wait, or says why not.
    async fn wait(&mut self, id: u64, key: BeadKey, tier: u8, within_ms: Option<u64>) -> Result<Result<(), Refusal>, End> {
        if self.waits.len() >= MOST_WAITS {
            return Ok(Err(Refusal::TooManyWaits { limit: MOST_WAITS }));
        }
        let bead = match self.inspect(move |inspect| inspect.find(&key)).await? {
            Ok(bead) => bead,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let reached = self.core.inspect.reached(bead, Tier::new(tier));
        self.waits.spawn(async move {
            let limit = within_ms.map_or(Duration::MAX, Duration::from_millis);
            let outcome = match time::timeout(limit, reached).await {
                Ok(Ok(tier)) => Ok(Answer::TierReached { bead, tier: tier.index() }),
                Ok(Err(error)) => Err(refusal(error, bead, tier)),
                Err(_) => Err(Refusal::Late { bead, tier, within_ms: within_ms.unwrap_or(u64::MAX) }),
            };
            match outcome {
                Ok(answer) => Line::Answer { id, is: answer },
                Err(refusal) => Line::error(Some(id), refusal),
            }
        });
        Ok(Ok(()))
    }

    /// Writes an event, and those that have come meanwhile.
    async fn tell(&mut self, first: Result<Arc<Event>, RecvError>) -> Result<(), End> {
        let mut next = Some(first);
        let mut looked_at = 0;
        while let (Some(got), Some(Subscribed { filter, events })) = (next.take(), &mut self.subscription) {
            match got {
                Ok(event) if filter.shows(&event) => encode(&mut self.out, &Line::Event(EventRecord::from(&*event))),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => encode(&mut self.out, &Line::Missed(missed)),
                Err(RecvError::Closed) => return Err(End::Bye(Farewell::Closed)),
            }
            looked_at += 1;
            if looked_at < BATCH_EVENTS && self.out.len() < BATCH_BYTES {
                next = try_next(events);
            }
        }
        self.write().await
    }

    /// Writes the events that have come already.
    async fn tell_rest(&mut self) -> Result<(), End> {
        for _ in 0..self.subscription.as_ref().map_or(0, |subscribed| subscribed.events.len()) {
            match self.subscription.as_mut().and_then(|subscribed| try_next(&mut subscribed.events)) {
                Some(next) => self.tell(next).await?,
                None => break,
            }
        }
        Ok(())
    }

    async fn say(&mut self, line: &Line) -> Result<(), End> {
        encode(&mut self.out, line);
        self.write().await
    }

    /// Writes `out`, as far as the client takes it in time.
    async fn write(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = {
            let write = self.to.write_all(&self.out);
            tokio::pin!(write);
            tokio::select! {
                written = &mut write => written.is_ok(),
                _ = closed(&mut self.closing) => matches!(time::timeout(GRACE, write).await, Ok(Ok(()))),
                () = time::sleep(self.core.patience) => false,
            }
        };
        self.out.clear();
        self.out.shrink_to(BATCH_BYTES * 2);
        if written { Ok(()) } else { Err(End::Gone) }
    }
}

fn encode(out: &mut Vec<u8>, line: &Line) {
    let before = out.len();
    // Lines are made of numbers, strings and lists, which have no way to fail; half a line would be worse than none.
    match serde_json::to_writer(&mut *out, line) {
        Ok(()) => out.push(b'\n'),
        Err(_) => out.truncate(before),
    }
}

/// What is said about a line that is no request, to whoever can still be told by its id.
fn malformed(line: u64, text: &[u8], error: &serde_json::Error) -> Line {
    #[derive(Deserialize)]
    struct Some {
        id: u64,
    }
    let id = serde_json::from_slice(text).ok().map(|Some { id }| id);
    let mut problem = error.to_string();
    if let Some(place) = problem.rfind(" at line ") {
        problem.truncate(place);
    }
    Line::error(id, Refusal::Malformed { line, column: error.column(), problem })
}

fn refusal(error: WaitError, bead: Id, tier: u8) -> Refusal {
    match error {
        WaitError::NotReached { never, .. } => Refusal::NotReached { bead, tier, never },
        WaitError::NoSuchTier { highest, .. } => Refusal::NoSuchTier { tier, highest: highest.index() },
        WaitError::ForeignBead => Refusal::UnknownBead { bead: bead.into() },
    }
}

/// What a panic said.
fn problem(error: task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "cancelled".to_owned() };
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}
