//! Lists that come in parts.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::number_field;
use super::problem::Problem;

/// Farthest that a list can be followed.
const MAX_OFFSET: usize = 9_999;

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    pub offset: usize,
    pub limit: usize,
}

impl Paging {
    /// Reads `limit` and `cursor` of a query. At most `most` items are given at once, which is also how many are given where no number is
    /// named.
    pub fn of(query: Option<&str>, most: usize) -> Result<Paging, Problem> {
        let number = |name: &str| number_field(query, name).map(|number| number.and_then(|number| usize::try_from(number).ok()));
        let limit = number("limit")?.unwrap_or(most);
        let offset = number("cursor")?.unwrap_or(0);
        if limit == 0 {
            return Err(wrong("“limit” must be 1 or more.".into()));
        }
        if offset > MAX_OFFSET {
            return Err(wrong("“cursor” must be what “next” of the answer before was.".into()));
        }
        Ok(Paging { offset, limit: limit.min(most) })
    }

    /// How many items have to be looked at to give this part and to know if there is another.
    pub fn reach(self) -> usize {
        self.offset + self.limit + 1
    }

    /// Cuts this part out of a list of [`Paging::reach`] items; with it, the cursor of the next part.
    pub fn cut<T>(self, all: Vec<T>) -> (Vec<T>, Option<String>) {
        let end = self.offset + self.limit;
        let next = (all.len() > end && end <= MAX_OFFSET).then(|| end.to_string());
        (all.into_iter().skip(self.offset).take(self.limit).collect(), next)
    }
}

/// `Link` (RFC 8288) to the next part of a list.
pub fn link(path: &str, query: Option<&str>, next: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(next) = next else { return headers };
    let others = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).filter(|(name, _)| name != "cursor");
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(others).append_pair("cursor", next).finish();
    // What a serializer of queries writes is plain ASCII.
    if let Ok(value) = HeaderValue::try_from(format!("<{path}?{query}>; rel=\"next\"")) {
        headers.insert(header::LINK, value);
    }
    headers
}

fn wrong(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_followed_to_its_end() {
        let (mut query, mut seen) = (Some("limit=4".to_owned()), Vec::new());
        while let Some(asked) = query.take() {
            let paging = Paging::of(Some(&asked), 50).unwrap();
            let all: Vec<u32> = (0..10).take(paging.reach()).collect();
            let (part, next) = paging.cut(all);
            seen.extend(part);
            query = next.map(|next| format!("limit=4&cursor={next}"));
        }
        assert_eq!(seen, (0..10).collect::<Vec<u32>>());
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bad in ["limit=0", "limit=x", "cursor=-1", "cursor=99999999", "limit=99999999999999999999999"] {
            assert!(Paging::of(Some(bad), 50).is_err(), "{bad}");
        }
        assert_eq!(Paging::of(Some("limit=900"), 50).unwrap(), Paging { offset: 0, limit: 50 });
    }

    #[test]
    fn the_link_keeps_what_was_asked() {
        let headers = link("/api/v1/packages", Some("q=a%20b&cursor=3"), Some("50"));
        assert_eq!(headers.get(header::LINK).unwrap(), "</api/v1/packages?q=a+b&cursor=50>; rel=\"next\"");
        assert!(link("/x", None, None).is_empty());
    }
}
