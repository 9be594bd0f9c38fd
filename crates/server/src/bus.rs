//! News of changes, in this server and from others on the same database. They carry no data: who hears them reads the database, which is
//! the truth.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc};

use crate::app::App;

/// Those who are told of single builds. A live page is woken by what is about its order alone: a thousand of them, each woken by every change of
/// the site, would leave no time for the changes.
#[derive(Default)]
struct Followers {
    by_build: Mutex<HashMap<String, Vec<Arc<Notify>>>>,
    count: AtomicUsize,
}

/// Hears of some builds, until it is dropped.
pub struct Follower {
    builds: Vec<String>,
    bell: Arc<Notify>,
    followers: Arc<Followers>,
}

impl Follower {
    /// Waits until there is something new about one of the builds. What came since the last time counts, so that nothing goes by unheard.
    pub async fn changed(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.followers.count.fetch_sub(1, Ordering::AcqRel);
        let mut by_build = self.followers.by_build.lock().unwrap_or_else(PoisonError::into_inner);
        for build in &self.builds {
            if let Some(bells) = by_build.get_mut(build) {
                bells.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
                if bells.is_empty() {
                    by_build.remove(build);
                }
            }
        }
    }
}

/// Tells live pages, waiting workers and reconcilers that there is something new to read.
pub struct Bus {
    /// The queue changed: a build left or entered it.
    moves: broadcast::Sender<()>,
    followers: Arc<Followers>,
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
            moves: broadcast::Sender::new(64),
            followers: Arc::default(),
            version: AtomicU64::new(0),
            notices: Notify::new(),
            outgoing,
            told: tokio::sync::Mutex::new(told),
            origin,
            shared,
        }
    }

    /// Hears each time that the queue changes, from now on.
    pub fn listen(&self) -> broadcast::Receiver<()> {
        self.moves.subscribe()
    }

    /// Hears of these builds from now on: of their states, progress and logs. It rings once at the start, as something may have changed since
    /// whoever follows looked.
    pub fn follow<'a>(&self, builds: impl IntoIterator<Item = &'a str>) -> Follower {
        let bell = Arc::new(Notify::new());
        bell.notify_one();
        let builds: Vec<String> = builds.into_iter().map(str::to_owned).collect();
        let mut by_build = self.followers.by_build.lock().unwrap_or_else(PoisonError::into_inner);
        for build in &builds {
            by_build.entry(build.clone()).or_default().push(bell.clone());
        }
        drop(by_build);
        self.followers.count.fetch_add(1, Ordering::AcqRel);
        Follower { builds, bell, followers: self.followers.clone() }
    }

    /// How many follow builds: the live pages that are open.
    pub fn followers(&self) -> usize {
        self.followers.count.load(Ordering::Acquire)
    }

    /// The number of the last change of the queue.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The build has new progress or log lines.
    pub fn build_changed(&self, build: &str) {
        self.tell_followers(build);
        self.pass_on(News::Progress(build.to_owned()));
    }

    /// The build changed its state, and with it the queue.
    pub fn state_changed(&self, build: &str) {
        self.heard_of_state(build);
        self.pass_on(News::State(build.to_owned()));
    }

    fn heard_of_state(&self, build: &str) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.tell_followers(build);
        // Having no listener is no error.
        let _ = self.moves.send(());
        self.notices.notify_one();
    }

    fn tell_followers(&self, build: &str) {
        let by_build = self.followers.by_build.lock().unwrap_or_else(PoisonError::into_inner);
        by_build.get(build).into_iter().flatten().for_each(|bell| bell.notify_one());
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
                Some(("progress", build)) => self.tell_followers(build),
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

    #[tokio::test]
    async fn what_one_server_tells_another_hears_and_itself_does_not() {
        let (one, other) = (Bus::new("one".into(), true), Bus::new("other".into(), true));
        let text = words(&one.origin, &[News::Progress("b1".into()), News::State("b2".into()), News::Progress("b1".into())]);
        let mut moves = other.listen();
        let (first, second, neither) = (other.follow(["b1"]), other.follow(["x", "b2"]), other.follow(["b3"]));
        let own = one.follow(["b1", "b2"]);
        let rang = async |follower: &Follower| tokio::time::timeout(Duration::ZERO, follower.changed()).await.is_ok();
        for follower in [&first, &second, &neither, &own] {
            assert!(rang(follower).await && !rang(follower).await, "once at the start");
        }
        other.hear(&text);
        one.hear(&text);
        assert!(rang(&first).await && rang(&second).await && !rang(&neither).await && !rang(&own).await);
        assert!(!rang(&first).await, "it is heard once");
        assert_eq!(moves.try_recv(), Ok(()));
        assert!(moves.try_recv().is_err());
        assert_eq!(other.followers(), 3);
        drop((first, second, neither));
        assert_eq!(other.followers(), 0);
        assert!(other.followers.by_build.lock().unwrap().is_empty(), "nothing stays of who left");
        assert_eq!((one.version(), other.version()), (0, 1));
        let many: Vec<News> = (0..1_000).map(|i| News::Progress(format!("{i:016}"))).collect();
        assert_eq!(words("one", &many), "one\nstate \n");
    }
}
