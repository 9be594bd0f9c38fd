//! Mail: the words of a notice, and handing it to the operator's mail server.

use std::time::Duration;

use askama::Template;
use lettre::Message;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use super::Trouble;
use crate::clock;
use crate::config::{ConfigError, MailConfig, MailSecurity};
use crate::db::{Notice, NoticeKind};
use crate::status::OrderStatus;
use crate::words;

/// How long a mail server that has taken a mail may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// What a mail server answers that wants another log-in, or any (RFC 4954, section 6). It says nothing of the mail.
const WANTS_LOG_IN: [u16; 4] = [530, 534, 535, 538];

/// Sends notices through the configured mail server.
pub struct Mailer {
    host: String,
    port: u16,
    /// How the connection is protected: from its beginning, or once it stands.
    tls: Option<TlsParameters>,
    starttls: Option<TlsParameters>,
    credentials: Option<Credentials>,
    from: Mailbox,
    /// How long handing a mail over may take.
    patience: Duration,
}

impl Mailer {
    pub fn new(config: &MailConfig) -> Result<Mailer, ConfigError> {
        let from = config.from.parse().map_err(|_| {
            let advice = "give an address, like Hatchery <hatchery@example.org>";
            ConfigError::Invalid(format!("[mail] from “{}” is not understood: {advice}", config.from.escape_debug()))
        })?;
        let credentials = match (&config.user, &config.password_file) {
            (Some(user), Some(path)) => {
                let password = std::fs::read_to_string(path).map_err(ConfigError::unreadable("[mail] password_file", path))?;
                let password = password.trim_end_matches(['\r', '\n']).to_owned();
                Some(Credentials::new(user.clone(), password))
            }
            (None, None) => None,
            _ => return Err(ConfigError::Invalid("[mail] has one of user and password_file: set both, or neither".into())),
        };
        let unfit = |error| ConfigError::Invalid(format!("[mail] host: {error}"));
        let protected = || TlsParameters::new(config.host.clone()).map_err(unfit);
        let (tls, starttls) = match config.security {
            MailSecurity::None => (None, None),
            MailSecurity::Tls => (Some(protected()?), None),
            MailSecurity::Starttls => (None, Some(protected()?)),
        };
        Ok(Mailer {
            host: config.host.clone(),
            port: config.port,
            tls,
            starttls,
            credentials,
            from,
            patience: Duration::from_secs(config.timeout_seconds),
        })
    }

    /// Sends a notice of an order. Its number names it for ever, so that a mail sent twice by a crash has one Message-ID. `site` is the
    /// site's address, `token` that of the recipient's.
    pub async fn send(&self, to: &str, notice: &Notice, status: &OrderStatus, site: &str, token: &str) -> Result<(), Trouble> {
        let page = format!("{site}/mail/{token}");
        let message =
            self.message(to, notice, status, &page).map_err(|e| Trouble::lasting(format!("the mail cannot be written: {e}")))?;
        self.hand_over(message).await
    }

    /// Sends a link that logs in for so many minutes; `id` is the number that the outbox has for it.
    pub async fn send_link(&self, id: i64, to: &str, link: &str, minutes: i64) -> Result<(), Trouble> {
        let message =
            self.link_message(id, to, link, minutes).map_err(|e| Trouble::lasting(format!("the mail cannot be written: {e}")))?;
        self.hand_over(message).await
    }

    async fn hand_over(&self, message: Message) -> Result<(), Trouble> {
        let too_slow = || format!("the mail server did not take it within {} seconds", self.patience.as_secs());
        tokio::time::timeout(self.patience, self.converse(&message)).await.unwrap_or_else(|_| Err(Trouble::passing(too_slow())))
    }

