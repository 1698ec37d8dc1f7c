//! The connector's modules over HTTP, each route a call of `modules`:
//!
//! - `GET /modules`: what there is, with the schemas of input and result.
//! - `POST /modules/{id}`: runs a module. The body is its input, the answer its result.
//! - `GET /modules/{id}/options/{field}?search=`: the choices of a drop-down.
//!
//! Whoever may call this has the rights of the connector's key. So every request needs the token in `FACADE_TOKEN`.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;
use wasip2::cli::environment::get_environment;
use wstd::http::{
    Body, BodyExt, Error as HttpError, HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    body::util::{LengthLimitError, Limited},
};

use bindings::memberspot::connector::{
    modules::{OptionsRequest, list_modules, list_options, run_module},
    types::{Error, FailureCode},
};

/// The longest input that the connector takes.
const MOST_BODY_BYTES: usize = 8 << 20;
const LEAST_TOKEN_BYTES: usize = 16;

#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated from the WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package memberspot:facade;

            world facade {
                import memberspot:connector/modules@0.1.0;
            }
        ",
        world: "memberspot:facade/facade",
        additional_derives: [serde::Serialize],
        // JSON as the connector's own: names in lowerCamelCase, no field where there is no value.
        additional_type_attributes: {
            "memberspot:connector/types@0.1.0/error": [#[serde(tag = "tag", content = "val", rename_all = "camelCase")]],
            "memberspot:connector/types@0.1.0/failure": [#[serde(rename_all = "camelCase")]],
            "memberspot:connector/types@0.1.0/failure-code": [#[serde(rename_all = "camelCase")]],
            "memberspot:connector/types@0.1.0/scope": [#[serde(rename_all = "camelCase")]],
            "memberspot:connector/modules@0.1.0/module": [#[serde(rename_all = "camelCase")]],
            "memberspot:connector/modules@0.1.0/module-kind": [#[serde(rename_all = "camelCase")]],
            "memberspot:connector/modules@0.1.0/module-hints": [#[serde(rename_all = "camelCase")]],
        },
        additional_member_attributes: {
            "memberspot:connector/types@0.1.0/failure.status": [#[serde(skip_serializing_if = "Option::is_none")]],
            "memberspot:connector/types@0.1.0/failure.retry-after-ms": [#[serde(skip_serializing_if = "Option::is_none")]],
            "memberspot:connector/modules@0.1.0/module.needs": [#[serde(skip_serializing_if = "Option::is_none")]],
            "memberspot:connector/modules@0.1.0/module.input-schema": [#[serde(serialize_with = "crate::as_it_is")]],
            "memberspot:connector/modules@0.1.0/module.output-schema": [#[serde(serialize_with = "crate::as_it_is")]],
            "memberspot:connector/modules@0.1.0/module-hints.requests-per-second":
                [#[serde(skip_serializing_if = "Option::is_none")]],
        },
        generate_all,
    });
}

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, HttpError> {
    let mut answer = match admit(request.headers()) {
        Ok(()) => route(request).await,
        Err(refusal) => refusal,
    };
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    // Answers are about people, and some are login tokens.
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    Ok(answer.map(Body::from))
}

/// Asks for the token of the configuration, as `Authorization: Bearer TOKEN`. Without one that is worth the name, nobody
/// is admitted.
fn admit(headers: &HeaderMap) -> Result<(), Response<String>> {
    let expected = get_environment().into_iter().find_map(|(name, value)| (name == "FACADE_TOKEN").then_some(value));
    // A secret that was made from a file ends in a line break.
    let expected = expected.as_deref().unwrap_or_default().trim().as_bytes();
    if expected.len() < LEAST_TOKEN_BYTES {
        let message = format!("FACADE_TOKEN is missing, or has fewer than {LEAST_TOKEN_BYTES} characters");
        return Err(problem(StatusCode::INTERNAL_SERVER_ERROR, &message));
    }
    let given = headers.get("authorization").and_then(|header| header.as_bytes().split_at_checked("Bearer ".len()));
    match given {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(token.ct_eq(expected)) => Ok(()),
        _ => Err(with(problem(StatusCode::UNAUTHORIZED, "the token is missing or wrong"), "www-authenticate", "Bearer")),
    }
}

async fn route(request: Request<Body>) -> Response<String> {
    let (parts, body) = request.into_parts();
    let path: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
    match (&parts.method, path.as_slice()) {
        (&Method::GET, ["modules"]) => outcome(list_modules().map(|modules| json(StatusCode::OK, &modules))),
        (&Method::POST, ["modules", id]) => match text(body).await {
            Ok(input) => outcome(run_module(id, &input).map(|result| response(StatusCode::OK, result))),
            Err(refusal) => refusal,
        },
        (&Method::GET, ["modules", id, "options", field]) => {
            let search = search(parts.uri.query().unwrap_or_default());
            let request = OptionsRequest { module_id: (*id).to_owned(), field: (*field).to_owned(), search };
            outcome(list_options(&request).map(|choices| json(StatusCode::OK, &choices)))
        }
        (_, ["modules"] | ["modules", _, "options", _]) => not_with_this_method("GET"),
        (_, ["modules", _]) => not_with_this_method("POST"),
        _ => problem(StatusCode::NOT_FOUND, "there is /modules, /modules/{id} and /modules/{id}/options/{field}"),
    }
}

fn search(query: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find_map(|(name, value)| (name == "search").then(|| value.into_owned()))
}

/// The body, whose length is known beforehand or not.
async fn text(body: Body) -> Result<String, Response<String>> {
    let too_large = || problem(StatusCode::PAYLOAD_TOO_LARGE, &format!("at most {MOST_BODY_BYTES} bytes are taken"));
    if body.content_length().is_some_and(|length| length > MOST_BODY_BYTES as u64) {
        return Err(too_large());
    }
    let bytes = match Limited::new(body.into_boxed_body(), MOST_BODY_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
        Err(_) => return Err(problem(StatusCode::BAD_REQUEST, "the body did not arrive")),
    };
    String::from_utf8(bytes.into()).map_err(|_| problem(StatusCode::BAD_REQUEST, "the body is not UTF-8"))
}

/// What the connector answered, in its words.
fn outcome(result: Result<Response<String>, Error>) -> Response<String> {
    let error = match result {
        Ok(response) => return response,
        Err(error) => error,
    };
    let answer = json(status(&error), &error);
    match error {
        // In whole seconds, so that nobody comes too early.
        Error::Transient(failure) => match failure.retry_after_ms {
            Some(ms) => with(answer, "retry-after", &ms.div_ceil(1000).to_string()),
            None => answer,
        },
        Error::Permanent(_) | Error::ExecutionFailed => answer,
    }
}

/// 429 and 503 invite to repeat the request, so they are for errors after which that is safe, and for no others.
fn status(error: &Error) -> StatusCode {
    match error {
        Error::Transient(failure) if failure.code == FailureCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Error::Transient(_) => StatusCode::SERVICE_UNAVAILABLE,
        Error::Permanent(failure) => match failure.code {
            FailureCode::InvalidInput => StatusCode::BAD_REQUEST,
            FailureCode::NotPermitted | FailureCode::Forbidden => StatusCode::FORBIDDEN,
            FailureCode::NotFound => StatusCode::NOT_FOUND,
            FailureCode::Conflict => StatusCode::CONFLICT,
            FailureCode::Rejected => StatusCode::UNPROCESSABLE_ENTITY,
            // The request, not Memberspot's answer.
            FailureCode::TooLarge if failure.attempts == 0 => StatusCode::PAYLOAD_TOO_LARGE,
            FailureCode::NotConfigured => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_GATEWAY,
        },
        Error::ExecutionFailed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn not_with_this_method(allowed: &'static str) -> Response<String> {
    with(problem(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed} is answered here")), "allow", allowed)
}

/// What this façade itself has to say: it has no `tag`, unlike the errors of the connector.
fn problem(status: StatusCode, message: &str) -> Response<String> {
    response(status, serde_json::json!({ "message": message }).to_string())
}

fn response(status: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn with(mut response: Response<String>, header: &'static str, value: &str) -> Response<String> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(header, value);
    }
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<String> {
    match serde_json::to_string(value) {
        Ok(body) => response(status, body),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the connector's schemas are not JSON"),
    }
}

/// JSON in a text becomes part of the JSON around it, with its fields in the same order.
fn as_it_is<S: Serializer>(json: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::from_str::<&RawValue>(json).map_err(S::Error::custom)?.serialize(serializer)
}
