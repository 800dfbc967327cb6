//! `tierup ctl`: asks a program that runs with `--serve`.

mod show;

use std::time::Duration;

use tierup_service::{
    Client, Streamed,
    protocol::{Ask, BeadKey, Filter, Line},
};

use crate::error::CliError;
use crate::options::{CtlCommand, CtlOptions};
use crate::{output, serve};

/// Asks, prints the answer, and returns the exit code.
///
/// # Errors
///
/// When nobody answers, or the request is refused.
pub(crate) fn ctl(options: CtlOptions) -> Result<i32, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(CliError::Runtime)?;
    runtime.block_on(async {
        let client = Client::connect(&options.socket).await?;
        match options.what {
            CtlCommand::Events { names } => events(client, &names, options.json).await,
            CtlCommand::Beads { containing } => beads(client, &containing, options.json).await,
            CtlCommand::Tier { name, tier, within } => {
                let limit = within.map(|seconds| Duration::from_secs(seconds.into()));
                let mut client = client;
                let reached = client.tier_reached(key(&name), tier, limit).await?;
                output::line(if options.json { reached.to_string() } else { format!("it runs tier {reached}") })
            }
            what => once(client, ask(what), options.json).await,
        }
    })?;
    Ok(0)
}

/// The requests that are asked once and answered once.
fn ask(what: CtlCommand) -> Ask {
    match what {
        CtlCommand::Why { name } => Ask::Why { bead: key(&name) },
        CtlCommand::Invalidate { name } => Ask::Invalidate { bead: key(&name) },
        CtlCommand::Reload { name } => Ask::Reload { bead: key(&name) },
        CtlCommand::Disable { name } => Ask::Disable { bead: key(&name) },
        CtlCommand::Shutdown => Ask::Shutdown,
        CtlCommand::Stats | CtlCommand::Events { .. } | CtlCommand::Beads { .. } | CtlCommand::Tier { .. } => Ask::Stats,
    }
}

async fn once(mut client: Client, ask: Ask, json: bool) -> Result<(), CliError> {
    let answer = client.ask(ask).await?;
    output::line(if json { encoded(&answer) } else { show::answer(&answer, client.hello()) })
}

/// Every page, one after the other.
async fn beads(mut client: Client, containing: &str, json: bool) -> Result<(), CliError> {
    let (mut all, mut from) = (Vec::new(), Some(0));
    while let Some(first) = from {
        let page = client.beads(first, 0, containing).await?;
        from = page.next;
        if json {
            page.beads.iter().try_for_each(|bead| output::line(encoded(bead)))?;
        } else {
            all.extend(page.beads);
        }
    }
    if json { Ok(()) } else { output::line(show::beads(&all)) }
}

/// Until the program, or the reader, ends.
async fn events(client: Client, names: &[String], json: bool) -> Result<(), CliError> {
    let mut client = client;
    let mut beads = Vec::new();
    for name in names {
        // By id: events go by names, not by indices.
        let (bead, _) = client.why(key(name)).await?;
        beads.push(bead.bead.into());
    }
    let mut events = client.subscribe(Filter { beads, ..Filter::default() }).await?;
    loop {
        let next = events.next().await?;
        let end = matches!(next, Streamed::End(_));
        let text = if json { encoded(&as_line(next)) } else { show::streamed(&next) };
        if !output::line_to_reader(text)? || end {
            return Ok(());
        }
    }
}

fn as_line(streamed: Streamed) -> Line {
    match streamed {
        Streamed::Event(event) => Line::Event(*event),
        Streamed::Missed(missed) => Line::Missed(missed),
        Streamed::End(farewell) => Line::Bye(farewell),
    }
}

fn encoded(value: &impl serde::Serialize) -> String {
    // Made of numbers, strings and lists, which have no way to fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// How a function is named on the command line.
fn key(text: &str) -> BeadKey {
    if let Some(id) = text.strip_prefix('#').and_then(id) {
        id
    } else if let Ok(index) = text.parse() {
        BeadKey::named(serve::alias(index))
    } else {
        BeadKey::named(text)
    }
}

/// `ID` or `ID.GENERATION`.
fn id(text: &str) -> Option<BeadKey> {
    Some(match text.split_once('.') {
        Some((id, generation)) => BeadKey::Id { id: id.parse().ok()?, generation: Some(generation.parse().ok()?) },
        None => BeadKey::Id { id: text.parse().ok()?, generation: None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_by_name_index_and_id() {
        assert_eq!(key("step"), BeadKey::named("step"));
        assert_eq!(key("function 3"), BeadKey::named("function 3"));
        assert_eq!(key("3"), BeadKey::named("function 3"));
        assert_eq!(key("#3"), BeadKey::Id { id: 3, generation: None });
        assert_eq!(key("#3.2"), BeadKey::Id { id: 3, generation: Some(2) });
        for name in ["", "#", "#x", "#3.", "#3.x", "-3", "4294967296"] {
            assert_eq!(key(name), BeadKey::named(name));
        }
    }
}
