//! Parts of files: what `Range` asks for, and how several are sent at once (RFC 9110, section 14).

use axum::http::{HeaderMap, header};

use super::download::text;
use super::problem::Problem;
use crate::secret;

/// Most parts in one answer; each is a file that is open while it is sent. zsync asks for twenty.
const MAX_PARTS: usize = 32;

/// What part of a file is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Whole,
    /// First and last byte, both included.
    Part(u64, u64),
    /// Several, each after the one before.
    Parts(Vec<(u64, u64)>),
    Unsatisfiable,
}

/// One range of a set.
enum One {
    Part(u64, u64),
    Unsatisfiable,
    /// No range at all.
    Wrong,
}

/// Reads Range and If-Range. What is not served in parts (other units, very many ranges, ranges that overlap or go back) means the whole file,
/// as the RFC allows.
pub fn wanted(headers: &HeaderMap, etag: &str, size: u64) -> Wanted {
    let Some(set) = text(headers, header::RANGE).and_then(|r| r.strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    if text(headers, header::IF_RANGE).is_some_and(|tag| tag != etag) || set.split(',').nth(MAX_PARTS).is_some() {
        return Wanted::Whole;
    }
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for range in set.split(',') {
        match one(range, size) {
            One::Part(first, _) if parts.last().is_some_and(|(_, last)| first <= *last) => return Wanted::Whole,
            One::Part(first, last) => parts.push((first, last)),
            One::Unsatisfiable => {}
            One::Wrong => return Wanted::Whole,
        }
    }
    match parts[..] {
        [] => Wanted::Unsatisfiable,
        [(first, last)] => Wanted::Part(first, last),
        _ => Wanted::Parts(parts),
    }
}

fn one(range: &str, size: u64) -> One {
    let Some((first, last)) = range.split_once('-') else {
        return One::Wrong;
    };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => One::Wrong,
        (Ok(first), _) if first >= size => One::Unsatisfiable,
        (Ok(first), Ok(last)) => One::Part(first, last.min(size - 1)),
        (Ok(first), Err(_)) if last.trim().is_empty() => One::Part(first, size - 1),
        (Err(_), Ok(0)) if first.trim().is_empty() => One::Unsatisfiable,
        (Err(_), Ok(_)) if first.trim().is_empty() && size == 0 => One::Unsatisfiable,
        (Err(_), Ok(count)) if first.trim().is_empty() => One::Part(size.saturating_sub(count), size - 1),
        _ => One::Wrong,
    }
}

/// The boundary of `multipart/byteranges` (RFC 9110, section 14.6), and what stands before each part and after the last.
pub fn multipart(ranges: &[(u64, u64)], media_type: &str, size: u64) -> Result<(String, Vec<String>), Problem> {
    let boundary = secret::token::<16>().map_err(|e| Problem::internal(&e))?;
    let head = |(first, last): &(u64, u64)| {
        format!("\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n")
    };
    let heads = ranges.iter().map(head).chain([format!("\r\n--{boundary}--\r\n")]).collect();
    Ok((boundary, heads))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &str, if_range: Option<&str>, size: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(tag) = if_range {
            headers.insert(header::IF_RANGE, tag.parse().unwrap());
        }
        wanted(&headers, "\"abc\"", size)
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        assert_eq!(asked("bytes=0-0", None, 10), Wanted::Part(0, 0));
        assert_eq!(asked("bytes=5-", None, 10), Wanted::Part(5, 9));
        assert_eq!(asked("bytes=5-99", None, 10), Wanted::Part(5, 9));
        assert_eq!(asked("bytes=-3", None, 10), Wanted::Part(7, 9));
        assert_eq!(asked("bytes=-30", None, 10), Wanted::Part(0, 9));
        assert_eq!(asked("bytes=10-", None, 10), Wanted::Unsatisfiable);
        assert_eq!(asked("bytes=-0", None, 10), Wanted::Unsatisfiable);
        assert_eq!(asked("bytes=0-", None, 0), Wanted::Unsatisfiable);
        assert_eq!(asked("bytes=-5", None, 0), Wanted::Unsatisfiable);
        assert_eq!(asked("bytes=0-1,4-5, 8-", None, 10), Wanted::Parts(vec![(0, 1), (4, 5), (8, 9)]));
        assert_eq!(asked("bytes=0-1,12-", None, 10), Wanted::Part(0, 1));
        assert_eq!(asked("bytes=10-,12-", None, 10), Wanted::Unsatisfiable);
        for whole in ["bytes=7-3", "bytes=0-4,4-5", "bytes=4-5,0-1", "lines=1-2", "bytes=", "bytes=x-y", "bytes=-", "bytes=0-1,"]
        {
            assert_eq!(asked(whole, None, 10), Wanted::Whole, "{whole}");
        }
        let many: Vec<String> = (0..=MAX_PARTS).map(|i| format!("{0}-{0}", i * 2)).collect();
        assert_eq!(asked(&format!("bytes={}", many.join(",")), None, 1_000), Wanted::Whole);
    }

    #[test]
    fn a_changed_file_is_sent_whole() {
        assert_eq!(asked("bytes=5-", Some("\"abc\""), 10), Wanted::Part(5, 9));
        assert_eq!(asked("bytes=5-", Some("\"old\""), 10), Wanted::Whole);
    }
}
