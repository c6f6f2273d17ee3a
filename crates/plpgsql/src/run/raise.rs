//! RAISE: messages to the client, and errors.

use base::client::Value;
use base::{Error, Result, SqlState, SqlType, error};

use super::Run;
use crate::host::{Level, Message};
use crate::tree::{Fragment, Raise, RaiseOption, Raised};

impl Run<'_> {
    pub(super) async fn raise(&mut self, raise: &Raise) -> Result<()> {
        let mut code = None;
        let text = match &raise.what {
            Raised::Again => {
                return Err(self.handled.last().cloned().unwrap_or_else(|| {
                    error!(
                        StackedDiagnosticsAccessedWithoutActiveHandler,
                        "RAISE without parameters cannot be used outside an exception handler"
                    )
                }));
            }
            Raised::Format { format, values } => Some(self.formatted(format, values).await?),
            Raised::State(state) => {
                code = Some(state.clone());
                None
            }
            Raised::Options => None,
        };
        let (mut message, mut detail, mut hint) = (text, None, None);
        for (option, value) in &raise.using {
            let value = self.text(value).await?;
            match option {
                RaiseOption::Message if message.is_some() => {
                    return Err(error!(SyntaxError, "RAISE option already specified: MESSAGE"));
                }
                RaiseOption::Message => message = Some(value),
                RaiseOption::Detail => detail = Some(value),
                RaiseOption::Hint => hint = Some(value),
                RaiseOption::ErrCode => code = Some(value),
            }
        }
        let state = match raise.level {
            Level::Exception => SqlState::RaiseException,
            Level::Warning => SqlState::Warning,
            _ => SqlState::SuccessfulCompletion,
        };
        let text = message.or_else(|| code.clone()).unwrap_or_else(|| state.code().to_owned());
        let mut text = Error::new(state, text).maybe_hint(hint);
        if let Some(detail) = detail {
            text = text.detail(detail);
        }
        if let Some(code) = code {
            text = text.with_code(&code)?;
        }
        if raise.level == Level::Exception {
            return Err(text);
        }
        self.host.message(Message { level: raise.level, text })
    }

    /// The format with each `%` replaced by a value.
    async fn formatted(&mut self, format: &str, values: &[Fragment]) -> Result<String> {
        let mut text = String::with_capacity(format.len());
        let mut values = values.iter();
        let mut chars = format.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
            } else if chars.next_if_eq(&'%').is_some() {
                text.push('%');
            } else if let Some(value) = values.next() {
                text.push_str(&self.text_or(value, "<NULL>").await?);
            }
        }
        Ok(text)
    }

    async fn text(&mut self, value: &Fragment) -> Result<String> {
        let value = self.value(value).await?;
        match self.host.convert(&value, SqlType::Text)? {
            Value::Text(text) => Ok(text),
            _ => Err(error!(NullValueNotAllowed, "RAISE statement option cannot be null")),
        }
    }

    async fn text_or(&mut self, value: &Fragment, null: &str) -> Result<String> {
        let value = self.value(value).await?;
        Ok(match (self.host.convert(&value, SqlType::Text)?, value.sql_type) {
            // Blanks at the end are part of what a CHAR shows.
            (Value::Text(text), SqlType::Char(bytes)) => format!("{text:<0$}", bytes as usize),
            (Value::Text(text), _) => text,
            _ => null.to_owned(),
        })
    }
}
