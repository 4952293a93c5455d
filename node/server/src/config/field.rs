//! How a value of each type is read from TOML and written back.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use halley_bayeux::{Activity, ChannelName};
use halley_cluster::TlsMode;
use ipnet::IpNet;
use toml::Value;

use super::check::Secret;
use super::types::{
    ApiRole, Discovery, LogFormat, LogLevel, OortDigest, PolicyKind, SameSite, TokenAlgorithm,
};

/// What a value looks like, so that text from the environment can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A string.
    Text,
    /// An integer or a boolean: the text is TOML.
    Literal,
    /// A list of strings: TOML, or words with commas between them.
    List,
}

/// A type an option can have.
pub(super) trait Field: Sized {
    /// What the operator is told to write.
    const KIND: &'static str;
    const SHAPE: Shape = Shape::Text;
    /// Reads a value; the error says what was expected.
    fn read(value: &Value) -> Result<Self, String>;
    /// The value as TOML; `None` when it is not set.
    fn write(&self) -> Option<Value>;
}

/// What a value is, for an error.
pub(super) fn found(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

fn wrong<T: Field>(value: &Value) -> String {
    format!("expected {}, found {}", T::KIND, found(value))
}

fn text<T: Field>(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| wrong::<T>(value))
}

impl Field for String {
    const KIND: &'static str = "string";
    fn read(value: &Value) -> Result<Self, String> {
        text::<Self>(value).map(str::to_owned)
    }
    fn write(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }
}

impl Field for bool {
    const KIND: &'static str = "boolean";
    const SHAPE: Shape = Shape::Literal;
    fn read(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| wrong::<Self>(value))
    }
    fn write(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Field for $type {
            const KIND: &'static str = "integer";
            const SHAPE: Shape = Shape::Literal;
            fn read(value: &Value) -> Result<Self, String> {
                let number = value.as_integer().ok_or_else(|| wrong::<Self>(value))?;
                Self::try_from(number).map_err(|_| format!("{number} is out of range"))
            }
            fn write(&self) -> Option<Value> {
                i64::try_from(*self).ok().map(Value::Integer)
            }
        }
    )*};
}
integer!(u16, u32, u64, usize, i64);

macro_rules! parsed {
    ($type:ty, $kind:literal, $example:literal) => {
        impl Field for $type {
            const KIND: &'static str = $kind;
            fn read(value: &Value) -> Result<Self, String> {
                let text = text::<Self>(value)?;
                text.parse()
                    .map_err(|_| format!("{text:?} is not {} such as {:?}", $kind, $example))
            }
            fn write(&self) -> Option<Value> {
                Some(Value::String(self.to_string()))
            }
        }
    };
}
parsed!(SocketAddr, "address with port", "0.0.0.0:8080");
parsed!(Ipv4Addr, "IPv4 address", "239.255.0.1");
parsed!(IpNet, "network", "10.0.0.0/8");

impl Field for PathBuf {
    const KIND: &'static str = "path";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text::<Self>(value)?;
        if text.is_empty() {
            Err("must not be empty".into())
        } else {
            Ok(Self::from(text))
        }
    }
    fn write(&self) -> Option<Value> {
        Some(Value::String(self.display().to_string()))
    }
}

impl Field for ChannelName {
    const KIND: &'static str = "channel";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text::<Self>(value)?;
        Self::parse(text).map_err(|_| format!("{text:?} is not a channel such as \"/chat/**\""))
    }
    fn write(&self) -> Option<Value> {
        Some(Value::String(self.as_str().to_owned()))
    }
}

impl Field for Secret {
    const KIND: &'static str = "secret";
    fn read(value: &Value) -> Result<Self, String> {
        text::<Self>(value).map(|text| Self::new(text.as_bytes().to_vec()))
    }
    fn write(&self) -> Option<Value> {
        Some(Value::String("***".into()))
    }
}

macro_rules! words {
    ($type:ident, $kind:literal, $($word:literal => $variant:ident),+) => {
        impl Field for $type {
            const KIND: &'static str = $kind;
            fn read(value: &Value) -> Result<Self, String> {
                match text::<Self>(value)? {
                    $($word => Ok(Self::$variant),)+
                    other => Err(format!("{other:?} is not {}", $kind)),
                }
            }
            fn write(&self) -> Option<Value> {
                let word = match self { $(Self::$variant => $word),+ };
                Some(Value::String(word.to_owned()))
            }
        }
    };
}
words!(LogFormat, "one of \"text\", \"json\"", "text" => Text, "json" => Json);
words!(
    SameSite, "one of \"Strict\", \"Lax\", \"None\", \"\"",
    "Strict" => Strict, "Lax" => Lax, "None" => None, "" => Absent
);
words!(
    LogLevel, "one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
    "error" => Error, "warn" => Warn, "info" => Info, "debug" => Debug, "trace" => Trace
);
words!(
    ApiRole, "one of \"read\", \"publish\", \"call\", \"manage\"",
    "read" => Read, "publish" => Publish, "call" => Call, "manage" => Manage
);
words!(
    Activity, "one of \"off\", \"client\", \"client-server\"",
    "off" => Off, "client" => Client, "client-server" => ClientServer
);
words!(
    PolicyKind, "one of \"anonymous\", \"jwt\", \"hooks\"",
    "anonymous" => Anonymous, "jwt" => Jwt, "hooks" => Hooks
);
words!(
    TokenAlgorithm, "one of \"HS256\", \"RS256\", \"ES256\", \"EdDSA\"",
    "HS256" => Hs256, "RS256" => Rs256, "ES256" => Es256, "EdDSA" => EdDsa
);
words!(
    TlsMode, "one of \"required\", \"dialled\", \"accepted\"",
    "required" => Required, "dialled" => Dialled, "accepted" => Accepted
);
words!(
    Discovery, "one of \"static\", \"multicast\", \"dns\"",
    "static" => Static, "multicast" => Multicast, "dns" => Dns
);

words!(
    OortDigest, "one of \"sha-512\", \"sha-1\"",
    "sha-512" => Sha512, "sha-1" => Sha1
);

impl<T: Field> Field for Option<T> {
    const KIND: &'static str = T::KIND;
    const SHAPE: Shape = T::SHAPE;
    fn read(value: &Value) -> Result<Self, String> {
        T::read(value).map(Some)
    }
    fn write(&self) -> Option<Value> {
        self.as_ref().and_then(Field::write)
    }
}

impl<T: Field> Field for Vec<T> {
    const KIND: &'static str = "list";
    const SHAPE: Shape = Shape::List;
    fn read(value: &Value) -> Result<Self, String> {
        let items = value.as_array().ok_or_else(|| {
            format!(
                "expected a list, each entry {}, found {}",
                T::KIND,
                found(value)
            )
        })?;
        items
            .iter()
            .enumerate()
            .map(|(at, item)| T::read(item).map_err(|error| format!("entry {}: {error}", at + 1)))
            .collect()
    }
    fn write(&self) -> Option<Value> {
        Some(Value::Array(self.iter().filter_map(Field::write).collect()))
    }
}
