//! News of changes, in this server and from others on the same database. They carry no data: who hears them reads the database, which is
//! the truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc};

use crate::app::App;

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something about one build: state, progress, log.
    Build(Arc<str>),
    /// A build left or entered the queue, so positions moved.
    Queue,
}

/// Tells live pages, waiting workers and reconcilers that there is something new to read.
pub struct Bus {
    changes: broadcast::Sender<Change>,
    /// Counts changes, so that what was worked out before one is known to be old.
    version: AtomicU64,
    /// A notice waits to be sent.
    pub notices: Notify,
    /// What other servers are to be told.
    outgoing: mpsc::UnboundedSender<News>,
    told: tokio::sync::Mutex<mpsc::UnboundedReceiver<News>>,
    /// Tells this server's own news from those of others.
    origin: String,
    shared: bool,
}

/// What one server tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    /// A build has new progress or log lines.
    Progress(String),
    /// A build changed its state; empty when the queue as a whole did.
    State(String),
}

impl Bus {
    /// `origin` is a name that no other server has; `shared` says whether there may be others.
    pub fn new(origin: String, shared: bool) -> Self {
        let (outgoing, told) = mpsc::unbounded_channel();
        Bus {
            changes: broadcast::Sender::new(1_024),
            version: AtomicU64::new(0),
            notices: Notify::new(),
            outgoing,
            told: tokio::sync::Mutex::new(told),
            origin,
            shared,
        }
    }

    /// Hears every change from now on; who lags behind is told so and reads everything again.
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// How many hear changes: live pages, and workers that wait.
    pub fn listeners(&self) -> usize {
        self.changes.receiver_count()
    }

    /// The number of the last change of the queue.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The build has new progress or log lines.
    pub fn build_changed(&self, build: &str) {
        self.send(Change::Build(build.into()));
        self.pass_on(News::Progress(build.to_owned()));
    }

    /// The build changed its state, and with it the queue.
    pub fn state_changed(&self, build: &str) {
        self.heard_of_state(build);
        self.pass_on(News::State(build.to_owned()));
    }

    fn heard_of_state(&self, build: &str) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.send(Change::Build(build.into()));
        self.send(Change::Queue);
        self.notices.notify_one();
    }

    fn send(&self, change: Change) {
        // Having no listener is no error.
        let _ = self.changes.send(change);
    }

    fn pass_on(&self, news: News) {
        if self.shared {
            // The other end is this very bus.
            let _ = self.outgoing.send(news);
        }
    }

    /// News from another server, as [`words`] wrote them.
    fn hear(&self, text: &str) {
        let mut lines = text.lines();
        if lines.next() == Some(&self.origin) {
            return;
        }
        for line in lines {
            match line.split_once(' ') {
                Some(("progress", build)) => self.send(Change::Build(build.into())),
                Some(("state", build)) => self.heard_of_state(build),
                _ => tracing::debug!(line, "another server tells what this one does not know"),
            }
        }
    }
}

/// News in one message, below the 8,000 bytes that PostgreSQL takes: beyond that the queue as a whole is named.
fn words(origin: &str, news: &[News]) -> String {
    const MOST: usize = 7_000;
    let mut text = format!("{origin}\n");
    for news in news {
        let line = match news {
            News::Progress(build) => format!("progress {build}\n"),
            News::State(build) => format!("state {build}\n"),
        };
        if !text.contains(&line) {
            text += &line;
        }
    }
    if text.len() > MOST { format!("{origin}\nstate \n") } else { text }
}

/// How long to wait before telling or listening is tried again after the database was away.
const AGAIN: Duration = Duration::from_secs(2);

/// Tells other servers what changed here. Progress is told a few times a second at most.
pub async fn tell(app: Arc<App>) {
    const PERIOD: Duration = Duration::from_millis(50);
    let mut told = app.bus.told.lock().await;
    let mut news = Vec::new();
    loop {
        let mut stopping = app.stopping.clone();
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            count = told.recv_many(&mut news, 1_000) => if count == 0 { return },
        }
        if let Err(error) = app.db.tell(&words(&app.bus.origin, &news)).await {
            tracing::warn!(%error, "other servers could not be told what changed");
            tokio::time::sleep(AGAIN).await;
        }
        news.clear();
        tokio::time::sleep(PERIOD).await;
    }
}

/// Hears what changed on other servers.
pub async fn hear(app: Arc<App>) {
    let mut stopping = app.stopping.clone();
    loop {
        let ended = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            ended = listen(&app) => ended,
        };
        match ended {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "other servers cannot be heard; trying again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Ends at once where there can be no others.
async fn listen(app: &App) -> crate::db::Result<()> {
    let Some(mut listener) = app.db.listener().await? else {
        return Ok(());
    };
    loop {
        match listener.next().await? {
            Some(text) => app.bus.hear(&text),
            // Something may have been missed.
            None => app.bus.heard_of_state(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_server_tells_another_hears_and_itself_does_not() {
        let (one, other) = (Bus::new("one".into(), true), Bus::new("other".into(), true));
        let text = words(&one.origin, &[News::Progress("b1".into()), News::State("b2".into()), News::Progress("b1".into())]);
        let mut changes = other.listen();
        other.hear(&text);
        one.hear(&text);
        assert_eq!(changes.try_recv(), Ok(Change::Build("b1".into())));
        assert_eq!(changes.try_recv(), Ok(Change::Build("b2".into())));
        assert_eq!(changes.try_recv(), Ok(Change::Queue));
        assert!(changes.try_recv().is_err());
        assert_eq!((one.version(), other.version()), (0, 1));
        let many: Vec<News> = (0..1_000).map(|i| News::Progress(format!("{i:016}"))).collect();
        assert_eq!(words("one", &many), "one\nstate \n");
    }
}
