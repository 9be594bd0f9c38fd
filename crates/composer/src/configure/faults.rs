//! What is wrong with the settings of an order, collected, so that whoever ordered is told of all at once.

use crate::ComposeError;

/// Settings that the image cannot have, in the order they were found.
#[derive(Default)]
pub(super) struct Faults(Vec<ComposeError>);

impl Faults {
    /// Keeps what is wrong with a setting, so that the others are looked at too.
    ///
    /// # Errors
    /// Whatever else went wrong ends the work at once.
    pub(super) fn keep(&mut self, done: Result<(), ComposeError>) -> Result<(), ComposeError> {
        match done {
            Err(error) if error.setting.is_some() => {
                self.0.push(error);
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the work where anything is wrong, with all of it: one setting as it was found, several in a line each.
    pub(super) fn end(mut self) -> Result<(), ComposeError> {
        if self.0.len() <= 1 {
            return self.0.pop().map_or(Ok(()), Err);
        }
        let output = self.0.iter().flat_map(|fault| fault.output.clone()).collect();
        let lines: Vec<String> = self.0.iter().map(|fault| format!("{fault} {}", fault.advice).trim_end().to_owned()).collect();
        Err(ComposeError::new(lines.join("\n"), "Correct all of this in the order.").with_output(output))
    }
}
