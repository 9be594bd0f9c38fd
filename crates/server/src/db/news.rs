//! News between the servers of one PostgreSQL database, by LISTEN and NOTIFY. They carry no data but names: who hears of a change reads
//! the database, which is the truth. A server on SQLite is alone and has nobody to tell.

use sqlx::postgres::PgListener;

use super::{Db, Result, System};

const CHANNEL: &str = "hatchery";

/// Hears what servers of this database tell, itself among them.
pub struct Listener(PgListener);

impl Db {
    /// Starts to listen; none where no other server can be.
    pub async fn listener(&self) -> Result<Option<Listener>> {
        match self.system {
            System::Sqlite => Ok(None),
            System::Postgres => {
                let mut listener = PgListener::connect(&self.url).await?;
                listener.listen(CHANNEL).await?;
                Ok(Some(Listener(listener)))
            }
        }
    }

    /// Tells all servers, this one among them. At most 8,000 bytes.
    pub async fn tell(&self, news: &str) -> Result<()> {
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(news).execute(&self.pool).await.map(drop)
    }
}

impl Listener {
    /// The next news; none when the connection was lost for a while, so that some may have been missed.
    pub async fn next(&mut self) -> Result<Option<String>> {
        Ok(self.0.try_recv().await?.map(|notification| notification.payload().to_owned()))
    }
}
