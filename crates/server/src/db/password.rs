//! The password in a database's address, which is for nobody to see: in no list of processes, and in no message.

use percent_encoding::percent_decode_str;

use super::is_shared_address;

/// An address without its password, and the password as the database has it. None where the address names none.
pub fn split_password(address: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = address.split_once("://").filter(|_| is_shared_address(address)) else {
        return (address.to_owned(), None);
    };
    let (authority, place) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (authority, of_user) = of_authority(authority);
    let (place, of_query) = of_query(place);
    // What stands in the query goes before what stands with the user.
    let password = of_query.or(of_user).filter(|password| !password.is_empty());
    (format!("{scheme}://{authority}{place}"), password)
}

/// `user:password@host`.
fn of_authority(authority: &str) -> (String, Option<String>) {
    let named = authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?, host)));
    let Some(((user, password), host)) = named else { return (authority.to_owned(), None) };
    (format!("{user}@{host}"), Some(percent_decode_str(password).decode_utf8_lossy().into_owned()))
}

/// `/database?name=value&password=…`.
fn of_query(place: &str) -> (String, Option<String>) {
    let Some((path, query)) = place.split_once('?') else { return (place.to_owned(), None) };
    let (mut rest, mut password) = (Vec::new(), None);
    for pair in query.split('&') {
        match form_urlencoded::parse(pair.as_bytes()).next() {
            Some((name, value)) if name == "password" => password = Some(value.into_owned()),
            _ => rest.push(pair),
        }
    }
    let mark = if rest.is_empty() { "" } else { "?" };
    (format!("{path}{mark}{}", rest.join("&")), password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_taken_out_and_nothing_else() {
        let split = |address: &str| {
            let (address, password) = split_password(address);
            (address, password.unwrap_or_default())
        };
        for (address, without, password) in [
            ("postgres://larry:s%40cret+1@h:5432/site", "postgres://larry@h:5432/site", "s@cret+1"),
            ("postgresql://a:x@y@[::1]/site?sslmode=require", "postgresql://a@[::1]/site?sslmode=require", "x@y"),
            ("postgres://a:b:c@h", "postgres://a@h", "b:c"),
            ("postgres://a@h/site?host=%2Frun&password=p%26q&user=u", "postgres://a@h/site?host=%2Frun&user=u", "p&q"),
            ("postgres://a:old@h/site?password=new", "postgres://a@h/site", "new"),
            ("postgres://:p@h/a@b:c", "postgres://@h/a@b:c", "p"),
        ] {
            assert_eq!(split(address), (without.to_owned(), password.to_owned()));
        }
        for address in ["postgres://a@h/site", "postgres:///site?host=/run", "postgres://h:5432/a:b@c", "/srv/a:b@c?password=d"] {
            assert_eq!(split(address), (address.to_owned(), String::new()), "it has none");
        }
    }
}
