//! The scalars of raw shapes: each says what it expects, reads itself from text, and knows its JSON schema.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::json;

use crate::model::{MaxLag, Secret, Share};
use crate::reader::Ask;
use crate::tree::{Style, plain_kind};
use crate::units;

/// A type that is read from one scalar.
pub(crate) trait Scalar: Sized {
    /// `$scalar:` and what is expected, as it ends the sentence "expected …".
    const ASK: &'static str;

    /// Reads it; an error says what is wrong, not what was expected. `shown` is the text as a message may show it.
    fn parse(text: &str, style: Style, shown: &str) -> Result<Self, String>;

    /// Whether a message may show the text.
    const SECRET: bool = false;

    fn schema() -> serde_json::Value {
        json!({"type": "string"})
    }
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: Scalar> ScalarVisitor<T> {
    fn take<E: de::Error>(text: &str, style: Style) -> Result<T, E> {
        let shown = match style {
            _ if T::SECRET => "the value".to_owned(),
            Style::Environment => "the value from the environment".to_owned(),
            Style::Plain | Style::Quoted => format!("`{}`", text.chars().take(60).collect::<String>()),
        };
        T::parse(text, style, &shown).map_err(|wrong| {
            E::custom(format!("{wrong}; expected {}", T::ASK.trim_start_matches(Ask::SCALAR)))
        })
    }
}

impl<'de, T: Scalar> Visitor<'de> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::ASK.trim_start_matches(Ask::SCALAR))
    }
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<T, E> {
        Self::take(text, Style::Plain)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        Self::take(text, Style::Quoted)
    }
    fn visit_string<E: de::Error>(self, text: String) -> Result<T, E> {
        Self::take(&text, Style::Environment)
    }
}

/// serde and JSON schema for scalars.
macro_rules! scalars {
    ($($type:ident $(<$parameter:ident: $bound:ident>)?),* $(,)?) => { $(
        impl<'de $(, $parameter: $bound)?> Deserialize<'de> for $type $(<$parameter>)? {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_newtype_struct(<Self as Scalar>::ASK, ScalarVisitor::<Self>(PhantomData))
            }
        }
        impl $(<$parameter: $bound>)? JsonSchema for $type $(<$parameter>)? {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                Schema::try_from(<Self as Scalar>::schema()).unwrap_or_else(|_| json_schema!({}))
            }
        }
    )* };
}
scalars!(
    Text, Password, Url, Flag, Port, Count, Number, Span, Wait, Size, AutoCount, ShareOf, LagLimit, Address, KeyValue,
    Choice<C: Choices>
);

/// Text that is not empty; a number or truth value without quotes is a mistake more often than a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Scalar for Text {
    const ASK: &'static str = "$scalar:text";
    fn parse(text: &str, style: Style, _: &str) -> Result<Self, String> {
        let kind = if style == Style::Plain { plain_kind(text) } else { "text" };
        match kind {
            _ if text.is_empty() => Err("empty text".into()),
            _ if text.contains('\0') => Err("text with a zero byte".into()),
            "text" => Ok(Text(text.to_owned())),
            other => Err(format!("found {other}, which in quotes would be text")),
        }
    }
}

/// A password; may be empty, which is the same as none.
#[derive(Debug, Clone)]
pub(crate) struct Password(pub(crate) Secret);

impl Scalar for Password {
    const ASK: &'static str = "$scalar:a password";
    const SECRET: bool = true;
    fn parse(text: &str, style: Style, _: &str) -> Result<Self, String> {
        match plain_kind(text) {
            _ if text.contains('\0') => Err("text with a zero byte".into()),
            other if style == Style::Plain && other != "text" => Err(format!("found {other}, not in quotes")),
            _ => Ok(Password(Secret(text.to_owned()))),
        }
    }
}

/// A connection URL; it may hold a password.
#[derive(Debug, Clone)]
pub(crate) struct Url(pub(crate) Secret);

