//! One helper process and the conversation with it.
//!
//! The pipes do not block, so that a helper that stopped answering costs the time it is given and not a thread. Dropping a
//! connection kills its process. A program that ends without dropping it closes the pipe all the same, for no child inherits our
//! end; a thread of the helper does nothing but read, and takes the process with it at the end of its input, whatever the others
//! are at. Only a helper that is not in its `main` yet gets there first.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    HelperError,
    protocol::{self, Answer, BadBody, Hello, VERSION},
};

/// How often a wait asks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(20);
/// What is kept of a helper's last words.
const LAST_WORDS: usize = 2048;
/// How long a process that closed its output may take to end by itself.
const ENDING: Duration = Duration::from_millis(200);

/// How long a wait lasts.
pub(super) struct Patience<'a> {
    pub(super) cancelled: &'a dyn Fn() -> bool,
    pub(super) limit: Duration,
}

/// A running helper.
#[derive(Debug)]
pub(super) struct Connection {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    incoming: Vec<u8>,
    last_words: Vec<u8>,
    greeted: bool,
}

impl Connection {
    /// Starts a process and does not wait for it. `std` uses `posix_spawn` here: nothing of this process is copied.
    pub(super) fn start(command: &mut Command) -> Result<Self, HelperError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| HelperError::from_spawn(command.get_program(), error))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else { unreachable!("all are piped") };
        for pipe in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            stop_blocking(pipe).map_err(HelperError::Pipe)?;
        }
        let (incoming, last_words) = (Vec::new(), Vec::new());
        Ok(Connection { child, stdin, stdout, stderr: Some(stderr), incoming, last_words, greeted: false })
    }

    /// Compiles a unit. After an error the connection is of no more use.
    pub(super) fn compile(&mut self, clif: &str, patience: &Patience<'_>) -> Result<Answer, HelperError> {
        if !self.greeted {
            self.greet(patience)?;
        }
        let body = self.exchange(&protocol::frame(clif.as_bytes()), patience)?;
        Ok(Answer::decode(&body)?)
    }

    /// Waits until the helper is ready, and tells what it calls itself.
    pub(super) fn greet(&mut self, patience: &Patience<'_>) -> Result<String, HelperError> {
        let hello = match self.exchange(&[], patience) {
            Ok(body) => Hello::decode(&body).map_err(HelperError::NotAHelper)?,
            Err(HelperError::Confused(error)) => return Err(HelperError::NotAHelper(error)),
            Err(error) => return Err(error),
        };
        if hello.version != VERSION {
            return Err(HelperError::Version { found: hello.version });
        }
        tracing::debug!(target: "tierup", pid = self.child.id(), compiler = %hello.compiler, "helper is ready");
        self.greeted = true;
        Ok(hello.compiler)
    }

    /// Sends `request` and receives one frame.
    fn exchange(&mut self, mut request: &[u8], patience: &Patience<'_>) -> Result<Vec<u8>, HelperError> {
        let start = Instant::now();
        loop {
            if let Some(body) = protocol::first_body(&self.incoming)? {
                if protocol::LENGTH_BYTES + body.len() != self.incoming.len() || !request.is_empty() {
                    return Err(BadBody::UNASKED.into());
                }
                let body = body.to_vec();
                self.incoming.clear();
                return Ok(body);
            }
            if (patience.cancelled)() {
                return Err(HelperError::Cancelled);
            }
            if start.elapsed() >= patience.limit {
                return Err(HelperError::Silent { limit: patience.limit, last_words: self.last_words() });
            }
            self.wait(!request.is_empty()).map_err(HelperError::Pipe)?;
            self.listen_to_stderr();
            if !request.is_empty() {
                match self.stdin.write(request) {
                    Ok(written) => request = &request[written..],
                    Err(error) if passes(&error) => {}
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(self.died()),
                    Err(error) => return Err(HelperError::Pipe(error)),
                }
            }
            let before = self.incoming.len();
            match read_available(&mut self.stdout, &mut self.incoming) {
                Ok(()) if self.incoming.len() == before => return Err(self.died()),
                Ok(()) => {}
                Err(error) if passes(&error) => {}
                Err(error) => return Err(HelperError::Pipe(error)),
            }
        }
    }

    /// Waits until a pipe has something to say or take, or for a while.
    fn wait(&self, writing: bool) -> io::Result<()> {
        let interest = |fd: i32, events| libc::pollfd { fd, events, revents: 0 };
        // poll ignores negative descriptors.
        let stderr = self.stderr.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let stdin = if writing { self.stdin.as_raw_fd() } else { -1 };
        let mut pipes =
            [interest(self.stdout.as_raw_fd(), libc::POLLIN), interest(stderr, libc::POLLIN), interest(stdin, libc::POLLOUT)];
        // SAFETY: an array of three descriptors that are open, or ignored.
        let ready = unsafe { libc::poll(pipes.as_mut_ptr(), pipes.len() as libc::nfds_t, GLANCE.as_millis() as i32) };
        match ready {
            -1 => Some(io::Error::last_os_error()).filter(|error| !passes(error)).map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    /// Takes what the helper complained, so that it never waits for somebody to listen.
    fn listen_to_stderr(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let before = self.last_words.len();
        match read_available(stderr, &mut self.last_words) {
            Ok(()) if self.last_words.len() == before => self.stderr = None,
            Err(error) if !passes(&error) => self.stderr = None,
            _ => {}
        }
        let surplus = self.last_words.len().saturating_sub(LAST_WORDS);
        self.last_words.drain(..surplus);
    }

    /// The helper closed its output: how it ended, and what it said.
    fn died(&mut self) -> HelperError {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(None) if start.elapsed() < ENDING => thread::sleep(Duration::from_millis(1)),
                Ok(status) => break status,
                Err(_) => break None,
            }
        };
        self.listen_to_stderr();
        HelperError::Died { status: status.map(Status), last_words: self.last_words() }
    }

    fn last_words(&self) -> String {
        String::from_utf8_lossy(&self.last_words).trim().to_owned()
    }

    /// Whether the process has not ended. Reaps it if it has.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Process id of the helper.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // It may have ended already; and there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub(super) ExitStatus);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Whether an operation on a pipe may simply be tried again.
fn passes(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Reads once; nothing read means the end.
fn read_available(from: &mut impl Read, to: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 16 << 10];
    let read = from.read(&mut chunk)?;
    to.extend_from_slice(&chunk[..read]);
    Ok(())
}

fn stop_blocking(pipe: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an open descriptor; reads its flags.
    let flags = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: as above; our end of the pipe is a description of its own, so the helper's end keeps blocking.
    if flags == -1 || unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
