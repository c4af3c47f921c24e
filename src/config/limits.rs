//! `[limits]`: every bound, its default, and which stage is told of it. Knows no stage's use of it.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::quantity::{Seconds, Size, SizeOrNone};
use crate::forward::settings as forward;
use crate::observe;
use crate::report::settings as report;
use crate::tape::Settings as TapeSettings;

/// `[limits]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "each stage documents its own; proxy.toml documents them all")]
pub struct Limits {
    pub max_exchanges: NonZeroUsize,
    pub max_connections: NonZeroUsize,
    pub connect_seconds: Seconds,
    pub client_idle_seconds: Seconds,
    pub header_seconds: Seconds,
    pub handshake_seconds: Seconds,
    pub client_stall_seconds: Seconds,
    pub upstream_idle_seconds: Seconds,
    pub upstream_idle_connections: usize,
    pub upstream_keepalive_seconds: Seconds,
    pub upstream_silence_seconds: Seconds,
    pub ask_body_bytes: Size,
    pub ask_wait_seconds: Seconds,
    pub ask_memory: Size,
    pub ask_event_bytes: Size,
    pub ask_pause_seconds: Seconds,
    pub tunnel_idle_seconds: Seconds,
    pub http2_client_streams: NonZeroUsize,
    pub http2_upstream_streams: NonZeroUsize,
    pub http2_stream_window: Size,
    pub http2_repeat: Size,
    pub http2_head: Size,
    pub http2_ping_seconds: Seconds,
    pub drain_seconds: Seconds,
    pub tape_memory: Size,
    pub tape_exchange: Size,
    /// 0: one for every four cores.
    pub workers: u8,
    pub event_bytes: Size,
    pub decoded_bytes: Size,
    pub decoded_ratio: NonZeroUsize,
    pub estimate_bytes: SizeOrNone,
    pub stall_seconds: Seconds,
    pub export_queue: Size,
    pub label_values: NonZeroUsize,
    pub series: NonZeroUsize,
    pub histogram_series: NonZeroUsize,
    pub flush_seconds: Seconds,
}

impl Default for Limits {
    fn default() -> Self {
        let forward = forward::Limits::default();
        let observe = observe::Settings::default();
        let report = report::Limits::default();
        let at_least_one = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        let size = |bytes: usize| Size(bytes as u64);
        Self {
            max_exchanges: at_least_one(forward.exchanges),
            max_connections: at_least_one(forward.connections),
            connect_seconds: Seconds(forward.connect),
            client_idle_seconds: Seconds(forward.client_idle),
            header_seconds: Seconds(forward.header),
            handshake_seconds: Seconds(forward.handshake),
            client_stall_seconds: Seconds(forward.client_stall),
            upstream_idle_seconds: Seconds(forward.upstream_idle),
            upstream_idle_connections: forward.upstream_idle_connections,
            upstream_keepalive_seconds: Seconds(forward.upstream_keepalive),
            upstream_silence_seconds: Seconds(forward.upstream_silence),
            ask_body_bytes: size(forward.ask_body),
            ask_wait_seconds: Seconds(forward.ask_wait),
            ask_memory: size(forward.ask_memory),
            ask_event_bytes: size(forward.ask_event),
            ask_pause_seconds: Seconds(forward.ask_pause),
            tunnel_idle_seconds: Seconds(forward.tunnel_idle),
            http2_client_streams: at_least_one(forward.client_streams),
            http2_upstream_streams: at_least_one(forward.upstream_streams),
            http2_stream_window: size(forward.stream_window),
            http2_repeat: size(forward.http2_repeat),
            http2_head: size(forward.http2_head),
            http2_ping_seconds: Seconds(forward.ping),
            drain_seconds: Seconds(forward.drain),
            tape_memory: Size(256 << 20),
            tape_exchange: Size(16 << 20),
            workers: 0,
            event_bytes: size(observe.event_bytes),
            decoded_bytes: size(observe.decoded_bytes),
            decoded_ratio: at_least_one(observe.decoded_ratio),
            estimate_bytes: SizeOrNone(observe.estimate_bytes as u64),
            stall_seconds: Seconds(observe.stall),
            export_queue: size(report.queue),
            label_values: at_least_one(report.label_values),
            series: at_least_one(report.series),
            histogram_series: at_least_one(report.histogram_series),
            flush_seconds: Seconds(report.flush),
        }
    }
}

