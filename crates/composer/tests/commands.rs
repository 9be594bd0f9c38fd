//! The table of commands in docs/composer.md, tried: each row's trial where its EAPIs have the command, and what holds in all others.

mod common;

use std::fmt::Write as _;

use common::{Bench, Log, Pack, base_system};

/// A row of the table.
struct Row {
    command: String,
    eapis: Vec<u8>,
    there: Option<String>,
    elsewhere: Option<String>,
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/composer.md")).unwrap();
    let (_, section) = text.split_once("## Commands in phases").unwrap();
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    lines.map(row).collect()
}

fn row(line: &str) -> Row {
    let line = line.replace("\\|", "\u{1}");
    let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
    let [command, eapis, there, elsewhere] = cells.as_slice() else { panic!("not four cells: {line}") };
    let code = |cell: &str| (cell != "–").then(|| cell.strip_prefix('`').unwrap().strip_suffix('`').unwrap().to_owned());
    let eapis = match eapis.split_once('-') {
        Some((first, last)) => (first.parse().unwrap()..=last.parse().unwrap()).collect(),
        None if eapis == "none" => Vec::new(),
        None => vec![eapis.parse().unwrap()],
    };
    Row { command: command.clone(), eapis, there: code(there), elsewhere: code(elsewhere) }
}

/// A package of an EAPI whose pkg_preinst tries all rows.
fn tries(eapi: u8, rows: &[Row]) -> (Pack, usize) {
    let mut body = String::new();
    let mut count = 0;
    for (number, row) in rows.iter().enumerate() {
        let trial = if row.eapis.contains(&eapi) { &row.there } else { &row.elsewhere };
        if let Some(trial) = trial {
            writeln!(body, " {{ {trial}; }} || die \"EAPI {eapi}, row {number}: {}\";", row.command.replace('`', "")).unwrap();
            count += 1;
        }
    }
    // A trial of dying: `die` itself is another one in a subshell.
    let environment = format!(
        "declare -- IUSE_EFFECTIVE=\"on off\"\ndeclare -- LIBDIR_amd64=\"lib64\"\ndeclare -- ABI=\"amd64\"\n\
         dies () \n{{ \n ( die () {{ exit 77; }}; \"$@\" ); [[ $? == 77 ]]\n}}\npkg_preinst () \n{{ \n{body} rm -r \"${{D%/}}\"/* && elog tried\n}}\n"
    );
    let pack = Pack::new(&format!("x/e{eapi}-1-r2")).meta("EAPI", &eapi.to_string()).meta("USE", "on").meta("IUSE", "on +off");
    (pack.phases(&environment), count)
}

#[test]
fn every_command_of_the_table_does_what_its_eapi_says() {
    let rows = rows();
    let old: Vec<Pack> = (0..=9).map(|eapi| Pack::new(&format!("x/e{eapi}-1-r1"))).collect();
    let bench = Bench::new();
    let base = bench.merge(&[vec![base_system()], old].concat(), &Log::default()).unwrap().tree;
    let (packs, counts): (Vec<Pack>, Vec<usize>) = (0..=9).map(|eapi| tries(eapi, &rows)).unzip();
    println!("{} rows, {} trials", rows.len(), counts.iter().sum::<usize>());
    assert!(rows.len() > 30 && counts.iter().all(|count| *count > 25), "{counts:?}");
    let log = Log::default();
    let root = bench.merge_over(&base, &packs, &log).unwrap_or_else(|error| panic!("{error}\n{}", log.text()));
    assert_eq!(root.messages.iter().filter(|message| message.ends_with(": tried")).count(), 10, "{:?}", root.messages);
    assert!(!log.text().contains("command not found"), "{}", log.text());
}
