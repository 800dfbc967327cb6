//! The other end of the socket.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time,
};

use crate::{
    error::ClientError,
    lines::{Lines, Next},
    protocol::{
        Answer, Ask, BeadKey, BeadRecord, EventRecord, Farewell, Filter, Hello, Id, Line, PROTOCOL, Page, Request, StatsRecord,
    },
};

/// Longest line a service may say: a page of beads with long names.
const LONGEST: usize = 16 * 1024 * 1024;
/// Time for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection on which requests are made, one after the other.
///
/// A request whose future is dropped is given up: its answer is passed over, unless the request was half said.
#[derive(Debug)]
pub struct Client {
    lines: Lines<OwnedReadHalf>,
    to: OwnedWriteHalf,
    hello: Hello,
    last_id: u64,
    /// A request is being said.
    saying: bool,
}

impl Client {
    /// Connects to the service at `path`, and exchanges hellos.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; also when that takes longer than 30 s.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let refused = |source| ClientError::Connect { path: path.to_owned(), source };
        let connected = time::timeout(PATIENCE, UnixStream::connect(path)).await;
        let stream = connected.map_err(|_| ClientError::Silent(PATIENCE))?.map_err(refused)?;
        let (from, to) = stream.into_split();
        let nobody = Hello { protocol: PROTOCOL, server: String::new(), pid: 0, tiers: Vec::new() };
        let mut client = Client { lines: Lines::new(from, LONGEST), to, hello: nobody, last_id: 0, saying: false };
        match client.ask(Ask::Hello { protocol: PROTOCOL }).await? {
            Answer::Hello(hello) => client.hello = hello,
            other => return Err(unexpected(&other)),
        }
        Ok(client)
    }

    /// Who is at the other end.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// What is known about a bead, and what is missing for its next promotion.
    ///
    /// # Errors
    ///
    /// A [`ClientError`], as from every request.
    pub async fn why(&mut self, bead: BeadKey) -> Result<(BeadRecord, String), ClientError> {
        match self.ask(Ask::Why { bead }).await? {
            Answer::Why { bead, missing } => Ok((*bead, missing)),
            other => Err(unexpected(&other)),
        }
    }

    /// Up to `limit` beads from the id `from` on, whose names contain `containing`.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub async fn beads(&mut self, from: u32, limit: u32, containing: &str) -> Result<Page, ClientError> {
        match self.ask(Ask::Beads { from, limit, containing: containing.to_owned() }).await? {
            Answer::Beads(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    /// What the broker has done so far.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub async fn stats(&mut self) -> Result<StatsRecord, ClientError> {
        match self.ask(Ask::Stats).await? {
            Answer::Stats(stats) => Ok(*stats),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops new entries into the bead's code; returns whether it had any.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub async fn invalidate(&mut self, bead: BeadKey) -> Result<bool, ClientError> {
        match self.ask(Ask::Invalidate { bead }).await? {
            Answer::Invalidated { had_code, .. } => Ok(had_code),
            other => Err(unexpected(&other)),
        }
    }

    /// Replaces the bead's body by what the program says is the new one.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub async fn reload(&mut self, bead: BeadKey) -> Result<Id, ClientError> {
        match self.ask(Ask::Reload { bead }).await? {
            Answer::Reloaded { bead } => Ok(bead),
            other => Err(unexpected(&other)),
        }
    }

    /// Returns the bead to the interpreter and keeps it there until it is reloaded.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub async fn disable(&mut self, bead: BeadKey) -> Result<Id, ClientError> {
        match self.ask(Ask::Disable { bead }).await? {
            Answer::Disabled { bead } => Ok(bead),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until the bead runs code of `tier` or of a higher one, and returns which; for ever, if there is no limit. The limit is
    /// rounded down to milliseconds.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; a refusal when the bead cannot reach the tier any more, or does not in time.
    pub async fn tier_reached(&mut self, bead: BeadKey, tier: u8, limit: Option<Duration>) -> Result<u8, ClientError> {
        let within_ms = limit.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let ask = Ask::TierReached { bead, tier, within_ms };
        match self.ask_within(ask, limit.map_or(Duration::MAX, |limit| limit.saturating_add(PATIENCE))).await? {
            Answer::TierReached { tier, .. } => Ok(tier),
            other => Err(unexpected(&other)),
        }
    }

    /// Shuts down the broker, and then the service: no new promotions, what is queued is dropped, code stays.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub async fn shutdown(mut self) -> Result<(), ClientError> {
        match self.ask(Ask::Shutdown).await? {
            Answer::ShutDown => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a connection of events of this one.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub async fn subscribe(mut self, filter: Filter) -> Result<Events, ClientError> {
        match self.ask(Ask::Subscribe(filter)).await? {
            Answer::Subscribed => Ok(Events { lines: self.lines, _to: self.to }),
            other => Err(unexpected(&other)),
        }
    }

    /// Any request, and its answer.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub async fn ask(&mut self, ask: Ask) -> Result<Answer, ClientError> {
        self.ask_within(ask, PATIENCE).await
    }

    async fn ask_within(&mut self, ask: Ask, limit: Duration) -> Result<Answer, ClientError> {
        time::timeout(limit, self.exchange(ask)).await.unwrap_or(Err(ClientError::Silent(limit)))
    }

    async fn exchange(&mut self, ask: Ask) -> Result<Answer, ClientError> {
        if self.saying {
            return Err(ClientError::HalfSaid);
        }
        self.last_id += 1;
        let request = Request { id: self.last_id, ask };
        let mut line = serde_json::to_vec(&request).map_err(|error| ClientError::Protocol(error.to_string()))?;
        line.push(b'\n');
        self.saying = true;
        let said = self.to.write_all(&line).await;
        // Whoever cannot write may still read why.
        self.saying = false;
        loop {
            match next_line(&mut self.lines).await {
                Ok(Line::Answer { id, is }) if id == self.last_id => return Ok(is),
                Ok(Line::Error { id, error, message }) if id.is_none_or(|id| id == self.last_id) => {
                    return Err(ClientError::Refused { error, message });
                }
                Ok(Line::Bye(farewell)) => return Err(ClientError::Bye(farewell)),
                // The answer to a request that was given up.
                Ok(_) => {}
                Err(error) => return Err(said.err().map_or(error, ClientError::Broken)),
            }
        }
    }
}

/// A connection on which events come.
#[derive(Debug)]
pub struct Events {
    lines: Lines<OwnedReadHalf>,
    /// Open: the service takes its end for the client's.
    _to: OwnedWriteHalf,
}

/// What comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Streamed {
    /// An event.
    Event(Box<EventRecord>),
    /// As many events are lost: they were not read fast enough.
    Missed(u64),
    /// Nothing any more.
    End(Farewell),
}

impl Events {
    /// The next one. Cancel-safe.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub async fn next(&mut self) -> Result<Streamed, ClientError> {
        loop {
            match next_line(&mut self.lines).await? {
                Line::Event(event) => return Ok(Streamed::Event(Box::new(event))),
                Line::Missed(missed) => return Ok(Streamed::Missed(missed)),
                Line::Bye(farewell) => return Ok(Streamed::End(farewell)),
                Line::Error { error, message, .. } => return Err(ClientError::Refused { error, message }),
                Line::Answer { .. } => {}
            }
        }
    }
}

async fn next_line(lines: &mut Lines<OwnedReadHalf>) -> Result<Line, ClientError> {
    match lines.next().await? {
        Next::Line(text) => serde_json::from_slice(&text).map_err(|error| ClientError::Protocol(error.to_string())),
        Next::TooLong => Err(ClientError::Protocol(format!("a line of more than {LONGEST} bytes"))),
        Next::Unfinished => Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into())),
        Next::End => Err(ClientError::Closed),
    }
}

fn unexpected(answer: &Answer) -> ClientError {
    ClientError::Protocol(format!("an answer to something else: {answer:?}"))
}