/// Hand-overs that may wait for one worker: no key, since `tape_memory` bounds what they hold.
const HANDOVERS: usize = 16_384;

impl Limits {
    /// What `forward` is told.
    pub(super) fn forward(&self) -> forward::Limits {
        forward::Limits {
            exchanges: self.max_exchanges.get(),
            connections: self.max_connections.get(),
            connect: self.connect_seconds.0,
            client_idle: self.client_idle_seconds.0,
            header: self.header_seconds.0,
            handshake: self.handshake_seconds.0,
            client_stall: self.client_stall_seconds.0,
            upstream_idle: self.upstream_idle_seconds.0,
            upstream_idle_connections: self.upstream_idle_connections,
            upstream_keepalive: self.upstream_keepalive_seconds.0,
            upstream_silence: self.upstream_silence_seconds.0,
            ask_body: self.ask_body_bytes.bytes(),
            ask_wait: self.ask_wait_seconds.0,
            ask_memory: self.ask_memory.bytes(),
            ask_event: self.ask_event_bytes.bytes(),
            ask_pause: self.ask_pause_seconds.0,
            tunnel_idle: self.tunnel_idle_seconds.0,
            client_streams: self.http2_client_streams.get(),
            upstream_streams: self.http2_upstream_streams.get(),
            stream_window: self.http2_stream_window.bytes(),
            http2_repeat: self.http2_repeat.bytes(),
            http2_head: self.http2_head.bytes(),
            ping: self.http2_ping_seconds.0,
            drain: self.drain_seconds.0,
        }
    }

    /// What `tape` is told on a machine with so many cores.
    pub(super) fn tape(&self, cores: usize) -> TapeSettings {
        let workers = if self.workers == 0 { cores / 4 } else { usize::from(self.workers) };
        TapeSettings {
            memory: self.tape_memory.bytes(),
            exchange: self.tape_exchange.0,
            workers: workers.max(1),
            queue: HANDOVERS,
        }
    }

    /// What `observe` is told of limits.
    pub(super) fn observe(&self) -> observe::Settings {
        observe::Settings {
            event_bytes: self.event_bytes.bytes(),
            decoded_bytes: self.decoded_bytes.bytes(),
            decoded_ratio: self.decoded_ratio.get(),
            estimate_bytes: Size(self.estimate_bytes.0).bytes(),
            stall: self.stall_seconds.0,
            ..observe::Settings::default()
        }
    }

    /// What `report` is told; its intervals come from `OTEL_*`.
    pub(super) fn report(&self) -> report::Limits {
        report::Limits {
            queue: self.export_queue.bytes(),
            label_values: self.label_values.get(),
            series: self.series.get(),
            histogram_series: self.histogram_series.get(),
            flush: self.flush_seconds.0,
            ..report::Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_told_to_its_stage_unchanged() {
        let limits = Limits::default();
        let told = format!("{:?}", limits.forward());
        assert_eq!(told, format!("{:?}", forward::Limits::default()));
        assert_eq!(
            format!("{:?}", limits.observe()),
            format!("{:?}", observe::Settings::default())
        );
        let told = format!("{:?}", limits.report());
        assert_eq!(told, format!("{:?}", report::Limits::default()));
    }

    #[test]
    fn one_worker_for_every_four_cores_but_at_least_one() {
        let limits = Limits::default();
        let workers = |cores| limits.tape(cores).workers;
        assert_eq!([1, 4, 7, 8, 64].map(workers), [1, 1, 1, 2, 16]);
        assert_eq!(Limits { workers: 3, ..limits.clone() }.tape(64).workers, 3);
    }

    #[test]
    fn the_tape_keeps_what_it_is_told() {
        let tape = Limits::default().tape(1);
        assert_eq!((tape.memory, tape.exchange), (256 << 20, 16 << 20));
        assert!(tape.queue > 0);
    }
}
