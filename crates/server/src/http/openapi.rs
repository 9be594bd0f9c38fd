//! The description of the API (OpenAPI 3.1), made from the handlers and types themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Extension;
use axum::http::header;
use axum::response::{IntoResponse, Response as Answer};
use serde_json::Value;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, Modify};

use super::problem::{Kind, PROBLEM_JSON, Problem};

/// What holds for the whole API.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Hatchery",
        description = "Order Gentoo images. Nothing needs an account: the identifier of an order is secret, and whoever has it may do with the order what its page \
                       lets do. A site may be on trial; then ordering needs a token. Errors are problem documents (RFC 9457) with a `type` of a closed set. \
                       Unofficial; “Gentoo” is a trademark of the Gentoo Foundation, Inc.",
        license(name = "AGPL-3.0-or-later", identifier = "AGPL-3.0-or-later"),
    ),
    tags(
        (name = "site", description = "What the site has, and how it does"),
        (name = "orders", description = "Placing orders, following them, downloading"),
        (name = "operator", description = "For whoever shows the operator's token"),
    ),
    components(schemas(Problem, Kind)),
    modifiers(&Tokens),
)]
pub struct Document;

/// The tokens there are.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut OpenApi) {
        let token =
            |what: &str| SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(what)).build());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("user", token("A token that the operator gave out (`hatchery_…`)."));
        components.add_security_scheme("operator", token("The operator's token, or a token of the operator's role."));
    }
}

/// The secret-bearing identifier of an order.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes a part of a path")]
pub struct OrderId {
    /// The identifier of the order, which is secret.
    id: String,
}

/// A part of a list that is too long for one answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes fields of a query")]
pub struct Paged {
    /// Most items in the answer.
    #[param(minimum = 1)]
    limit: Option<i32>,
    /// Where to go on: `next` of the answer before. `Link` (RFC 8288) has the whole address.
    #[param(pattern = "^[0-9]{1,4}$")]
    cursor: Option<String>,
}

macro_rules! problems {
    ($($name:ident = $code:literal, $what:literal;)*) => { $(
        #[doc = $what]
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                BTreeMap::from([($code.to_owned(), RefOr::T(answer($what)))])
            }
        }
    )* };
}

problems! {
    Malformed = "400", "The request is not understood.";
    Unauthorized = "401", "The token is missing, wrong, or was taken back.";
    Forbidden = "403", "It is not for whoever asks.";
    NotFound = "404", "There is no such thing.";
    Conflict = "409", "It is not in a state for this.";
    TooLarge = "413", "The body is larger than what is taken.";
    WrongMediaType = "415", "The body is of a media type that is not taken here.";
    WrongRange = "416", "The file ends before the part that was asked for.";
    Refused = "422", "A value is not good, or no packages serve the order.";
    TooMany = "429", "Too much in too short a time; `Retry-After` says when to come again.";
    Unavailable = "503", "It cannot be done at the moment.";
}

fn answer(what: &str) -> Response {
    let problem = Ref::from_schema_name("Problem");
    ResponseBuilder::new().description(what).content(PROBLEM_JSON, Content::new(Some(problem))).build()
}

/// The document, with what may come from any address.
fn finished(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let responses = &mut operation.responses.responses;
            for (code, what) in
                [("500", "The site has an error of its own."), ("503", "It took too long, or cannot be done at the moment.")]
            {
                responses.entry(code.to_owned()).or_insert_with(|| RefOr::T(answer(what)));
            }
        }
    }
    document
}

/// The operations that an address has.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.head, &mut item.patch].into_iter().flatten()
}

/// This description of the API
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "site", operation_id = "openapi", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn openapi(Extension(description): Extension<Description>) -> Answer {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")], description.0.to_string())
        .into_response()
}

/// The document as it is given out.
#[derive(Clone)]
pub struct Description(Arc<str>);

impl Description {
    pub fn of(document: OpenApi) -> Description {
        // Names and texts alone are in it, which can always be written.
        let mut document = serde_json::to_value(finished(document)).unwrap_or_default();
        without_null(&mut document);
        Description(document.to_string().into())
    }
}

/// A parameter that may be left out is not one that may be `null`, as which utoipa describes it.
fn without_null(document: &mut Value) {
    match document {
        Value::Object(fields) => {
            let parameters = fields.get_mut("parameters").and_then(Value::as_array_mut);
            for types in parameters.into_iter().flatten().filter_map(|parameter| parameter.pointer_mut("/schema/type")) {
                let named = types.as_array().and_then(|all| all.iter().find(|one| *one != "null")).cloned();
                if let Some(named) = named {
                    *types = named;
                }
            }
            fields.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
