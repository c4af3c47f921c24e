//! What can go wrong between a request and its answer, and whose fault it is.

use std::io;

use http::StatusCode;

use crate::egress::NoTunnel;
use crate::tape::Cause;

/// Why there is no answer of the upstream's to pass on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No upstream was addressed.
    #[error("no upstream is addressed by this path")]
    NoRoute,
    /// The client asked for a tunnel (`CONNECT`).
    #[error("this proxy opens no tunnels")]
    Tunnel,
    /// All exchanges that we allow are taken.
    #[error("too many exchanges at once")]
    Busy,
    /// The upstream's address is our own.
    #[error("the upstream is this proxy itself")]
    Loop,
    /// The upstream's name has no address.
    #[error("the upstream's name cannot be resolved")]
    Unresolved,
    /// Nothing listens at the upstream's address.
    #[error("the upstream refuses connections")]
    ConnectionRefused,
    /// No connection for another reason.
    #[error("the upstream cannot be reached ({0})")]
    Connect(io::ErrorKind),
    /// TLS failed.
    #[error("no TLS with the upstream ({0})")]
    Tls(#[source] io::Error),
    /// The egress proxy cannot be reached, for the reason of this name.
    #[error("the egress proxy before the upstream cannot be reached ({0})")]
    ProxyUnreachable(&'static str),
    /// The egress proxy wants credentials, or others.
    #[error("the egress proxy before the upstream wants other credentials (407)")]
    ProxyAuthentication,
    /// The egress proxy does not let us through, as it says here.
    #[error("the egress proxy does not lead to the upstream ({0})")]
    ProxyRefused(String),
    /// The egress proxy broke off, or does not speak HTTP.
    #[error("the egress proxy before the upstream broke off or does not speak HTTP")]
    ProxyBroken,
    /// It was to speak HTTP/2 over TLS, and does not.
    #[error("the upstream does not speak HTTP/2, which `http = \"2\"` asks for")]
    NoHttp2,
    /// No connection within our limit.
    #[error("the upstream did not accept a connection in time")]
    ConnectTimeout,
    /// No answer within our limit.
    #[error("the upstream was silent for too long")]
    Silent,
    /// The client's connection is gone: nobody hears an answer.
    #[error("the client is gone")]
    ClientGone,
    /// The client owes more of its request's body than our limit allows.
    #[error("the client was silent for too long")]
    ClientStalled,
    /// The request's body is not in the framing that it claims.
    #[error("the request's body is malformed")]
    BadRequest,
    /// The upstream switched to a protocol that the client did not wish for.
    #[error("the upstream switched protocols unasked")]
    Unasked,
    /// The connection broke before the answer's head was complete.
    #[error("the upstream's connection broke before its answer ({0})")]
    Upstream(#[source] hyper::Error),
}

impl From<NoTunnel> for Error {
    fn from(why: NoTunnel) -> Self {
        match why {
            NoTunnel::Authentication => Self::ProxyAuthentication,
            NoTunnel::Refused(said) => Self::ProxyRefused(said),
            NoTunnel::Broken => Self::ProxyBroken,
            NoTunnel::Unnamed => Self::Unresolved,
        }
    }
}

impl Error {
    /// The same, said of the egress proxy instead of the upstream.
    pub(super) fn of_proxy(self) -> Self {
        match self {
            Self::Busy | Self::Loop | Self::ConnectTimeout => self,
            _ => Self::ProxyUnreachable(self.reason()),
        }
    }

    /// The status of our own answer.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Tunnel => StatusCode::NOT_IMPLEMENTED,
            Self::ClientGone | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::ClientStalled => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::ConnectTimeout | Self::Silent => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// The reason in `clearspan-error`, in the answer's body and in `error.type`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::Tunnel => "no_tunnels",
            Self::Busy => "busy",
            Self::Loop => "loop",
            Self::Unresolved => "name_not_resolved",
            Self::ConnectionRefused => "connection_refused",
            Self::Connect(_) => "connect_failed",
            Self::Tls(_) => "tls_failed",
            Self::ProxyUnreachable(_) => "proxy_unreachable",
            Self::ProxyAuthentication => "proxy_authentication",
            Self::ProxyRefused(_) => "proxy_refused",
            Self::ProxyBroken => "proxy_broken",
            Self::NoHttp2 => "no_http2",
            Self::ConnectTimeout => "connect_timeout",
            Self::Silent => "upstream_silent",
            Self::ClientGone => "client_canceled",
            Self::ClientStalled => "client_timeout",
            Self::BadRequest => "bad_request",
            Self::Unasked => "bad_response",
            Self::Upstream(error) if error.is_parse() => "bad_response",
            Self::Upstream(_) => "connection_broken",
        }
    }

    /// How the tape tells it.
    pub(super) fn cause(&self) -> Cause {
        let reason = self.reason();
        match self {
            Self::ClientGone => Cause::ClientGone,
            Self::ClientStalled => Cause::ClientStalled,
            Self::NoRoute | Self::Tunnel | Self::Busy | Self::Loop | Self::BadRequest => {
                Cause::Refused(reason)
            }
            Self::ConnectTimeout | Self::Silent => Cause::UpstreamTimeout(reason),
            // The request's body broke, which comes from the client.
            Self::Upstream(error) if error.is_user() => Cause::ClientGone,
            _ => Cause::UpstreamReset(reason),
        }
    }
}
