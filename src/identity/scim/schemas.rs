//! The schemas: users, the enterprise extension, groups (RFC 7643 sections 4 and 8.7), and those that describe the server.
//!
//! `password` is there because clients that are made from the schemas of the RFC fail without it (canaille does). writ has no use for one:
//! it is dropped when it is read.

use crate::identity::scim::schema::{Attribute, Kind, Model, Schema, Sort};

/// The most members of a group.
pub(crate) const MEMBERS_MAX: usize = 10_000;

/// What every resource has (RFC 7643 section 3.1).
pub(crate) const COMMON: &[Attribute] = &[
    Attribute::reference("schemas", &["uri"], "The URNs of its schemas.").many().required().read_only().always(),
    Attribute::text("id", "Its identifier.").case_exact().unique().read_only().always(),
    Attribute::text("externalId", "Its identifier at the client.").case_exact(),
    Attribute::complex(
        "meta",
        &[
            Attribute::text("resourceType", "The kind of resource.").case_exact().read_only(),
            Attribute::new("created", Kind::DateTime, "When it was created.").read_only(),
            Attribute::new("lastModified", Kind::DateTime, "When it was changed last.").read_only(),
            Attribute::reference("location", &["uri"], "Its URL.").read_only(),
            Attribute::text("version", "Its version.").case_exact().read_only(),
        ],
        "What the server says of it.",
    )
    .read_only(),
];

/// A value with a label: e-mail addresses and the like.
macro_rules! labelled {
    ($value:expr, [$($canonical:literal),*]) => {
        &[
            $value,
            Attribute::text("display", "The value for people."),
            Attribute::text("type", "What it is for.").canonical(&[$($canonical),*]),
            Attribute::new("primary", Kind::Boolean, "Whether it is the preferred one; true once at most."),
        ]
    };
}

/// Users.
pub const USER: Model = Model {
    sort: Sort::User,
    name: "User",
    endpoint: "/Users",
    about: "A user",
    schema: Schema {
        urn: "urn:ietf:params:scim:schemas:core:2.0:User",
        name: "User",
        about: "A user",
        attributes: &[
            Attribute::text("userName", "What the provider calls the user.").required().unique(),
            Attribute::complex(
                "name",
                &[
                    Attribute::text("formatted", "The whole name."),
                    Attribute::text("familyName", "The family name."),
                    Attribute::text("givenName", "The given name."),
                    Attribute::text("middleName", "The middle names."),
                    Attribute::text("honorificPrefix", "What stands before it."),
                    Attribute::text("honorificSuffix", "What stands behind it."),
                ],
                "The user's real name.",
            ),
            Attribute::text("displayName", "The name for people."),
            Attribute::text("nickName", "The casual name."),
            Attribute::reference("profileUrl", &["external"], "A page about the user."),
            Attribute::text("title", "The title, such as `Vice President`."),
            Attribute::text("userType", "The relation to the organisation."),
            Attribute::text("preferredLanguage", "The preferred languages."),
            Attribute::text("locale", "The locale."),
            Attribute::text("timezone", "The time zone."),
            Attribute::new(
                "active",
                Kind::Boolean,
                "Whether the user may be acted for. `false` ends everything that was issued for the user.",
            ),
            Attribute::text("password", "Taken and thrown away.").case_exact().write_only(),
            Attribute::complex(
                "emails",
                labelled!(Attribute::text("value", "The address."), ["work", "home", "other"]),
                "E-mail addresses.",
            )
            .many(),
            Attribute::complex(
                "phoneNumbers",
                labelled!(Attribute::text("value", "The number."), ["work", "home", "mobile", "fax", "pager", "other"]),
                "Telephone numbers.",
            )
            .many(),
            Attribute::complex(
                "ims",
                labelled!(
                    Attribute::text("value", "The address."),
                    ["aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"]
                ),
                "Instant messaging addresses.",
            )
            .many(),
            Attribute::complex(
                "photos",
                labelled!(Attribute::reference("value", &["external"], "The URL."), ["photo", "thumbnail"]),
                "Pictures.",
            )
            .many(),
            Attribute::complex(
                "addresses",
                &[
                    Attribute::text("formatted", "The whole address."),
                    Attribute::text("streetAddress", "The street."),
                    Attribute::text("locality", "The place."),
                    Attribute::text("region", "The region."),
                    Attribute::text("postalCode", "The postal code."),
                    Attribute::text("country", "The country."),
                    Attribute::text("type", "What it is for.").canonical(&["work", "home", "other"]),
                    Attribute::new("primary", Kind::Boolean, "Whether it is the preferred one; true once at most."),
                ],
                "Postal addresses.",
            )
            .many(),
            Attribute::complex(
                "groups",
                &[
                    Attribute::text("value", "The group's id.").case_exact().read_only(),
                    Attribute::reference("$ref", &["Group"], "The group's URL.").read_only(),
                    Attribute::text("display", "The group's name.").read_only(),
                    Attribute::text("type", "How the user belongs to it.").canonical(&["direct"]).read_only(),
                ],
                "The groups that the user is in. Changed at the groups.",
            )
            .many()
            .read_only(),
            Attribute::complex(
                "entitlements",
                labelled!(Attribute::text("value", "The entitlement."), []),
                "Entitlements.",
            )
            .many(),
            Attribute::complex("roles", labelled!(Attribute::text("value", "The role."), []), "Roles.").many(),
            Attribute::complex(
                "x509Certificates",
                labelled!(Attribute::new("value", Kind::Binary, "The certificate in DER."), []),
                "Certificates.",
            )
            .many(),
        ],
    },
    extensions: &[Schema {
        urn: "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        name: "EnterpriseUser",
        about: "What enterprises add to a user",
        attributes: &[
            Attribute::text("employeeNumber", "The number in the organisation."),
            Attribute::text("costCenter", "The cost centre."),
            Attribute::text("organization", "The organisation."),
            Attribute::text("division", "The division."),
            Attribute::text("department", "The department."),
            Attribute::complex(
                "manager",
                &[
                    Attribute::text("value", "The manager's id.").case_exact(),
                    Attribute::reference("$ref", &["User"], "The manager's URL."),
                    Attribute::text("displayName", "The manager's name.").read_only(),
                ],
                "The user's manager.",
            ),
        ],
    }],
};

