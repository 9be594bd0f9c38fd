//! `make.defaults` (PMS 5.2.4): assignments in a small part of shell syntax, read here and never run.

use std::collections::BTreeMap;
use std::path::Path;

use super::ProfileError;

/// Longest value after expansion, in bytes: doubling a variable again and again must not fill the memory.
const MAX_VALUE: usize = 1 << 20;

/// Reads the assignments of one file in their order. `known` has the variables that `${NAME}` may refer to and learns the new ones; a
/// variable that is not known expands to nothing.
pub(super) fn read_assignments(
    path: &Path,
    text: &str,
    known: &mut BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ProfileError> {
    let mut reader = Reader { rest: text, line: 1, path };
    let mut assigned = BTreeMap::new();
    while let Some(name) = reader.name()? {
        if name == "export" {
            continue;
        }
        reader.expect_equals(name)?;
        let value = reader.value(known)?;
        known.insert(name.to_owned(), value.clone());
        assigned.insert(name.to_owned(), value);
    }
    Ok(assigned)
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    path: &'a Path,
}

impl<'a> Reader<'a> {
    fn error(&self, reason: impl ToString) -> ProfileError {
        ProfileError::syntax(self.path, self.line, reason)
    }

    fn next(&mut self) -> Option<char> {
        let mut rest = self.rest.chars();
        let c = rest.next()?;
        self.rest = rest.as_str();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    /// The next variable's name, after white space and comments; none at the end.
    fn name(&mut self) -> Result<Option<&'a str>, ProfileError> {
        loop {
            self.take_while(char::is_whitespace);
            match self.peek() {
                None => return Ok(None),
                Some('#') => {
                    self.take_while(|c| c != '\n');
                }
                Some(c) if c.is_ascii_alphabetic() || c == '_' => return Ok(Some(self.take_while(is_name_char))),
                Some(c) => return Err(self.error(format!("expected NAME=value, found “{}”", c.escape_debug()))),
            }
        }
    }

    fn expect_equals(&mut self, name: &str) -> Result<(), ProfileError> {
        match self.peek() {
            Some('=') => {
                self.next();
                Ok(())
            }
            _ => Err(self.error(format!("“{name}” is not followed by “=”"))),
        }
    }

    /// A value: quoted and bare pieces up to white space.
    fn value(&mut self, known: &BTreeMap<String, String>) -> Result<String, ProfileError> {
        let mut value = String::new();
        loop {
            match self.peek() {
                None => break,
                Some(c) if c.is_whitespace() => break,
                Some('\'') => {
                    self.next();
                    value.push_str(&self.take_while(|c| c != '\'').replace('\n', " "));
                    self.next().ok_or_else(|| self.error("a single quote is not closed"))?;
                }
                Some('"') => {
                    self.next();
                    self.double_quoted(known, &mut value)?;
                }
                Some(_) => self.piece(known, &mut value, false)?,
            }
            if value.len() > MAX_VALUE {
                return Err(self.error(format!("the value is longer than {MAX_VALUE} bytes")));
            }
        }
        Ok(value)
    }

    fn double_quoted(&mut self, known: &BTreeMap<String, String>, value: &mut String) -> Result<(), ProfileError> {
        while value.len() <= MAX_VALUE {
            match self.peek() {
                None => return Err(self.error("a double quote is not closed")),
                Some('"') => {
                    self.next();
                    return Ok(());
                }
                Some(_) => self.piece(known, value, true)?,
            }
        }
        Ok(())
    }

    /// One character, escape or variable.
    fn piece(&mut self, known: &BTreeMap<String, String>, value: &mut String, quoted: bool) -> Result<(), ProfileError> {
        match self.next() {
            Some('\\') => match self.next() {
                Some('\n') | None => {}
                Some(c) if quoted && !matches!(c, '"' | '\\' | '$' | '`') => value.extend(['\\', c]),
                Some(c) => value.push(c),
            },
            Some('$') => {
                let braced = self.peek() == Some('{');
                if braced {
                    self.next();
                }
                let name = self.take_while(is_name_char);
                if braced && self.next() != Some('}') {
                    return Err(self.error("expected ${NAME}; nothing else of the shell's expansions is allowed here"));
                }
                match (name, braced) {
                    ("", true) => return Err(self.error("${} names no variable")),
                    ("", false) if self.peek() == Some('(') => return Err(self.error("commands are not allowed here")),
                    ("", false) => value.push('$'),
                    (name, _) => value.push_str(known.get(name).map(String::as_str).unwrap_or_default()),
                }
            }
            Some('`') => return Err(self.error("commands are not allowed here")),
            Some('\n') => value.push(' '),
            Some(c) => value.push(c),
            None => {}
        }
        Ok(())
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, String>, ProfileError> {
        read_assignments(Path::new("make.defaults"), text, &mut BTreeMap::from([("ARCH".to_owned(), "amd64".to_owned())]))
    }

    #[test]
    fn the_shells_quoting_is_understood() {
        let text = "# c\nA=\"x ${ARCH}\\\n y $ARCH\"\nexport B='$A \"'\nC=${A}z # tail\nD=\"\\$A \\\" \\n\"\nE=\nF=\"one\ntwo\"\nG=a\"b\"'c'\n";
        let found = read(text).unwrap();
        let get = |name: &str| found[name].as_str();
        assert_eq!(get("A"), "x amd64 y amd64");
        assert_eq!(get("B"), "$A \"");
        assert_eq!(get("C"), "x amd64 y amd64z");
        assert_eq!(get("D"), "$A \" \\n");
        assert_eq!(get("E"), "");
        assert_eq!(get("F"), "one two");
        assert_eq!(get("G"), "abc");
    }

    #[test]
    fn what_is_no_assignment_is_refused_with_its_line() {
        for (text, line) in [
            ("A=1\nfoo bar\n", 2),
            ("A=\"x\n", 2),
            ("A=$(id)\n", 1),
            ("A=`id`", 1),
            ("A=\"${B:-c}\"", 1),
            ("A=1\n=2", 2),
            ("A='", 1),
        ] {
            match read(text) {
                Err(ProfileError::Syntax { line: found, .. }) => assert_eq!(found, line, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn doubling_does_not_fill_the_memory() {
        let text = format!("A=\"{}\"\n", "x".repeat(1000)) + &"A=\"${A}${A}\"\n".repeat(64);
        assert!(read(&text).is_err());
    }
}
