//! Holds the table of docs/formats.md that says which test stands behind each cell: every format has its row, every cell that claims
//! something names tests, and each of these exists and is run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::Format;

const HEADING: &str = "## What holds the table";
const COLUMNS: [&str; 3] = ["reads back", "boots", "bit-identical"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The rows of the table, by format; of each cell the words in backquotes.
fn rows() -> BTreeMap<String, Vec<Vec<String>>> {
    let text = std::fs::read_to_string(workspace().join("docs/formats.md")).expect("the document");
    let (_, after) = text.split_once(HEADING).expect("the table's heading");
    let table: Vec<&str> = after.lines().skip_while(|l| !l.starts_with('|')).take_while(|l| l.starts_with('|')).collect();
    let cells = |line: &str| -> Vec<String> { line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect() };
    assert_eq!(cells(table[0])[1..], COLUMNS);
    let quoted = |cell: &String| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut found = BTreeMap::new();
    for line in &table[2..] {
        let cells = cells(line);
        assert_eq!(cells.len(), 1 + COLUMNS.len(), "{line}");
        for format in quoted(&cells[0]) {
            found.insert(format, cells[1..].iter().map(quoted).collect());
        }
    }
    found
}

/// Whether `path::name` is a test that a plain run of all tests runs.
fn is_run(test: &str) -> bool {
    let Some((path, name)) = test.split_once("::") else { return false };
    let Ok(source) = std::fs::read_to_string(workspace().join(path)) else { return false };
    let Some((before, _)) = source.split_once(&format!("fn {name}()")) else { return false };
    let attributes: Vec<&str> = before.lines().rev().map(str::trim).take_while(|line| !line.is_empty()).collect();
    attributes.contains(&"#[test]") && !attributes.iter().any(|line| line.starts_with("#[ignore"))
}

#[test]
fn every_cell_of_the_table_of_formats_names_its_tests() {
    let rows = rows();
    let known: Vec<&str> = Format::ALL.iter().map(|f| f.name()).collect();
    assert!(rows.keys().all(|name| known.contains(&name.as_str())), "{rows:?}");
    for format in Format::ALL {
        let row = rows.get(format.name()).unwrap_or_else(|| panic!("{format} is not in the table"));
        for (column, tests) in COLUMNS.iter().zip(row) {
            let may_be_empty = *column == "boots" && !format.is_bootable();
            assert!(may_be_empty || !tests.is_empty(), "nothing holds “{column}” of {format}");
            for test in tests {
                assert!(is_run(test), "{test}, which is to hold “{column}” of {format}, is no test that is run");
            }
        }
    }
}