/// Groups.
pub const GROUP: Model = Model {
    sort: Sort::Group,
    name: "Group",
    endpoint: "/Groups",
    about: "A group of users",
    schema: Schema {
        urn: "urn:ietf:params:scim:schemas:core:2.0:Group",
        name: "Group",
        about: "A group of users",
        attributes: &[
            Attribute::text("displayName", "The name by which grants know it.").required(),
            Attribute::complex(
                "members",
                &[
                    Attribute::text("value", "The user's id.").case_exact().required().immutable(),
                    Attribute::reference("$ref", &["User"], "The user's URL.").immutable(),
                    Attribute::text("type", "The kind of member: users only.").canonical(&["User"]).immutable(),
                    // Clients that are made from the schemas expect it; what users are called is read at the users.
                    Attribute::text("display", "Not given.").read_only(),
                ],
                "The users in the group. Whoever leaves loses what the group's grants gave.",
            )
            .many()
            .at_most(MEMBERS_MAX),
        ],
    },
    extensions: &[],
};

/// What describes the server to its clients (RFC 7644 section 4).
pub mod discovery {
    use serde_json::{Value, json};

    use super::{Attribute, GROUP, Kind, Model, Schema, USER};

    const RESOURCE_TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
    const CONFIG: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";

    /// Every schema.
    pub fn schemas() -> Vec<Value> {
        let models = [&USER, &GROUP].into_iter();
        let own = models.flat_map(|model| std::iter::once(&model.schema).chain(model.extensions));
        own.chain(DESCRIPTIONS).map(Schema::shown).collect()
    }

    /// Every kind of resource.
    pub fn resource_types() -> Vec<Value> {
        let shown = |model: &Model| {
            let extension = |schema: &Schema| json!({ "schema": schema.urn, "required": false });
            let extensions: Vec<_> = model.extensions.iter().map(extension).collect();
            json!({
                "schemas": [RESOURCE_TYPE], "id": model.name, "name": model.name, "endpoint": model.endpoint,
                "description": model.about, "schema": model.urn(), "schemaExtensions": extensions,
            })
        };
        [&USER, &GROUP].into_iter().map(shown).collect()
    }

    /// What the server can do. A filter gives at most `results_max` at once.
    pub fn config(results_max: u32) -> Value {
        json!({
            "schemas": [CONFIG],
            "documentationUri": "https://www.rfc-editor.org/rfc/rfc7644",
            "patch": { "supported": true },
            "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
            "filter": { "supported": true, "maxResults": results_max },
            "changePassword": { "supported": false },
            "sort": { "supported": false },
            "etag": { "supported": true },
            "authenticationSchemes": [{
                "type": "oauthbearertoken", "name": "Bearer token", "primary": true,
                "description": "The secret that `writ scim token add` shows.",
                "specUri": "https://www.rfc-editor.org/rfc/rfc6750",
            }],
        })
    }

    const fn flag(name: &'static str, about: &'static str) -> Attribute {
        Attribute::new(name, Kind::Boolean, about).required().read_only()
    }

    const fn words(name: &'static str, about: &'static str) -> Attribute {
        Attribute::text(name, about).case_exact().read_only()
    }

