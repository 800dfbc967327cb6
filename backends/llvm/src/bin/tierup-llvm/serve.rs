//! The helper's side of the conversation: one thread listens, the other compiles.

use std::{
    any::Any,
    io,
    panic::{self, AssertUnwindSafe},
    sync::mpsc,
    thread,
};

use inkwell::support::get_llvm_version;
use tierup_backends::llvm::protocol::{Answer, Hello, VERSION, read_frame, write_frame};
use tierup_llvm::{ObjectCompiler, text};

use crate::fault::Fault;

/// What was asked, in order.
pub(crate) type Requests = mpsc::Receiver<Vec<u8>>;

/// Starts to listen. When the input ends, whoever started us is gone or wants us to be: the process ends, also in the middle
/// of a compile, and with requests that nobody waits for any more. They are read as they come, so none hides the end.
pub(crate) fn listen() -> Requests {
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        while let Ok(Some(request)) = read_frame(&mut io::stdin().lock()) {
            if sender.send(request).is_err() {
                break;
            }
        }
        // SAFETY: ends the process at once. Not `exit`: LLVM's destructors must not run while another thread is inside LLVM.
        unsafe { libc::_exit(0) }
    });
    requests
}

/// Says hello and answers every request.
pub(crate) fn serve(compiler: &mut ObjectCompiler, requests: &Requests, fault: Option<&Fault>) -> io::Result<()> {
    let (major, minor, patch) = get_llvm_version();
    let version = if fault.is_some_and(Fault::is_other_version) { VERSION + 1 } else { VERSION };
    let hello = Hello { version, compiler: format!("LLVM {major}.{minor}.{patch}") };
    write_frame(&mut io::stdout().lock(), &hello.encode())?;
    for request in requests {
        if let Some(fault) = fault {
            fault.strike()?;
        }
        let answer = match str::from_utf8(&request) {
            Ok(clif) => panic::catch_unwind(AssertUnwindSafe(|| text::compile(compiler, clif)))
                .unwrap_or_else(|payload| Answer::Failed(format!("the translator panicked: {}", message(&*payload)))),
            Err(error) => Answer::Failed(error.to_string()),
        };
        write_frame(&mut io::stdout().lock(), &answer.encode())?;
    }
    Ok(())
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
