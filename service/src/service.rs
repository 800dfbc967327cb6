//! Attaching a control plane to a broker, and closing it.

use std::{
    fmt,
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Weak, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tierup_broker::{Bead, BeadId, Broker, Tier};
use tokio::{net::UnixListener, runtime, sync::watch};

use crate::{
    core::Core,
    error::{ServeError, WaitError},
    feed::{BUFFER, Feed},
    inspect::{Alias, Inspector, Renew},
    protocol::Farewell,
    server,
    socket::SocketFile,
};

/// Clients served at a time, unless told otherwise.
const CLIENTS: usize = 32;
/// Time a client has to say hello, and to take what is written to it, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
/// Threads that do what clients ask, in a runtime of one's own: what they do is short, or a walk over all beads.
const HELPERS: usize = 2;
/// How long the thread of one's own waits in the end for what is still being done for clients.
const LAST: Duration = Duration::from_secs(1);

/// Configures a [`Service`]; see [`Service::builder`].
#[must_use]
pub struct Builder<G: Send + Sync + 'static> {
    broker: Broker<G>,
    alias: Option<Alias<G>>,
    renew: Option<Renew<G>>,
    read_only: bool,
    buffer: usize,
    clients: usize,
    patience: Duration,
}

impl<G: Send + Sync + 'static> Builder<G> {
    /// Another name by which clients may name a bead, besides what the broker's `describe` function calls it. Called for every
    /// bead whenever a client names one.
    pub fn alias(mut self, alias: impl Fn(&G) -> String + Send + Sync + 'static) -> Self {
        self.alias = Some(Box::new(alias));
        self
    }

    /// What a bead's new body is when a client reloads it: given the present one, or in words why there is none. Default: nothing
    /// can be reloaded. While this runs, no retired code is freed. Where the program reloads functions itself meanwhile, the last one
    /// to do so wins.
    pub fn on_reload(mut self, renew: impl Fn(BeadId, &G) -> Result<G, String> + Send + Sync + 'static) -> Self {
        self.renew = Some(Box::new(renew));
        self
    }

    /// Lets clients look on only: whoever asks for what changes something is refused. Default: they may.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Events kept for slow clients, one ring for all: from 2 to 65,536, rounded up to a power of two. Default: 4096.
    pub fn buffer(mut self, events: usize) -> Self {
        self.buffer = events;
        self
    }

    /// Clients served at a time; whoever comes when there are as many is turned away. Default: 32.
    pub fn clients(mut self, most: usize) -> Self {
        self.clients = most;
        self
    }

    /// How long a client may take to say hello, and to take a batch that is written to it, before it is given up. Default: 30 s.
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// Listens at `path`, and serves on one thread of its own. Returns once clients can connect.
    ///
    /// # Errors
    ///
    /// A [`ServeError`] that says why nobody can.
    pub fn serve(self, path: impl AsRef<Path>) -> Result<Service<G>, ServeError> {
        let path = path.as_ref().to_owned();
        let (core, feed) = self.parts();
        let (done, ended) = watch::channel(false);
        let (ready, when_ready) = mpsc::sync_channel(1);
        let (shared, at) = (Arc::clone(&core), path.clone());
        let serve = move || {
            let runtime = match own_runtime() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(ServeError::Thread(error)))),
            };
            runtime.block_on(async {
                match listen(&at).await {
                    Ok((listener, file)) => {
                        let _ = ready.send(Ok(Arc::downgrade(&file)));
                        server::run(listener, file, shared, done).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
            runtime.shutdown_timeout(LAST);
        };
        let thread = thread::Builder::new().name("tierup-service".to_owned()).spawn(serve).map_err(ServeError::Thread)?;
        let died = || ServeError::Thread(io::Error::other("it ended"));
        let file = when_ready.recv().map_err(|_| died())??;
        Ok(Service { core, feed, file, path, ended, thread: Some(thread) })
    }

    /// Listens at `path`, and serves on the runtime this is awaited on, which needs its I/O and clock enabled. What takes long is
    /// done on the runtime's blocking threads.
    ///
    /// # Errors
    ///
    /// A [`ServeError`] that says why nobody can connect.
    ///
    /// # Panics
    ///
    /// When awaited outside of such a runtime.
    pub async fn serve_here(self, path: impl AsRef<Path>) -> Result<Service<G>, ServeError> {
        let path = path.as_ref().to_owned();
        let (listener, file) = listen(&path).await?;
        let (core, feed) = self.parts();
        let (done, ended) = watch::channel(false);
        let kept = Arc::downgrade(&file);
        tokio::spawn(server::run(listener, file, Arc::clone(&core), done));
        Ok(Service { core, feed, file: kept, path, ended, thread: None })
    }

    fn parts(self) -> (Arc<Core>, Arc<Feed<G>>) {
        let feed = Arc::new(Feed::with_buffer(&self.broker, self.buffer));
        let inspect =
            Arc::new(Inspector { feed: Arc::clone(&feed), alias: self.alias, renew: self.renew, read_only: self.read_only });
        let (closing, _) = watch::channel(None);
        (Arc::new(Core { inspect, closing, clients: self.clients, patience: self.patience }), feed)
    }
}

fn own_runtime() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(HELPERS)
        .thread_name("tierup-service-helper")
        .build()
}

