//! Mail: the words of a notice, and handing it to the operator's mail server.

use std::time::Duration;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::clock;
use crate::config::{ConfigError, MailConfig, MailSecurity};
use crate::db::{BuildState, Notice, NoticeKind};
use crate::status::OrderStatus;

/// A mail server that takes longer than this is tried again later.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends notices through the configured mail server.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

/// Why a mail did not go out.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// It never will: the address or the text is at fault.
    #[error("the mail cannot be written: {0}")]
    Unwritable(String),
    /// The mail server refused for good.
    #[error("the mail server refused it: {0}")]
    Refused(String),
    /// Worth another try.
    #[error("the mail server did not take it now: {0}")]
    Later(String),
}

impl MailError {
    /// Whether trying again can help.
    pub fn is_final(&self) -> bool {
        match self {
            MailError::Unwritable(_) | MailError::Refused(_) => true,
            MailError::Later(_) => false,
        }
    }
}

impl Mailer {
    pub fn new(config: &MailConfig) -> Result<Mailer, ConfigError> {
        let invalid = |what: &str, error: &dyn std::fmt::Display| ConfigError::Invalid(format!("[mail] {what}: {error}"));
        let from = config.from.parse().map_err(|e| invalid("from", &e))?;
        type Transport = AsyncSmtpTransport<Tokio1Executor>;
        let builder = match config.security {
            MailSecurity::None => Transport::builder_dangerous(&config.host),
            MailSecurity::Starttls => Transport::starttls_relay(&config.host).map_err(|e| invalid("host", &e))?,
            MailSecurity::Tls => Transport::relay(&config.host).map_err(|e| invalid("host", &e))?,
        };
        let mut builder = builder.port(config.port).timeout(Some(TIMEOUT));
        if let Some(user) = &config.user {
            let Some(path) = &config.password_file else {
                return Err(ConfigError::Invalid("[mail] user is set, but password_file is not".into()));
            };
            let password =
                std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            builder = builder.credentials(Credentials::new(user.clone(), password.trim_end_matches(['\r', '\n']).to_owned()));
        }
        Ok(Mailer { transport: builder.build(), from })
    }

    /// Sends a notice of an order. Its number names it for ever, so that a mail sent twice by a crash has one Message-ID.
    pub async fn send(&self, to: &str, notice: &Notice, status: &OrderStatus) -> Result<(), MailError> {
        let message = self.message(to, notice, status)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(MailError::Refused(error.to_string())),
            Err(error) => Err(MailError::Later(error.to_string())),
        }
    }

    fn message(&self, to: &str, notice: &Notice, status: &OrderStatus) -> Result<Message, MailError> {
        let unwritable = |e: &dyn std::fmt::Display| MailError::Unwritable(e.to_string());
        let to: Mailbox = to.parse().map_err(|e: lettre::address::AddressError| unwritable(&e))?;
        let (subject, body) = text(notice, status);
        Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject)
            .message_id(Some(format!("<{}.{}@{}>", notice.id, status.build, self.from.email.domain())))
            .header(ContentType::TEXT_PLAIN)
            .body(body)
            .map_err(|e| unwritable(&e))
    }
}

/// Subject and body of a notice.
fn text(notice: &Notice, status: &OrderStatus) -> (String, String) {
    let mut body = String::new();
    let subject = if notice.is(NoticeKind::Expiring) {
        body += &format!(
            "Your image {} will be removed soon, as its time on this site is over.\n\nDownload it here:\n{}\n\nAfterwards the same page \
             can have it built again, from the very same packages.\n\n",
            status.image_name, status.url
        );
        format!("Your image {} will be removed soon", status.image_name)
    } else if status.state == BuildState::Ready {
        body += &format!("Your image {} is ready.\n\nDownload it here:\n{}\n\n", status.image_name, status.url);
        for file in &status.artifacts {
            body +=
                &format!("{}  ({})\nSHA-256 {}\n\n", file.artifact.name, clock::size(file.artifact.size), file.artifact.sha256);
        }
        format!("Your image {} is ready", status.image_name)
    } else {
        body += &format!("Your image {} could not be built.\n\n", status.image_name);
        if let Some(failure) = &status.failure {
            body += &format!("Step: {}\n", failure.step.label());
            if let Some(package) = &failure.package {
                body += &format!("Package: {package}\n");
            }
            body += &format!("What happened: {}\nWhat to do: {}\n\n", failure.message, failure.advice);
        }
        body += &format!("The log and the whole order:\n{}\n\n", status.url);
        format!("Your image {} could not be built", status.image_name)
    };
    body += "Whoever has this link can see and download what you ordered; keep it to yourself.\n\
             -- \nHatchery, an unofficial service for images of Gentoo. You get this mail because your address was given with an order.\n";
    (subject, body)
}
