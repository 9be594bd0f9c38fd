//! Gets one file, over HTTP or from a folder, with a mirror's etiquette: our name, few connections, no request without need.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

use crate::address::{Source, redirect};

const MAX_REDIRECTS: usize = 5;
const MAX_HEADERS: usize = 32 << 10;
/// Idle connections kept per host: enough for one at a time and a second one in a change.
const IDLE_CONNECTIONS: usize = 2;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To look up the name and to connect.
    pub connect: Duration,
    /// For an answer to begin.
    pub answer: Duration,
    /// For more bytes, once it has begun.
    pub stall: Duration,
    /// How often a broken transfer is taken up again; 1 is not at all.
    pub attempts: u32,
    /// Before it is taken up again; doubled each time.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Patience { connect: seconds(20), answer: seconds(60), stall: seconds(60), attempts: 3, pause: seconds(1) }
    }
}

/// What a request asks for besides the file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions {
    /// Only if changed since, seconds since the epoch.
    pub(crate) modified_since: Option<u64>,
    /// Only from this byte on.
    pub(crate) from: u64,
}

/// The answer to a request.
pub(crate) enum Answer {
    /// The bytes from `from` on; 0 when the server does not do ranges.
    Content {
        from: u64,
        body: Box<dyn Read>,
    },
    NotModified,
    /// 404, 410, or no such file.
    Missing,
    /// The range is not there: the file is not longer than that.
    BeyondEnd,
    /// Any other status.
    Status(u16),
    /// A redirect that is not followed.
    Redirect(String),
}

pub(crate) struct Transport {
    agent: Agent,
}

impl Transport {
    pub(crate) fn new(patience: &Patience) -> Transport {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("hatchery/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .http_status_as_error(false)
            // Redirects are followed here, where it is checked where they lead to.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(MAX_HEADERS)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.answer))
            .timeout_per_read(Some(patience.stall))
            .build();
        Transport { agent: Agent::new_with_config(config) }
    }

    /// Asks for a file. An error means that no answer came.
    pub(crate) fn get(&self, source: &Source, conditions: Conditions) -> Result<Answer, String> {
        match source {
            Source::Web(url) => self.get_web(url, conditions),
            Source::File(path) => get_file(path, conditions).map_err(|e| e.to_string()),
        }
    }

    fn get_web(&self, url: &str, conditions: Conditions) -> Result<Answer, String> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(&url, conditions).map_err(|e| e.to_string())?;
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            match (response.status().as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => match redirect(&url, location) {
                    Some(target) => url = target,
                    None => return Ok(Answer::Redirect(location.escape_debug().to_string())),
                },
                (status, _) => return Ok(answer(status, response, conditions)),
            }
        }
        Err(format!("more than {MAX_REDIRECTS} redirects"))
    }

    fn request(&self, url: &str, conditions: Conditions) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(url);
        if let Some(since) = conditions.modified_since {
            request = request.header("If-Modified-Since", http_date(since));
        }
        if conditions.from > 0 {
            request = request.header("Range", format!("bytes={}-", conditions.from));
        }
        request.call()
    }
}

fn answer(status: u16, response: Response<Body>, conditions: Conditions) -> Answer {
    match status {
        200 => Answer::Content { from: 0, body: Box::new(response.into_body().into_reader()) },
        206 => {
            let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
            let start = range.and_then(|r| r.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok());
            match start {
                Some(from) if from == conditions.from => {
                    Answer::Content { from, body: Box::new(response.into_body().into_reader()) }
                }
                _ => Answer::BeyondEnd,
            }
        }
        304 => Answer::NotModified,
        404 | 410 => Answer::Missing,
        416 => Answer::BeyondEnd,
        other => Answer::Status(other),
    }
}

fn get_file(path: &std::path::Path, conditions: Conditions) -> io::Result<Answer> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(Answer::Missing),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Answer::Missing),
        Err(e) => return Err(e),
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(conditions.from))?;
    Ok(Answer::Content { from: conditions.from, body: Box::new(file) })
}

/// A time as HTTP writes it (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // Beyond the year 9999 there is no such date; nothing is newer than that either.
    let seconds = seconds.min(253_402_300_799);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = "Jan";
    for (name, length) in MONTHS.into_iter().zip(lengths) {
        month = name;
        if day < length {
            break;
        }
        day -= length;
    }
    let weekday = DAYS.into_iter().cycle().nth((days % 7) as usize).unwrap_or_default();
    format!("{weekday}, {:02} {month} {year} {:02}:{:02}:{:02} GMT", day + 1, rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_http_wants_them() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(http_date(1_798_761_599), "Thu, 31 Dec 2026 23:59:59 GMT");
        assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