async fn listen(path: &Path) -> Result<(UnixListener, Arc<SocketFile>), ServeError> {
    let (listener, file) = SocketFile::listen(path).await?;
    Ok((listener, Arc::new(file)))
}

impl<G: Send + Sync + 'static> fmt::Debug for Builder<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("buffer", &self.buffer).field("clients", &self.clients).finish_non_exhaustive()
    }
}

/// A control plane that is served.
///
/// Dropping it closes it: clients are told so, and the socket is removed. With a thread of its own the drop waits until that is
/// done, which takes a few seconds at most, whatever clients do. It holds a clone of the broker.
pub struct Service<G: Send + Sync + 'static> {
    core: Arc<Core>,
    feed: Arc<Feed<G>>,
    /// The server's: it goes with whoever serves, were it a runtime that is dropped.
    file: Weak<SocketFile>,
    path: PathBuf,
    /// True, or without a sender, when nothing is served any more.
    ended: watch::Receiver<bool>,
    thread: Option<JoinHandle<()>>,
}

impl<G: Send + Sync + 'static> Service<G> {
    /// Starts configuring a control plane for `broker`.
    pub fn builder(broker: &Broker<G>) -> Builder<G> {
        Builder {
            broker: broker.clone(),
            alias: None,
            renew: None,
            read_only: false,
            buffer: BUFFER,
            clients: CLIENTS,
            patience: PATIENCE,
        }
    }

    /// Where clients connect.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The broker's events, without a socket.
    pub fn feed(&self) -> &Arc<Feed<G>> {
        &self.feed
    }

    /// As [`Feed::tier_reached`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    pub fn tier_reached(&self, bead: &Bead<G>, tier: Tier) -> impl Future<Output = Result<Tier, WaitError>> + Send + use<G> {
        self.feed.tier_reached(bead, tier)
    }

    /// Tells clients that the service closes, and closes it. Does not wait; the broker goes on.
    pub fn close(&self) {
        self.core.close(Farewell::Closed);
    }

    /// Waits until the service is closed, by [`close`](Self::close) or because a client asked for a
    /// [shutdown](crate::protocol::Ask::Shutdown), and every client was told.
    pub async fn closed(&self) {
        let mut ended = self.ended.clone();
        // An error: the runtime is gone, and the server with it.
        let _ = ended.wait_for(|&ended| ended).await;
    }
}

impl<G: Send + Sync + 'static> Drop for Service<G> {
    fn drop(&mut self) {
        self.close();
        // Now, not when a runtime comes to it: the process may end next.
        if let Some(file) = self.file.upgrade() {
            file.remove();
        }
        // What a client has asked for may be what drops this.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl<G: Send + Sync + 'static> fmt::Debug for Service<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("path", &self.path).finish_non_exhaustive()
    }
}
