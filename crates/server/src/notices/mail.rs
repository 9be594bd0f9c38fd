//! Mail: the words of a notice, and handing it to the operator's mail server.

use std::time::Duration;

use askama::Template;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::Trouble;
use crate::clock;
use crate::config::{ConfigError, MailConfig, MailSecurity};
use crate::db::{Notice, NoticeKind};
use crate::status::OrderStatus;
use crate::words;

/// Sends notices through the configured mail server.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    /// How long handing a mail over may take.
    patience: Duration,
}

impl Mailer {
    pub fn new(config: &MailConfig) -> Result<Mailer, ConfigError> {
        let invalid = |what: &str, error: &dyn std::fmt::Display| ConfigError::Invalid(format!("[mail] {what}: {error}"));
        let from = config.from.parse().map_err(|_| {
            let advice = "give an address, like Hatchery <hatchery@example.org>";
            ConfigError::Invalid(format!("[mail] from “{}” is not understood: {advice}", config.from.escape_debug()))
        })?;
        type Transport = AsyncSmtpTransport<Tokio1Executor>;
        let builder = match config.security {
            MailSecurity::None => Transport::builder_dangerous(&config.host),
            MailSecurity::Starttls => Transport::starttls_relay(&config.host).map_err(|e| invalid("host", &e))?,
            MailSecurity::Tls => Transport::relay(&config.host).map_err(|e| invalid("host", &e))?,
        };
        let patience = Duration::from_secs(config.timeout_seconds);
        let mut builder = builder.port(config.port).timeout(Some(patience));
        match (&config.user, &config.password_file) {
            (Some(user), Some(path)) => {
                let password = std::fs::read_to_string(path).map_err(ConfigError::unreadable("[mail] password_file", path))?;
                let password = password.trim_end_matches(['\r', '\n']).to_owned();
                builder = builder.credentials(Credentials::new(user.clone(), password));
            }
            (None, None) => {}
            _ => return Err(ConfigError::Invalid("[mail] has one of user and password_file: set both, or neither".into())),
        }
        Ok(Mailer { transport: builder.build(), from, patience })
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

    /// The transport's own time is that of connecting alone: a server that says nothing afterwards would be waited for without end.
    async fn hand_over(&self, message: Message) -> Result<(), Trouble> {
        match tokio::time::timeout(self.patience, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(Trouble::lasting(format!("the mail server refused it: {error}"))),
            Ok(Err(error)) => Err(Trouble::passing(format!("the mail server did not take it now: {error}"))),
            Err(_) => {
                Err(Trouble::passing(format!("the mail server did not take it within {} seconds", self.patience.as_secs())))
            }
        }
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
