//! Sections of a pgbouncer.ini to the document that says the same.

use std::path::Path;

use crate::error::{Sink, suggestion};
use crate::ini::databases;
use crate::ini::doc::{Doc, From};
use crate::ini::parse::{Section, Setting};
use crate::ini::settings::{DEFAULTS, Fate, GLOBAL, Kind};
use crate::userlist;

/// The document; what is wrong or left out is noted in `sink`.
pub(crate) fn convert(sections: &[Section], sink: &Sink, base_dir: &Path) -> Doc {
    let mut converter = Converter { sink, doc: Doc::new(), global: Vec::new() };
    for section in sections {
        match section.name.text.as_str() {
            "pgbouncer" => converter.global.extend(section.settings.iter().cloned()),
            "databases" | "users" => {}
            "peers" => sink.error_at(
                section.name.line,
                section.name.column,
                "peers",
                "peering is not supported by this version",
            ),
            other => sink.error_at(
                section.name.line,
                section.name.column,
                other,
                format!(
                    "unknown section; expected [databases], [users] or [pgbouncer]{}",
                    near_section(other)
                ),
            ),
        }
    }
    converter.globals();
    for (path, value) in DEFAULTS {
        converter.doc.set_default(path, Doc::Plain((*value).to_owned()));
    }
    converter.listeners();
    converter.administrators(base_dir);
    let of = |name: &'static str| {
        sections.iter().filter(move |section| section.name.text == name).flat_map(|section| &section.settings)
    };
    databases::users(of("users"), &mut converter);
    databases::databases(of("databases"), &mut converter);
    converter.doc
}

fn near_section(name: &str) -> String {
    suggestion(name, ["databases", "users", "pgbouncer"])
}

pub(crate) struct Converter<'a> {
    pub(crate) sink: &'a Sink,
    pub(crate) doc: Doc,
    /// Settings of `[pgbouncer]`; the last of a name counts.
    global: Vec<Setting>,
}

impl Converter<'_> {
    /// The last setting of a name in `[pgbouncer]`.
    pub(crate) fn global(&self, name: &str) -> Option<&Setting> {
        self.global.iter().rev().find(|setting| setting.key.text == name)
    }

    fn globals(&mut self) {
        for setting in self.global.clone() {
            let from = from("pgbouncer", &setting);
            let Some((_, fate)) = GLOBAL.iter().find(|(name, _)| *name == setting.key.text) else {
                let near = suggestion(&setting.key.text, GLOBAL.iter().map(|(name, _)| *name));
                self.error_at_key(&setting, &from, format!("unknown setting{near}"));
                continue;
            };
            match fate {
                Fate::Is(path, kind) => self.set(path, *kind, &setting, &from),
                Fate::Special => self.special(&setting, &from),
                Fate::NotNeeded => {}
                Fate::Refused(harmless) if setting.value.text == *harmless => {}
                Fate::Refused(_) => self.error(&from, "is not supported by this version"),
                Fate::NoCounterpart => self.warn(&from, "has no counterpart and is left out"),
            }
        }
    }

    /// Settings whose value needs more than a rule; those that clusters need are read when clusters are made.
    fn special(&mut self, setting: &Setting, from: &From) {
        let value = setting.value.text.as_str();
        match setting.key.text.as_str() {
            "auth_type" => match value {
                "trust" | "md5" | "scram-sha-256" => {
                    self.doc.set(&["auth", "method"], Doc::Plain(value.to_owned()), from);
                }
                "any" | "cert" | "hba" | "pam" | "ldap" | "peer" | "plain" => {
                    let message = format!(
                        "`{value}` is not supported by this version; expected trust, md5 or scram-sha-256"
                    );
                    self.error(from, message);
                }
                _ => self.error(from, format!("found `{value}`; expected trust, md5 or scram-sha-256")),
            },
            "server_reset_query" if !is_discard_all(value) => {
                self.warn(from, "is left out: a connection in doubt is reset with DISCARD ALL, or closed");
            }
            // Without auth_user, which is refused, it is never asked.
            "auth_query" => self.warn(from, "is left out: only users of auth_file can log in"),
            _ => {}
        }
    }

    fn listeners(&mut self) {
        let port_from = self
            .global("listen_port")
            .map(|setting| (from("pgbouncer", setting), setting.value.text.clone()));
        let (port_from, port) = port_from.unwrap_or_else(|| (From::default(), "6432".to_owned()));
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            self.error(&port_from, format!("found `{port}`; expected a port from 1 to 65535"));
            return;
        }
        let addresses = self
            .global("listen_addr")
            .map(|setting| (from("pgbouncer", setting), split_list(&setting.value.text)));
        let (from, addresses) = match addresses {
            Some((from, addresses)) if !addresses.is_empty() => (from, addresses),
            _ => {
                let text = "pgbouncer.listen_addr: is not there, so pgweir listens on 127.0.0.1 (PgBouncer would \
                            have the Unix socket alone)";
                self.sink.warn_of_whole(text.to_owned());
                (port_from, vec!["127.0.0.1".to_owned()])
            }
        };
        let tcp = addresses.iter().map(|address| {
            let v6 = address.contains(':') && !address.starts_with('[');
            if v6 { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
        });
        self.doc.set(&["listen", "tcp"], Doc::texts(tcp), &from);
    }

    /// Administrators who cannot log in are left out: PgBouncer says nothing of them.
    fn administrators(&mut self, base_dir: &Path) {
        let trusted =
            matches!(self.doc.get(&["auth", "method"]), Some(Doc::Plain(method)) if method == "trust");
        let known = match self.doc.get(&["auth", "users_file"]) {
            Some(Doc::Text(path)) => userlist::names(&base_dir.join(path)),
            _ => Vec::new(),
        };
        for (name, key) in [("admin_users", "users"), ("stats_users", "stats_users")] {
            let Some(setting) = self.global(name).cloned() else { continue };
            let from = from("pgbouncer", &setting);
            let mut kept = Vec::new();
            for user in split_list(&setting.value.text) {
                if trusted || known.contains(&user) {
                    kept.push(user);
                } else {
                    self.warn(&from, format!("`{user}` is not in auth_file, so it is left out"));
                }
            }
            self.doc.set(&["admin", key], Doc::texts(kept), &from);
        }
    }

    /// Sets a path to a setting's value, as `kind` says.
    pub(crate) fn set(&mut self, path: &[&str], kind: Kind, setting: &Setting, from: &From) {
        match value(kind, &setting.value.text) {
            Ok(doc) => self.doc.set(path, doc, from),
            Err(expected) => {
                self.error(from, format!("found `{}`; expected {expected}", setting.value.text));
            }
        }
    }

    pub(crate) fn error(&self, from: &From, message: impl Into<String>) {
        self.sink.error_at(from.line, from.column, &from.label, message);
    }

    pub(crate) fn error_at_key(&self, setting: &Setting, from: &From, message: impl Into<String>) {
        self.sink.error_at(setting.key.line, setting.key.column, &from.label, message);
    }

    pub(crate) fn warn(&self, from: &From, message: impl Into<String>) {
        let place = self.sink.place(from.line, from.column, &from.label);
        self.sink.warn(place, message);
    }
}

