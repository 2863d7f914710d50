//! What a service's file says, before it is checked. The same form in TOML, in the store and on the wire.

use serde::{Deserialize, Serialize};

use crate::catalog::argument::{Kind, ListForm, Place};
use crate::catalog::body::BodyKind;
use crate::catalog::graphql;
use crate::catalog::route::Unknown;
use crate::catalog::service::CredentialPer;
use crate::id::{CredentialName, ServiceName};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceSpec {
    pub(super) name: ServiceName,
    pub(super) upstream: Box<str>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) allow_private: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) credential: Option<CredentialName>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) credential_per: CredentialPer,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) origins: Vec<Box<str>>,
    #[serde(default, rename = "route")]
    pub(super) routes: Vec<RouteSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteSpec {
    pub(super) methods: Vec<Box<str>>,
    pub(super) path: Box<str>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) action: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) resource: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) body: Option<BodyKind>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) body_bytes_max: Option<usize>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) closed: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) unknown_query: Option<Unknown>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) unknown_body: Option<Unknown>,
    #[serde(default, rename = "argument", skip_serializing_if = "is_default")]
    pub(super) arguments: Vec<ArgumentSpec>,
    #[serde(default, rename = "call", skip_serializing_if = "is_default")]
    pub(super) calls: Vec<CallSpec>,
    #[serde(default, rename = "field", skip_serializing_if = "is_default")]
    pub(super) fields: Vec<FieldSpec>,
}

/// A JSON-RPC method, or every other one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallSpec {
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) method: Option<Box<str>>,
    pub(super) action: Box<str>,
    pub(super) resource: Box<str>,
    #[serde(default, rename = "argument", skip_serializing_if = "is_default")]
    pub(super) arguments: Vec<ArgumentSpec>,
}

/// A field at the top of a GraphQL operation, or every other one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldSpec {
    pub(super) on: graphql::Kind,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) name: Option<Box<str>>,
    pub(super) action: Box<str>,
    pub(super) resource: Box<str>,
    #[serde(default, rename = "argument", skip_serializing_if = "is_default")]
    pub(super) arguments: Vec<ArgumentSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArgumentSpec {
    pub(super) name: Box<str>,
    pub(super) from: Place,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) key: Option<Box<str>>,
    /// Of a list: further places of the same kind, whose values are added.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) also: Vec<Box<str>>,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) list: Option<ListForm>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) required: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) loggable: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