    /// Returns once the mail server has taken the mail.
    async fn converse(&self, message: &Message) -> Result<(), Trouble> {
        // What keeps us from the server is the operator's to mend, whatever it says: a password that was changed there must lose no mail.
        let unusable = |error: smtp::Error| Trouble::passing(format!("the mail server cannot be used: {error}"));
        let mut connection = self.connect().await.map_err(unusable)?;
        connection.send(message.envelope(), &message.formatted()).await.map_err(|error| match error.status() {
            Some(code) if error.is_permanent() && !WANTS_LOG_IN.contains(&u16::from(code)) => {
                Trouble::lasting(format!("the mail server refused it: {error}"))
            }
            _ => Trouble::passing(format!("the mail server did not take it now: {error}")),
        })?;
        // It is given, whatever the server says to the goodbye, or does not say.
        tokio::spawn(async move {
            if let Ok(Err(error)) = tokio::time::timeout(GOODBYE, connection.quit()).await {
                tracing::debug!(%error, "the mail server did not say goodbye");
            }
        });
        Ok(())
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, smtp::Error> {
        let (server, name) = ((self.host.as_str(), self.port), ClientId::default());
        let tls = self.tls.clone();
        let mut connection = AsyncSmtpConnection::connect_tokio1(server, Some(self.patience), &name, tls, None).await?;
        if let Some(tls) = self.starttls.clone() {
            connection.starttls(tls, &name).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    fn link_message(&self, id: i64, to: &str, link: &str, minutes: i64) -> Result<Message, Box<dyn std::error::Error>> {
        let (text, html) = (LinkText { link, minutes }.render()?, LinkHtml { link, minutes }.render()?);
        let message = Message::builder()
            .from(self.from.clone())
            .to(to.parse::<Mailbox>()?)
            .subject(say!("Your link to log in"))
            .message_id(Some(format!("<{id}.log-in@{}>", self.from.email.domain())));
        Ok(message.multipart(MultiPart::alternative_plain_html(text, html))?)
    }

    fn message(
        &self,
        to: &str,
        notice: &Notice,
        status: &OrderStatus,
        page: &str,
    ) -> Result<Message, Box<dyn std::error::Error>> {
        let letter = Letter { kind: notice.kind, status, page };
        let parts = MultiPart::alternative_plain_html(Text(&letter).render()?, Html(&letter).render()?);
        let message = Message::builder()
            .from(self.from.clone())
            .to(to.parse::<Mailbox>()?)
            .subject(letter.subject())
            .message_id(Some(format!("<{}.{}@{}>", notice.id, status.build, self.from.email.domain())))
            .header(ListUnsubscribe(format!("<{page}/stop>")))
            .header(ListUnsubscribePost)
            .multipart(parts)?;
        Ok(message)
    }
}

/// What a mail says; the templates put it into words.
struct Letter<'a> {
    kind: NoticeKind,
    status: &'a OrderStatus,
    /// The page on which mail to this address is confirmed or stopped.
    page: &'a str,
}

impl Letter<'_> {
    fn subject(&self) -> String {
        let image = &self.status.image_name;
        match self.kind {
            NoticeKind::Confirm => say!("Is this your address?"),
            NoticeKind::Ready => say!("Your image {image} is ready", image = image),
            NoticeKind::Failed => say!("Your image {image} could not be built", image = image),
            NoticeKind::Cancelled => say!("The operator has cancelled your order of {image}", image = image),
            NoticeKind::Expiring => say!("Your image {image} will be removed soon", image = image),
            NoticeKind::Answered => say!("An answer to your report about {image}", image = image),
        }
    }
}

#[derive(Template)]
#[template(path = "mail/notice.txt", escape = "none")]
struct Text<'a>(&'a Letter<'a>);

#[derive(Template)]
#[template(path = "mail/notice.html")]
struct Html<'a>(&'a Letter<'a>);

#[derive(Template)]
#[template(path = "mail/link.txt", escape = "none")]
struct LinkText<'a> {
    link: &'a str,
    minutes: i64,
}

#[derive(Template)]
#[template(path = "mail/link.html")]
struct LinkHtml<'a> {
    link: &'a str,
    minutes: i64,
}

/// Where mail to an address is stopped with one click (RFC 8058).
#[derive(Clone)]
struct ListUnsubscribe(String);

impl Header for ListUnsubscribe {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(ListUnsubscribe(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

#[derive(Clone)]
struct ListUnsubscribePost;

impl Header for ListUnsubscribePost {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe-Post")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(ListUnsubscribePost)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "List-Unsubscribe=One-Click".to_owned())
    }
}
