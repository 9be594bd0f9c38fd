//! QEMU's machine protocol (QMP): one JSON object a line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::MachineError;

/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most messages that may come before the answer; events do.
const MAX_MESSAGES: usize = 1_000;

/// Has one command done.
pub(crate) fn execute(socket: &Path, command: &str, arguments: &Value) -> Result<(), MachineError> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    // The greeting comes first, and commands are taken after the negotiation alone.
    next(&mut reader, "QMP")?;
    writeln!(writer, "{}", json!({ "execute": "qmp_capabilities" }))?;
    next(&mut reader, "return")?;
    writeln!(writer, "{}", json!({ "execute": command, "arguments": arguments }))?;
    next(&mut reader, "return")
}

/// Reads until a message with this member comes.
fn next(reader: &mut impl BufRead, member: &str) -> Result<(), MachineError> {
    for _ in 0..MAX_MESSAGES {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(MachineError::Monitor("it hung up".into()));
        }
        let message: Value = serde_json::from_str(&line).map_err(|e| MachineError::Monitor(e.to_string()))?;
        if let Some(error) = message.get("error") {
            return Err(MachineError::Monitor(error["desc"].as_str().unwrap_or("an error without a reason").to_owned()));
        }
        if message.get(member).is_some() {
            return Ok(());
        }
    }
    Err(MachineError::Monitor("it did not answer".into()))
}
