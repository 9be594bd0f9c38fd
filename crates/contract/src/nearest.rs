//! Names spelt much like one that there is not, for what people are told.

/// Names that are offered at most.
const OFFERED: usize = 3;
/// Bytes of a name that are compared.
const COMPARED: usize = 64;

/// The names spelt most like the one wanted, nearest first, three at most. Capitals do not matter, and of names with slashes the last
/// part counts for itself, so that `Berlin` finds `Europe/Berlin`.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.to_ascii_lowercase();
    let limit = if wanted.len() <= 4 { 1 } else { 2 };
    let last_part = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let distance = |name: &str| {
        let name = name.to_ascii_lowercase();
        let of_part = edit_distance(&last_part(&wanted), &last_part(&name), limit);
        edit_distance(&wanted, &name, limit).min(of_part + 1)
    };
    let mut near: Vec<(usize, &str)> =
        known.into_iter().map(|name| (distance(name), name)).filter(|(far, _)| *far <= limit).collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(OFFERED).map(|(_, name)| name).collect()
}

/// “Did you mean a, b or c?”, or nothing where no name is near.
pub fn did_you_mean<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let names = nearest(wanted, known);
    let (last, others) = names.split_last()?;
    Some(match others {
        [] => format!("Did you mean {last}?"),
        others => format!("Did you mean {} or {last}?", others.join(", ")),
    })
}

/// Levenshtein's distance of the first 64 bytes, given up above `limit`.
pub fn edit_distance(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<u8>, Vec<u8>) = (a.bytes().take(COMPARED).collect(), b.bytes().take(COMPARED).collect());
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        let Some((first, others)) = row.split_first_mut() else { break };
        *first = left;
        for (above, y) in others.iter_mut().zip(&b) {
            left = (*above + 1).min(left + 1).min(diagonal + usize::from(x != y));
            diagonal = std::mem::replace(above, left);
        }
    }
    row.last().copied().unwrap_or(limit + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_few_changes_lead_to_are_offered() {
        let zones = ["Europe/Berlin", "Europe/Dublin", "America/Berlin_Heights", "UTC", "Asia/Tokyo"];
        assert_eq!(nearest("Europe/Berln", zones), ["Europe/Berlin"]);
        assert_eq!(nearest("Berlin", zones), ["Europe/Berlin"]);
        assert_eq!(nearest("europe/berlin", zones), ["Europe/Berlin"]);
        assert_eq!(nearest("Europa/Tokio", zones), ["Asia/Tokyo"]);
        assert_eq!(nearest("Mars/Crater", zones), [""; 0]);
        assert_eq!(did_you_mean("sshf", ["sshd", "ssh", "nginx"]).as_deref(), Some("Did you mean ssh or sshd?"));
        assert_eq!(did_you_mean("x", ["sshd"]), None);
    }
}
