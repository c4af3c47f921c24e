//! What both sides of a WebSocket agreed on, as the upstream's `Sec-WebSocket-Extensions` says it
//! (RFC 6455 9.1, RFC 7692 7.1). Knows no frame.

/// How the messages of one direction are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Each message continues the stream of the one before it.
    pub keeps: bool,
}

/// What was agreed on. The size of a window does not matter: the largest reads them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extensions {
    /// Messages are as they stand.
    Plain,
    /// permessage-deflate, as each side may use it.
    Deflate {
        /// Messages of the client.
        client: Compression,
        /// Messages of the upstream.
        server: Compression,
    },
    /// Something that nobody here knows: messages may be anything.
    Unknown,
}

impl Extensions {
    /// Of the header's values, joined with commas.
    pub fn of(header: &str) -> Self {
        let mut agreed = Self::Plain;
        for extension in header.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let mut words = extension.split(';').map(|word| word.trim().to_ascii_lowercase());
            let is_deflate = words.next().as_deref() == Some("permessage-deflate");
            if !is_deflate || agreed != Self::Plain {
                return Self::Unknown;
            }
            let (mut client, mut server) =
                (Compression { keeps: true }, Compression { keeps: true });
            for word in words {
                client.keeps &= word != "client_no_context_takeover";
                server.keeps &= word != "server_no_context_takeover";
            }
            agreed = Self::Deflate { client, server };
        }
        agreed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_agreed_on_is_read() {
        let deflate = |client, server| Extensions::Deflate {
            client: Compression { keeps: client },
            server: Compression { keeps: server },
        };
        for (header, expected) in [
            ("", Extensions::Plain),
            (" , ", Extensions::Plain),
            ("permessage-deflate", deflate(true, true)),
            ("Permessage-Deflate; server_max_window_bits=\"10\"", deflate(true, true)),
            ("permessage-deflate;client_no_context_takeover", deflate(false, true)),
            (
                "permessage-deflate; server_no_context_takeover ; client_no_context_takeover",
                deflate(false, false),
            ),
            ("x-webkit-deflate-frame", Extensions::Unknown),
            ("permessage-deflate, novelty", Extensions::Unknown),
            ("permessage-deflate, permessage-deflate", Extensions::Unknown),
        ] {
            assert_eq!(Extensions::of(header), expected, "{header}");
        }
    }
}
