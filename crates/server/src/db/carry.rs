//! The tables as text that either database system takes: a line of JSON for each row.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use sqlx::any::{AnyArguments, AnyRow, AnyTypeInfoKind};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Column as _, Row as _, Transaction, ValueRef as _};
use tokio_stream::StreamExt;

use super::{Db, Result, System, Writing};

/// What keeps account of the tables' versions: it is not carried, as it follows from the version.
const VERSIONS: &str = "_sqlx_migrations";
/// The key under which bytes that are no text stand, in Base64.
const BYTES: &str = "base64";

/// A row that is none, or does not fit.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("line {line} is no row of the table {table}")]
    NoRow { table: String, line: usize },
    #[error("the database has no table “{0}”")]
    NoTable(String),
}

impl Db {
    /// The tables, those that others refer to first.
    pub async fn tables(&self) -> Result<Vec<String>> {
        let (all, parents) = match self.system {
            System::Sqlite => (
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
                "SELECT \"table\" FROM pragma_foreign_key_list($1)",
            ),
            System::Postgres => (
                "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1",
                "SELECT CAST(p.relname AS TEXT) FROM pg_constraint c JOIN pg_class p ON p.oid = c.confrelid
                 WHERE c.contype = 'f' AND c.conrelid = CAST(CAST($1 AS TEXT) AS regclass)",
            ),
        };
        let mut rest: Vec<(String, BTreeSet<String>)> = Vec::new();
        let names: Vec<String> = sqlx::query_scalar(all).fetch_all(&self.pool).await?;
        for name in names.into_iter().filter(|name| name != VERSIONS) {
            let parents: Vec<String> = sqlx::query_scalar(parents).bind(&name).fetch_all(&self.pool).await?;
            let parents = parents.into_iter().filter(|parent| *parent != name).collect();
            rest.push((name, parents));
        }
        let mut sorted = Vec::new();
        while !rest.is_empty() {
            let (free, bound): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|(_, parents)| parents.iter().all(|p| sorted.contains(p)));
            if free.is_empty() {
                return Err(sqlx::Error::Protocol("the tables refer to each other in a circle".into()));
            }
            sorted.extend(free.into_iter().map(|(name, _)| name));
            rest = bound;
        }
        Ok(sorted)
    }

    /// Whether nothing was ordered here yet.
    pub async fn is_unused(&self) -> Result<bool> {
        let (orders, builds): (i64, i64) =
            sqlx::query_as("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM builds)").fetch_one(&self.pool).await?;
        Ok(orders == 0 && builds == 0)
    }

    /// Every file of a build that lies in the storage: the build, the attempt that made it, the name.
    pub async fn all_files(&self) -> Result<Vec<(String, i64, String)>> {
        sqlx::query_as(
            "SELECT build, attempt, name FROM artifacts
             UNION SELECT build, attempt, name FROM documents WHERE attempt IS NOT NULL ORDER BY 1, 2, 3",
        )
        .fetch_all(&self.pool)
        .await
    }

    /// A look at all tables at one moment, for [`Snapshot::dump`].
    pub async fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot(self.at_one_moment().await?))
    }

    /// Fills tables that are there and empty of orders with rows, all of them or none: `tables` in an order in which those that others refer to
    /// come first, each with what [`Snapshot::dump`] made of it.
    pub async fn load(&self, tables: Vec<(String, Box<dyn BufRead + Send>)>) -> std::result::Result<u64, LoadError> {
        let known = self.tables().await?;
        let mut tx = self.write().await?;
        for table in known.iter().rev() {
            sqlx::query(AssertSqlSafe(format!("DELETE FROM \"{table}\""))).execute(&mut *tx).await?;
        }
        let mut rows = 0;
        for (table, lines) in tables {
            if !known.contains(&table) {
                return Err(LoadError::NoTable(table));
            }
            for (index, line) in lines.lines().enumerate() {
                let row: Option<Map<String, Value>> = serde_json::from_str(&line?).ok();
                let no_row = || LoadError::NoRow { table: table.clone(), line: index + 1 };
                insert(&mut tx, self.system, &table, row.ok_or_else(no_row)?, &no_row).await?;
                rows += 1;
            }
            if self.system == System::Postgres {
                set_sequences(&mut tx, &table).await?;
            }
        }
        tx.commit().await?;
        Ok(rows)
    }
}

