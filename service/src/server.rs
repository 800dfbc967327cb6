//! Accepts clients, a bounded number of them, until the service closes.

use std::{io::Write, sync::Arc, time::Duration};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time,
};

use crate::{
    core::{Core, GRACE, closed},
    protocol::{Farewell, Line},
    session,
    socket::SocketFile,
};

/// How long to wait when the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(100);

/// Serves until the service closes; returns once every client has heard of that, or had time to.
pub(crate) async fn run(listener: UnixListener, file: Arc<SocketFile>, core: Arc<Core>, done: watch::Sender<bool>) {
    let mut closing = core.closing.subscribe();
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            _ = closed(&mut closing) => break,
            Some(_) = sessions.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if !file.admits(&client) => {}
                Ok((client, _)) if sessions.len() >= core.clients => turn_away(client),
                Ok((client, _)) => {
                    sessions.spawn(session::run(client, Arc::clone(&core)));
                }
                Err(error) => {
                    tracing::warn!(target: "tierup", %error, path = %file.path().display(), "no client can connect");
                    time::sleep(NO_ROOM).await;
                }
            },
        }
    }
    file.remove();
    drop(listener);
    let every = async { while sessions.join_next().await.is_some() {} };
    // A client that is being written to has its grace, and as much again to be told why.
    if time::timeout(GRACE * 3, every).await.is_err() {
        sessions.shutdown().await;
    }
    done.send_replace(true);
}

/// Says that there are too many clients, to whoever listens at once.
fn turn_away(client: UnixStream) {
    let (Ok(mut client), Ok(mut line)) = (client.into_std(), serde_json::to_vec(&Line::Bye(Farewell::Busy))) else { return };
    line.push(b'\n');
    // It does not block, as tokio has made it.
    let _ = client.write(&line);
}