    const fn count(name: &'static str, about: &'static str) -> Attribute {
        Attribute::new(name, Kind::Integer, about).required().read_only()
    }

    const SUPPORTED: Attribute = flag("supported", "Whether it is there.");

    macro_rules! attribute_of_attribute {
        ($($deeper:expr),*) => {
            &[
                words("name", "The name.").required(),
                words("type", "The type of value.")
                    .required()
                    .canonical(&["string", "complex", "boolean", "decimal", "integer", "dateTime", "reference", "binary"]),
                flag("multiValued", "Whether it has several values."),
                words("description", "What it is."),
                Attribute::new("required", Kind::Boolean, "Whether it has to be there.").read_only(),
                words("canonicalValues", "Suggested values.").many(),
                Attribute::new("caseExact", Kind::Boolean, "Whether case counts.").read_only(),
                words("mutability", "Who may write it.")
                    .canonical(&["readOnly", "readWrite", "immutable", "writeOnly"]),
                words("returned", "When it is returned.").canonical(&["always", "never", "default", "request"]),
                words("uniqueness", "Whether it is unique.").canonical(&["none", "server", "global"]),
                words("referenceTypes", "What it may refer to.").many(),
                $($deeper),*
            ]
        };
    }

    const DESCRIPTIONS: &[Schema] = &[
        Schema {
            urn: CONFIG,
            name: "ServiceProviderConfig",
            about: "What the server can do",
            attributes: &[
                Attribute::reference("documentationUri", &["external"], "The documentation.").read_only(),
                Attribute::complex("patch", &[SUPPORTED], "PATCH.").required().read_only(),
                Attribute::complex(
                    "bulk",
                    &[
                        SUPPORTED,
                        count("maxOperations", "The most operations."),
                        count("maxPayloadSize", "The most bytes."),
                    ],
                    "Bulk operations.",
                )
                .required()
                .read_only(),
                Attribute::complex(
                    "filter",
                    &[SUPPORTED, count("maxResults", "The most results at once.")],
                    "Filters.",
                )
                .required()
                .read_only(),
                Attribute::complex("changePassword", &[SUPPORTED], "Passwords.").required().read_only(),
                Attribute::complex("sort", &[SUPPORTED], "Sorting.").required().read_only(),
                Attribute::complex("etag", &[SUPPORTED], "Versions.").required().read_only(),
                Attribute::complex(
                    "authenticationSchemes",
                    &[
                        words("type", "The scheme.").required().canonical(&[
                            "oauth",
                            "oauth2",
                            "oauthbearertoken",
                            "httpbasic",
                            "httpdigest",
                        ]),
                        words("name", "Its name.").required(),
                        words("description", "What it is.").required(),
                        Attribute::reference("specUri", &["external"], "Its specification.").read_only(),
                        Attribute::reference("documentationUri", &["external"], "Its documentation.").read_only(),
                        Attribute::new("primary", Kind::Boolean, "Whether it is the preferred one.").read_only(),
                    ],
                    "How clients say who they are.",
                )
                .many()
                .required()
                .read_only(),
            ],
        },
        Schema {
            urn: RESOURCE_TYPE,
            name: "ResourceType",
            about: "A kind of resource",
            attributes: &[
                words("id", "Its identifier."),
                words("name", "Its name.").required(),
                words("description", "What it is."),
                Attribute::reference("endpoint", &["uri"], "Where its resources are.").required().read_only(),
                Attribute::reference("schema", &["uri"], "Its schema.").required().read_only(),
                Attribute::complex(
                    "schemaExtensions",
                    &[
                        Attribute::reference("schema", &["uri"], "The extension.").required().read_only(),
                        flag("required", "Whether each resource has to have it."),
                    ],
                    "Its extensions.",
                )
                .many()
                .read_only(),
            ],
        },
        Schema {
            urn: "urn:ietf:params:scim:schemas:core:2.0:Schema",
            name: "Schema",
            about: "A schema",
            attributes: &[
                words("id", "Its URN.").required(),
                words("name", "Its name."),
                words("description", "What it is."),
                Attribute::complex(
                    "attributes",
                    attribute_of_attribute!(
                        Attribute::complex("subAttributes", attribute_of_attribute!(), "Its sub-attributes.")
                            .many()
                            .read_only()
                    ),
                    "Its attributes.",
                )
                .many()
                .required()
                .read_only(),
            ],
        },
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_is_described_and_unique_in_its_schema() {
        for schema in discovery::schemas() {
            let mut names: Vec<_> =
                schema["attributes"].as_array().unwrap().iter().map(|a| a["name"].as_str()).collect();
            let many = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), many, "{}", schema["id"]);
        }
    }
}
