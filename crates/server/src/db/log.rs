//! The log of a build, bounded, so that a package that chatters cannot fill the disk.

use super::{Db, Result, Writing, to_i64};

/// Most lines kept of one build.
const MAX_LINES: i64 = 20_000;
/// Most bytes kept of one build.
const MAX_BYTES: i64 = 4 * 1024 * 1024;
/// The byte count of a log that was cut and takes no more.
const CLOSED: i64 = -1;
/// Longest line kept, in bytes.
const MAX_LINE: usize = 2_000;

/// A line of a build's log. The sequence starts at 1 and has no gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub seq: u64,
    pub text: String,
}

impl Db {
    /// Lines after `after`, at most `limit`.
    pub async fn log_after(&self, build: &str, after: u64, limit: u32) -> Result<Vec<LogLine>> {
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT seq, line FROM build_log WHERE build = $1 AND seq > $2 ORDER BY seq LIMIT $3")
                .bind(build)
                .bind(to_i64(after))
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().map(|(seq, text)| LogLine { seq: super::to_u64(seq), text }).collect())
    }

    /// The last lines, oldest first.
    pub async fn log_tail(&self, build: &str, limit: u32) -> Result<Vec<LogLine>> {
        let last: i64 =
            sqlx::query_scalar("SELECT log_lines FROM builds WHERE id = $1").bind(build).fetch_one(&self.pool).await?;
        self.log_after(build, super::to_u64(last.saturating_sub(i64::from(limit))), limit).await
    }
}

/// Adds lines. What is over the bounds is dropped, and a last line says so.
pub(super) async fn append<'a>(tx: &mut Writing, build: &str, lines: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let (mut count, mut bytes): (i64, i64) =
        sqlx::query_as("SELECT log_lines, log_bytes FROM builds WHERE id = $1").bind(build).fetch_one(&mut **tx).await?;
    for line in lines {
        if bytes == CLOSED {
            break;
        }
        let full = count + 1 >= MAX_LINES || bytes >= MAX_BYTES;
        let text = if full { "— the log is too long; what follows is not kept —".to_owned() } else { printable(line) };
        count += 1;
        bytes = if full { CLOSED } else { bytes.saturating_add(i64::try_from(text.len()).unwrap_or(MAX_BYTES)) };
        sqlx::query("INSERT INTO build_log (build, seq, line) VALUES ($1, $2, $3)")
            .bind(build)
            .bind(count)
            .bind(text)
            .execute(&mut **tx)
            .await?;
    }
    sqlx::query("UPDATE builds SET log_lines = $1, log_bytes = $2 WHERE id = $3")
        .bind(count)
        .bind(bytes)
        .bind(build)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The line without control characters (terminal colours among them), cut to a bearable length.
fn printable(line: &str) -> String {
    let mut out = String::with_capacity(line.len().min(MAX_LINE));
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() + c.len_utf8() > MAX_LINE {
            out.push('…');
            break;
        }
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {}
            }
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_colours_and_control_characters() {
        assert_eq!(printable("\u{1b}[1;32m * \u{1b}[0mdone\r"), " * done");
        assert_eq!(printable("a\tb\u{0}c"), "a\tbc");
        assert_eq!(printable("\u{1b}["), "");
        assert!(printable(&"ä".repeat(5_000)).len() <= MAX_LINE + '…'.len_utf8());
    }
}
