//! From a tree to raw shapes through serde: every error is noted with its place, and reading goes on.
//!
//! serde stops at the first error of a value; a field that is a `Said<T>` keeps the error to itself, so a whole file
//! is checked in one go. What serde has no word for is asked by the name of a newtype struct: see `Ask`.

use serde::de::value::{StringDeserializer, U8Deserializer, U32Deserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::error::{Sink, suggestion};
use crate::tree::{Entry, NodeId, Style, Tree, Value};
use crate::yaml::join;

/// What raw shapes ask of the reader beyond serde's data model.
pub(crate) struct Ask;

impl Ask {
    /// A sequence of two: the handle of the place (u32) and the value.
    pub(crate) const PLACE: &'static str = "$place";
    /// A sequence of two: the kind (u8, one of the following) and the value.
    pub(crate) const KIND: &'static str = "$kind";
    /// A scalar's text; what follows says what was expected. A plain one comes as borrowed `str`, a quoted one as
    /// `str`, one with a variable of the environment as `String`.
    pub(crate) const SCALAR: &'static str = "$scalar:";
    pub(crate) const SCALAR_KIND: u8 = 0;
    pub(crate) const LIST_KIND: u8 = 1;
    pub(crate) const MAP_KIND: u8 = 2;
}

/// Why reading a value stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It has been noted.
    Noted,
    /// To be noted by the first who knows the place.
    Message(String),
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stop::Noted => f.write_str("noted"),
            Stop::Message(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Stop::Message(message.to_string())
    }
}

/// Reads one node.
#[derive(Clone)]
pub(crate) struct Reader<'t> {
    tree: &'t Tree,
    sink: &'t Sink,
    node: NodeId,
    path: String,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(tree: &'t Tree, sink: &'t Sink, root: NodeId) -> Self {
        Reader { tree, sink, node: root, path: String::new() }
    }

    fn child(&self, node: NodeId, path: String) -> Self {
        Reader { tree: self.tree, sink: self.sink, node, path }
    }

    fn entry_path(&self, entry: &Entry) -> String {
        entry.label.clone().unwrap_or_else(|| join(&self.path, &entry.key))
    }

    /// Notes an error at this node, unless it has been noted.
    fn note(&self, stop: Stop) -> Stop {
        if let Stop::Message(message) = stop {
            let node = self.tree.node(self.node);
            self.sink.error_at(node.line, node.column, &self.path, message);
        }
        Stop::Noted
    }

    fn wrong(&self, expected: &str) -> Stop {
        if matches!(self.tree.node(self.node).value, Value::Broken) {
            return Stop::Noted;
        }
        self.note(Stop::Message(format!("found {}; expected {expected}", self.tree.kind(self.node))))
    }

    fn check_keys(&self, entries: &[Entry], fields: &[&str]) {
        for entry in entries.iter().filter(|entry| !fields.contains(&entry.key.as_str())) {
            let near = suggestion(&entry.key, fields.iter().copied());
            let near =
                if near.is_empty() { format!("; expected one of {}", fields.join(", ")) } else { near };
            let message = format!("unknown key `{}`{near}", entry.key);
            self.sink.error_at(entry.line, entry.column, &self.entry_path(entry), message);
        }
    }

    fn entries(&self) -> Option<&'t [Entry]> {
        match &self.tree.node(self.node).value {
            Value::Map(entries) => Some(entries),
            // A section whose lines are all commented out.
            _ if self.tree.is_null(self.node) => Some(&[]),
            _ => None,
        }
    }
}