/// The place of a setting's value, named `section.key`.
pub(crate) fn from(section: &str, setting: &Setting) -> From {
    From {
        line: setting.value.line,
        column: setting.value.column,
        label: format!("{section}.{}", setting.key.text),
    }
}

/// A value as it is written here, or what was expected.
pub(crate) fn value(kind: Kind, text: &str) -> Result<Doc, &'static str> {
    let plain = |text: String| Ok(Doc::Plain(text));
    match kind {
        Kind::Word => Ok(Doc::Text(text.to_owned())),
        Kind::Text if text.is_empty() => plain("null".into()),
        Kind::Text => Ok(Doc::Text(text.to_owned())),
        Kind::Number => match text.parse::<u32>() {
            Ok(number) => plain(number.to_string()),
            Err(_) => Err("a whole number"),
        },
        Kind::Bytes => match text.parse::<u32>() {
            Ok(bytes) if bytes > 0 => plain(format!("{}B", bytes.min(0x7fff_ffff))),
            _ => Err("a number of bytes"),
        },
        Kind::OnOff => match text {
            "1" | "yes" | "on" | "true" => plain("true".into()),
            "0" | "no" | "off" | "false" => plain("false".into()),
            _ => Err("0 or 1"),
        },
        Kind::SecondsOrNone | Kind::Seconds | Kind::SecondsFromZero => match seconds(text) {
            None => Err("seconds"),
            Some(true) if kind == Kind::SecondsOrNone => plain("null".into()),
            Some(true) if kind == Kind::Seconds => Err("seconds, more than 0"),
            Some(_) => plain(format!("{text}s")),
        },
    }
}

/// Whether a number of seconds is zero; `None` if it is none.
fn seconds(text: &str) -> Option<bool> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let duration = crate::units::duration(&format!("{text}s")).ok().filter(|_| digits)?;
    Some(duration.is_zero())
}

fn is_discard_all(value: &str) -> bool {
    let words: Vec<String> =
        value.trim_end_matches(';').split_whitespace().map(str::to_ascii_uppercase).collect();
    words.is_empty() || words == ["DISCARD", "ALL"]
}

pub(crate) fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
