//! Why a request is not done, in the form that the AWS SDKs read.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::Error;

/// Seconds after which a client that was sent away may come again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A request that is refused: status, type and what to do, for the client.
///
/// The type goes into the header `x-amzn-ErrorType` and the text into `{"Message": …}`, from which the AWS SDKs make
/// their exceptions ([InvokeEndpoint, errors](https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html#API_runtime_InvokeEndpoint_Errors)).
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    error_type: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, error_type: &'static str, message: impl Into<String>) -> Self {
        Self { status, error_type, message: message.into() }
    }

    /// 400: the request is wrong and stays so.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationError", message)
    }

    /// 400: a record is no event.
    pub fn bad_record(index: usize, what: impl std::fmt::Display, mend: &str) -> Self {
        Self::invalid(format!("record {index} (from 0): {what}: {mend}"))
    }

    /// 401: no token, or a wrong one.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "AccessDeniedException",
            "give the header Authorization: Bearer TOKEN",
        )
    }

    /// 404: no such path or model.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", message)
    }

    /// 405: the path is there, the method is not.
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "ValidationError", "this path has other methods: see Allow")
    }

    /// 408: the body did not come in time.
    pub fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "ValidationError", "the body did not come in time")
    }

    /// 409: there already.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "ValidationError", message)
    }

    /// 413: more than this server takes at once.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "ValidationError", message)
    }

    /// 415: a content coding that is not decoded.
    pub fn unknown_content_coding() -> Self {
        let message = "Content-Encoding: send the body with gzip, with zstd, or as it is";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "ValidationError", message)
    }

    /// 422: a model, or a file of access, that is not fit to serve; 507 where there is no room for a model.
    pub fn unfit(error: &Error) -> Self {
        let status = match error {
            Error::Device { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, "ValidationError", explained(error))
    }

    /// 424: the model gave no score.
    pub fn model_error(error: &Error) -> Self {
        Self::new(StatusCode::FAILED_DEPENDENCY, "ModelError", explained(error))
    }

    /// 500: our fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", message)
    }

    /// 501: a transfer coding that is not done.
    pub fn unknown_coding() -> Self {
        let message = "the only transfer coding is chunked: send the body as it is";
        Self::new(StatusCode::NOT_IMPLEMENTED, "ValidationError", message)
    }

    /// 503: too much at once; the same request may do a second later.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }
}

fn explained(error: &Error) -> String {
    error.help().map_or_else(|| error.to_string(), |help| format!("{error}: {help}"))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "Message": self.message }).to_string();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-amzn-errortype", HeaderValue::from_static(self.error_type));
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => drop(headers.insert(header::RETRY_AFTER, RETRY_AFTER)),
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
            }
            // What is left of the body is not worth reading.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