/// The tables at one moment.
pub struct Snapshot(Transaction<'static, Any>);

impl Snapshot {
    /// Writes the rows of a table that [`Db::tables`] named, a line each.
    pub async fn dump(&mut self, table: &str, out: &mut (dyn Write + Send)) -> std::result::Result<u64, LoadError> {
        let mut rows = sqlx::query(AssertSqlSafe(format!("SELECT * FROM \"{table}\""))).fetch(&mut *self.0);
        let mut count = 0;
        while let Some(row) = rows.next().await {
            serde_json::to_writer(&mut *out, &to_object(&row?)?).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
            count += 1;
        }
        Ok(count)
    }
}

/// A row by its columns. What is NULL is left out.
fn to_object(row: &AnyRow) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    for column in row.columns() {
        let (index, name) = (column.ordinal(), column.name().to_owned());
        let raw = row.try_get_raw(index)?;
        if raw.is_null() {
            continue;
        }
        let value = match raw.type_info().kind() {
            AnyTypeInfoKind::Null => continue,
            AnyTypeInfoKind::Bool => json!(row.try_get::<bool, _>(index)?),
            AnyTypeInfoKind::SmallInt | AnyTypeInfoKind::Integer | AnyTypeInfoKind::BigInt => {
                json!(row.try_get::<i64, _>(index)?)
            }
            AnyTypeInfoKind::Real | AnyTypeInfoKind::Double => json!(row.try_get::<f64, _>(index)?),
            AnyTypeInfoKind::Text => json!(row.try_get::<String, _>(index)?),
            AnyTypeInfoKind::Blob => json!({ BYTES: BASE64.encode(row.try_get::<Vec<u8>, _>(index)?) }),
        };
        object.insert(name, value);
    }
    Ok(object)
}

async fn insert(
    tx: &mut Writing,
    system: System,
    table: &str,
    row: Map<String, Value>,
    no_row: &(dyn Fn() -> LoadError + Sync),
) -> std::result::Result<(), LoadError> {
    if row.is_empty() || !row.keys().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')) {
        return Err(no_row());
    }
    let columns: Vec<String> = row.keys().map(|name| format!("\"{name}\"")).collect();
    let places: Vec<String> = (1..=row.len()).map(|number| format!("${number}")).collect();
    // Numbers that the database gives by itself are carried as they were.
    let overriding = if system == System::Postgres { " OVERRIDING SYSTEM VALUE" } else { "" };
    let sql = format!("INSERT INTO \"{table}\" ({}){overriding} VALUES ({})", columns.join(", "), places.join(", "));
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in row.into_iter().map(|(_, value)| value) {
        query = bind(query, value).ok_or_else(no_row)?;
    }
    query.execute(&mut **tx).await?;
    Ok(())
}

type Insert<'q> = Query<'q, Any, AnyArguments>;

fn bind(query: Insert<'_>, value: Value) -> Option<Insert<'_>> {
    Some(match value {
        Value::Bool(value) => query.bind(value),
        Value::String(text) => query.bind(text),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => query.bind(whole),
            None => query.bind(number.as_f64()?),
        },
        Value::Object(object) => query.bind(BASE64.decode(object.get(BYTES)?.as_str()?).ok()?),
        Value::Null | Value::Array(_) => return None,
    })
}

/// Has PostgreSQL count on from the greatest numbers that were carried.
async fn set_sequences(tx: &mut Writing, table: &str) -> Result<()> {
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT CAST(attname AS TEXT) FROM pg_attribute
         WHERE attrelid = CAST(CAST($1 AS TEXT) AS regclass) AND attidentity <> '' AND NOT attisdropped",
    )
    .bind(table)
    .fetch_all(&mut **tx)
    .await?;
    for column in columns {
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('\"{table}\"', '{column}'), greatest((SELECT max(\"{column}\") FROM \"{table}\"), 1))"
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await?;
    }
    Ok(())
}
