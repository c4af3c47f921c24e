//! Scenarios, one module each; every one is a promise kept on real sockets. Knows the program from
//! outside only: its binary, its configuration, its bytes.

/// What scenarios are made of.
#[cfg(test)]
mod support;
/// The shape of the source tree.
#[cfg(test)]
mod layout;
/// What is written for people.
#[cfg(test)]
mod documents;
/// Both sides see what the other sent.
#[cfg(test)]
mod transparency;
/// Each chunk when it comes, each ending as it was.
#[cfg(test)]
mod streaming;
/// Usage asked for in the client's stead.
#[cfg(test)]
mod ask;
/// Connections that change their protocol.
#[cfg(test)]
mod upgrade;
/// Every way to an upstream.
#[cfg(test)]
mod upstreams;
/// HTTP/2, on either side and on both.
#[cfg(test)]
mod http2;
/// Its limits, as frames show them.
#[cfg(test)]
mod http2_limits;
/// Answers of our own.
#[cfg(test)]
mod own_answers;
/// Faults of the cold path stay there.
#[cfg(test)]
mod fail_open;
/// A limit on everything.
#[cfg(test)]
mod limits;
/// What each fault is to the client, and what is recorded of it.
#[cfg(test)]
mod faults;
/// Every bound of `[limits]`, just below and just above.
#[cfg(test)]
mod bounds;
/// Shapes on which two parsers may disagree, from either side.
#[cfg(test)]
mod smuggling;
/// Too much of everything, at constant memory.
#[cfg(test)]
mod heavy;
/// Many who hold, within one bound.
#[cfg(test)]
mod memory;
/// Reading metrics beside the traffic.
#[cfg(test)]
mod scrape;
/// Pictures and sound.
#[cfg(test)]
mod media;
/// What comes compressed, or in huge pieces.
#[cfg(test)]
mod encoded;
/// How it ends.
#[cfg(test)]
mod shutdown;
/// Other settings while it runs.
#[cfg(test)]
mod reload;
/// Clients over TLS.
#[cfg(test)]
mod https;
/// Sockets in the file system, IPv6, systemd.
#[cfg(test)]
mod listeners;
/// What is reported, value by value.
#[cfg(test)]
mod telemetry;
/// Answers that are fetched rather than made.
#[cfg(test)]
mod fetched;
/// Where telemetry is sent, and how.
#[cfg(test)]
mod export;
/// Each fixture gives the observation beside it.
#[cfg(test)]
mod golden;
/// Each conversation on a WebSocket gives the calls beside it.
#[cfg(test)]
mod conversations;
/// Calls on a WebSocket, each told.
#[cfg(test)]
mod sessions;
/// Recorded exchanges, read as another reads them.
#[cfg(test)]
mod observed;
/// Recorded exchanges, fact by fact as an independent reader found them.
#[cfg(test)]
mod expected;
/// What real services were recorded to send.
#[cfg(test)]
mod recordings;
/// What calls cost, by the price pages' arithmetic.
#[cfg(test)]
mod costs;
/// Real clients and a real server.
#[cfg(test)]
mod real;
/// What is shipped to run it with.
#[cfg(test)]
mod deploy;
