//! The containers of raw shapes: a value with its place, a mapping in the order of the file, and shapes with a short
//! form.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::Place;
use crate::reader::Ask;

/// A setting: not said, said, or said wrongly (which has been noted).
#[derive(Debug, Clone)]
pub(crate) struct Said<T>(Option<(Place, Option<T>)>);

impl<T> Default for Said<T> {
    fn default() -> Self {
        Said(None)
    }
}

impl<T> Said<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref().and_then(|(_, value)| value.as_ref())
    }

    pub(crate) fn with_place(&self) -> Option<(Place, &T)> {
        self.0.as_ref().and_then(|(place, value)| value.as_ref().map(|value| (*place, value)))
    }

    pub(crate) fn place(&self) -> Option<Place> {
        self.0.as_ref().map(|(place, _)| *place)
    }

    pub(crate) fn is_said(&self) -> bool {
        self.0.is_some()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Said<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(Ask::PLACE, SaidVisitor(PhantomData))
    }
}

struct SaidVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SaidVisitor<T> {
    type Value = Said<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Said<T>, A::Error> {
        let place = seq.next_element::<u32>()?.unwrap_or_default();
        // An error has been noted with its place: reading goes on without the value.
        let value = seq.next_element::<T>().unwrap_or(None);
        Ok(Said(Some((Place(place), value))))
    }
}

impl<T: JsonSchema> JsonSchema for Said<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A mapping from names to `T`, in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Named<T>(pub(crate) Vec<NamedEntry<T>>);

/// A name, its place, and what it names.
#[derive(Debug, Clone)]
pub(crate) struct NamedEntry<T> {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) value: Said<T>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Said<String>>()? {
            let value = map.next_value::<Said<T>>()?;
            if let Some((place, name)) = key.with_place() {
                entries.push(NamedEntry { name: name.clone(), place, value });
            }
        }
        Ok(Named(entries))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({"type": "object", "additionalProperties": value})
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone)]
pub(crate) struct Many<T>(pub(crate) Vec<Said<T>>);

impl<T> Many<T> {
    /// The values that could be read.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(Said::get)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(
            Ask::KIND,
            KindVisitor::<Vec<Said<T>>, Said<T>, Many<T>> {
                special: Ask::LIST_KIND,
                of_special: Many,
                of_other: |one| Many(vec![one]),
                types: PhantomData,
            },
        )
    }
}

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Many_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

/// A mapping, or a scalar that says the same in short.
#[derive(Debug, Clone)]
pub(crate) enum Short<S, L> {
    Short(S),
    Long(Box<L>),
}

impl<'de, S: Deserialize<'de>, L: Deserialize<'de>> Deserialize<'de> for Short<S, L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(
            Ask::KIND,
            KindVisitor::<S, L, Short<S, L>> {
                special: Ask::SCALAR_KIND,
                of_special: Short::Short,
                of_other: |long| Short::Long(Box::new(long)),
                types: PhantomData,
            },
        )
    }
}

impl<S: JsonSchema, L: JsonSchema> JsonSchema for Short<S, L> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Short_{}", L::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let short = generator.subschema_for::<S>();
        let long = generator.subschema_for::<L>();
        json_schema!({"anyOf": [short, long]})
    }
}

/// Reads an `A` where the node is of the `special` kind, else a `B`.
struct KindVisitor<A, B, O> {
    special: u8,
    of_special: fn(A) -> O,
    of_other: fn(B) -> O,
    types: PhantomData<(A, B)>,
}

impl<'de, A: Deserialize<'de>, B: Deserialize<'de>, O> Visitor<'de> for KindVisitor<A, B, O> {
    type Value = O;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<Q: SeqAccess<'de>>(self, mut seq: Q) -> Result<O, Q::Error> {
        let missing = || de::Error::custom("found nothing; expected a value");
        if seq.next_element::<u8>()? == Some(self.special) {
            seq.next_element::<A>()?.map(self.of_special).ok_or_else(missing)
        } else {
            seq.next_element::<B>()?.map(self.of_other).ok_or_else(missing)
        }
    }
}