impl Scalar for Url {
    const ASK: &'static str = "$scalar:a mapping, or a URL like postgres://user@host1,host2/name";
    const SECRET: bool = true;
    fn parse(text: &str, _: Style, _: &str) -> Result<Self, String> {
        Ok(Url(Secret(text.to_owned())))
    }
}

/// `true` or `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

impl Scalar for Flag {
    const ASK: &'static str = "$scalar:true or false";
    fn parse(text: &str, style: Style, shown: &str) -> Result<Self, String> {
        match text {
            _ if style == Style::Quoted => Err("found text".into()),
            "true" | "True" | "TRUE" => Ok(Flag(true)),
            "false" | "False" | "FALSE" => Ok(Flag(false)),
            _ => Err(format!("found {shown}")),
        }
    }
    fn schema() -> serde_json::Value {
        json!({"type": "boolean"})
    }
}

fn whole_number(text: &str, style: Style, shown: &str, least: u64, most: u64) -> Result<u64, String> {
    if style == Style::Quoted {
        return Err("found text".into());
    }
    match text.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("found {shown}")),
    }
}

/// More than any count of connections, clients or statements can sensibly be.
const MOST: u64 = 10_000_000;

macro_rules! numbers {
    ($($(#[$doc:meta])* $type:ident($number:ty): $least:literal ..= $most:expr, $expected:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) struct $type(pub(crate) $number);

        impl Scalar for $type {
            const ASK: &'static str = concat!("$scalar:", $expected);
            fn parse(text: &str, style: Style, shown: &str) -> Result<Self, String> {
                let number = whole_number(text, style, shown, $least, $most)?;
                <$number>::try_from(number).map($type).map_err(|_| format!("found {shown}"))
            }
            fn schema() -> serde_json::Value {
                json!({"type": "integer", "minimum": $least, "maximum": $most})
            }
        }
    )* };
}
numbers! {
    /// A TCP port.
    Port(u16): 1..=65535, "a port from 1 to 65535";
    /// At least one.
    Count(usize): 1..=MOST, "a whole number from 1 to 10000000";
    /// Zero or more.
    Number(usize): 0..=MOST, "a whole number from 0 to 10000000";
}

macro_rules! durations {
    ($($(#[$doc:meta])* $type:ident: $expected:literal, $zero:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) struct $type(pub(crate) Duration);

        impl Scalar for $type {
            const ASK: &'static str = concat!("$scalar:", $expected);
            fn parse(text: &str, _: Style, shown: &str) -> Result<Self, String> {
                match units::duration(text) {
                    Ok(duration) if duration.is_zero() && !$zero => Err(format!("found {shown}")),
                    Ok(duration) => Ok($type(duration)),
                    Err(why) => Err(format!("found {shown}{why}")),
                }
            }
            fn schema() -> serde_json::Value {
                json!({"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(us|ms|s|m|min|h|d)$"})
            }
        }
    )* };
}
durations! {
    /// A duration that is not zero.
    Span: "a duration such as 500ms, 5s, 10m, 1h or 1d, more than zero", false;
    /// A duration that may be zero.
    Wait: "a duration such as 500ms, 5s, 10m, 1h or 1d", true;
}

/// Bytes, at most what an int32 can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u32);

impl Scalar for Size {
    const ASK: &'static str = "$scalar:a size such as 64kB or 1GiB, from 1kB to 2GiB - 1";
    fn parse(text: &str, _: Style, shown: &str) -> Result<Self, String> {
        match units::bytes(text) {
            Ok(bytes) => match u32::try_from(bytes) {
                Ok(bytes) if (1024..=0x7fff_ffff).contains(&bytes) => Ok(Size(bytes)),
                _ => Err(format!("found {shown}")),
            },
            Err(why) => Err(format!("found {shown}{why}")),
        }
    }
    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^[0-9]+(B|kB|KiB|MB|MiB|GB|GiB)$"})
    }
}

/// `auto` (`None`) or a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AutoCount(pub(crate) Option<usize>);

impl Scalar for AutoCount {
    const ASK: &'static str = "$scalar:auto, or a whole number from 1 to 10000000";
    fn parse(text: &str, style: Style, shown: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(AutoCount(None));
        }
        Count::parse(text, style, shown).map(|count| AutoCount(Some(count.0)))
    }
    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"const": "auto"}, Count::schema()]})
    }
}