macro_rules! not_asked {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
            Err(self.wrong("something else"))
        })*
    };
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = Stop;

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if !self.sink.may_visit() {
            return Err(self.note(Stop::Message("the file is too large, with its aliases in place".into())));
        }
        let node = self.tree.node(self.node);
        let result = if let Some(expected) = name.strip_prefix(Ask::SCALAR) {
            match &node.value {
                Value::Scalar { text, style } if !self.tree.is_null(self.node) => match style {
                    Style::Plain => visitor.visit_borrowed_str(text),
                    Style::Quoted => visitor.visit_str(text),
                    Style::Environment => visitor.visit_string(text.clone()),
                },
                _ => return Err(self.wrong(expected)),
            }
        } else if name == Ask::PLACE {
            let place = self.sink.place(node.line, node.column, &self.path);
            visitor.visit_seq(Pair { first: Some(place.0.into_deserializer()), value: Some(self.clone()) })
        } else if name == Ask::KIND {
            let kind = match node.value {
                Value::List(_) => Ask::LIST_KIND,
                Value::Map(_) => Ask::MAP_KIND,
                Value::Scalar { .. } | Value::Broken => Ask::SCALAR_KIND,
            };
            visitor.visit_seq(Pair { first: Some(kind.into_deserializer()), value: Some(self.clone()) })
        } else {
            visitor.visit_newtype_struct(self.clone())
        };
        result.map_err(|stop| self.note(stop))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let Some(entries) = self.entries() else { return Err(self.wrong("a mapping")) };
        self.check_keys(entries, fields);
        let known = entries.iter().filter(|entry| fields.contains(&entry.key.as_str())).collect();
        visitor.visit_map(Entries::new(&self, known)).map_err(|stop| self.note(stop))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let Some(entries) = self.entries() else { return Err(self.wrong("a mapping")) };
        visitor.visit_map(Entries::new(&self, entries.iter().collect())).map_err(|stop| self.note(stop))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let Value::List(items) = &self.tree.node(self.node).value else { return Err(self.wrong("a list")) };
        visitor.visit_seq(Items { reader: &self, items, next: 0 }).map_err(|stop| self.note(stop))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if self.tree.is_null(self.node) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Stop> {
        Err(self.wrong("something else"))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _visitor: V,
    ) -> Result<V::Value, Stop> {
        Err(self.wrong("something else"))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        _visitor: V,
    ) -> Result<V::Value, Stop> {
        Err(self.wrong("something else"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Stop> {
        Err(self.wrong("something else"))
    }

    // Raw shapes read their scalars with `Ask::SCALAR` alone.
    not_asked! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_identifier
    }
}

/// A fact about a node, then the node.
struct Pair<'t, D> {
    first: Option<D>,
    value: Option<Reader<'t>>,
}

macro_rules! pair {
    ($first:ty) => {
        impl<'de> SeqAccess<'de> for Pair<'de, $first> {
            type Error = Stop;
            fn next_element_seed<T: DeserializeSeed<'de>>(
                &mut self,
                seed: T,
            ) -> Result<Option<T::Value>, Stop> {
                if let Some(first) = self.first.take() {
                    return seed.deserialize(first).map(Some);
                }
                self.value
                    .take()
                    .map(|value| seed.deserialize(value.clone()).map_err(|stop| value.note(stop)))
                    .transpose()
            }
        }
    };
}

pair!(U32Deserializer<Stop>);
pair!(U8Deserializer<Stop>);

struct Items<'r, 't> {
    reader: &'r Reader<'t>,
    items: &'t [NodeId],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        let Some(node) = self.items.get(self.next) else { return Ok(None) };
        let child = self.reader.child(*node, format!("{}[{}]", self.reader.path, self.next));
        self.next += 1;
        seed.deserialize(child.clone()).map(Some).map_err(|stop| child.note(stop))
    }
}

struct Entries<'r, 't> {
    reader: &'r Reader<'t>,
    entries: std::vec::IntoIter<&'t Entry>,
    current: Option<&'t Entry>,
}

impl<'r, 't> Entries<'r, 't> {
    fn new(reader: &'r Reader<'t>, entries: Vec<&'t Entry>) -> Self {
        Entries { reader, entries: entries.into_iter(), current: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        self.current = self.entries.next();
        let Some(entry) = self.current else { return Ok(None) };
        seed.deserialize(KeyReader { reader: self.reader, entry }).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let entry = self.current.ok_or(Stop::Noted)?;
        let child = self.reader.child(entry.value, self.reader.entry_path(entry));
        seed.deserialize(child.clone()).map_err(|stop| child.note(stop))
    }
}

/// Reads a key: as a field's name, or with `Ask::PLACE` as the handle of its place and its text.
struct KeyReader<'r, 't> {
    reader: &'r Reader<'t>,
    entry: &'t Entry,
}

impl<'de> de::Deserializer<'de> for KeyReader<'_, 'de> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_borrowed_str(&self.entry.key)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let path = self.reader.entry_path(self.entry);
        let place = self.reader.sink.place(self.entry.line, self.entry.column, &path);
        visitor.visit_seq(KeyPair {
            place: Some(place.0.into_deserializer()),
            text: Some(self.entry.key.clone().into_deserializer()),
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct KeyPair {
    place: Option<U32Deserializer<Stop>>,
    text: Option<StringDeserializer<Stop>>,
}

impl<'de> SeqAccess<'de> for KeyPair {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        match self.place.take() {
            Some(place) => seed.deserialize(place).map(Some),
            None => self.text.take().map(|text| seed.deserialize(text)).transpose(),
        }
    }
}