/// A percentage or a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShareOf(pub(crate) Share);

impl Scalar for ShareOf {
    const ASK: &'static str = "$scalar:a percentage from 0% to 100%, or a whole number";
    fn parse(text: &str, style: Style, shown: &str) -> Result<Self, String> {
        match text.strip_suffix('%') {
            Some(percent) => match percent.trim_end().parse::<u8>() {
                Ok(percent @ 0..=100) => Ok(ShareOf(Share::Percent(percent))),
                _ => Err(format!("found {shown}")),
            },
            None => Number::parse(text, style, shown).map(|number| ShareOf(Share::Count(number.0))),
        }
    }
    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"type": "string", "pattern": "^[0-9]{1,3}%$"}, Number::schema()]})
    }
}

/// How far behind: a time or bytes of WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LagLimit(pub(crate) MaxLag);

impl Scalar for LagLimit {
    const ASK: &'static str =
        "$scalar:a duration such as 500ms or 10s, or a size such as 16MB, more than zero";
    fn parse(text: &str, _: Style, shown: &str) -> Result<Self, String> {
        let limit = match units::bytes(text) {
            Ok(bytes) => MaxLag::Bytes(bytes),
            Err(_) => units::duration(text).map(MaxLag::Time).map_err(|why| format!("found {shown}{why}"))?,
        };
        match limit {
            MaxLag::Bytes(0) | MaxLag::Time(Duration::ZERO) => Err(format!("found {shown}")),
            MaxLag::Bytes(_) | MaxLag::Time(_) => Ok(LagLimit(limit)),
        }
    }
    fn schema() -> serde_json::Value {
        json!({"anyOf": [Span::schema(), Size::schema()]})
    }
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl Scalar for Address {
    const ASK: &'static str = "$scalar:an address and port such as 127.0.0.1:6432, [::1]:6432 or *:6432";
    fn parse(text: &str, _: Style, shown: &str) -> Result<Self, String> {
        let spelled = match text.rsplit_once(':') {
            Some(("*", port)) => format!("0.0.0.0:{port}"),
            Some(("localhost", port)) => format!("127.0.0.1:{port}"),
            _ => text.to_owned(),
        };
        match spelled.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(Address(address)),
            _ => Err(format!("found {shown}")),
        }
    }
}

/// A value of a shard key, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyValue(pub(crate) String);

impl Scalar for KeyValue {
    const ASK: &'static str = "$scalar:a value of the key";
    fn parse(text: &str, _: Style, _: &str) -> Result<Self, String> {
        Ok(KeyValue(text.to_owned()))
    }
    fn schema() -> serde_json::Value {
        json!({"type": ["string", "integer"]})
    }
}

/// One of several words.
pub(crate) trait Choices: Copy + 'static {
    /// `$scalar:` and the words.
    const ASK: &'static str;
    /// Each word and what it means.
    const WORDS: &'static [(&'static str, Self)];
    /// Words of the contract that this version does not know how to obey.
    const LATER: &'static [&'static str] = &[];
}

/// One of `C`'s words, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice<C>(pub(crate) C);

impl<C: Choices> Scalar for Choice<C> {
    const ASK: &'static str = C::ASK;
    fn parse(text: &str, _: Style, shown: &str) -> Result<Self, String> {
        if let Some((_, choice)) = C::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(Choice(*choice));
        }
        if C::LATER.contains(&text) {
            return Err(format!("`{text}` is not supported by this version"));
        }
        Err(format!("found {shown}"))
    }
    fn schema() -> serde_json::Value {
        json!({"enum": C::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>()})
    }
}

/// The word for a choice.
pub(crate) fn word<C: Choices + PartialEq>(choice: C) -> &'static str {
    C::WORDS.iter().find(|(_, candidate)| *candidate == choice).map_or("", |(word, _)| word)
}
