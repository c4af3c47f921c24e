//! Collected metrics as requests, none larger than endpoints take. Knows no metric by name.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use prost::Message as _;

use super::settings::Histograms;

/// An encoded request, and how many points it holds.
pub(super) type Piece = (Vec<u8>, usize);

/// Requests of at most `most` bytes of metrics each. A metric is not torn: one that is larger goes
/// alone.
pub(super) fn of(collected: &ResourceMetrics, histograms: Histograms, most: usize) -> Vec<Piece> {
    let mut whole = ExportMetricsServiceRequest::from(collected);
    let scopes = whole.resource_metrics.iter_mut().flat_map(|it| &mut it.scope_metrics);
    let metrics: Vec<Metric> = scopes.flat_map(|it| std::mem::take(&mut it.metrics)).collect();
    let mut pieces = Vec::new();
    let (mut piece, mut size) = (Vec::new(), 0);
    for metric in metrics.into_iter().filter_map(|it| histograms.take(it)) {
        let more = metric.encoded_len();
        if size + more > most && !piece.is_empty() {
            pieces.push(request(&mut whole, std::mem::take(&mut piece)));
            size = 0;
        }
        size += more;
        piece.push(metric);
    }
    pieces.push(request(&mut whole, piece));
    pieces
}

/// All our metrics are of one scope.
fn request(whole: &mut ExportMetricsServiceRequest, metrics: Vec<Metric>) -> Piece {
    let points = metrics.iter().map(points).sum();
    let mut scopes = whole.resource_metrics.iter_mut().flat_map(|it| &mut it.scope_metrics);
    scopes.next().into_iter().for_each(|scope| scope.metrics.clone_from(&metrics));
    (whole.encode_to_vec(), points)
}

fn points(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(it)) => it.data_points.len(),
        Some(Data::Sum(it)) => it.data_points.len(),
        Some(Data::Histogram(it)) => it.data_points.len(),
        Some(Data::ExponentialHistogram(it)) => it.data_points.len(),
        Some(Data::Summary(it)) => it.data_points.len(),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::metrics::Metrics;
    use super::super::{literals, outcome, whole};
    use super::*;

    /// Metrics by name with their points, of all pieces.
    fn metrics(pieces: &[Piece]) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for (body, _) in pieces {
            let request = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
            let [resource] = &request.resource_metrics[..] else { panic!("one resource") };
            assert_eq!(resource.resource.as_ref().unwrap().attributes.len(), 1);
            assert_eq!(resource.scope_metrics[0].scope.as_ref().unwrap().name, "clearspan");
            for metric in &resource.scope_metrics[0].metrics {
                assert!(all.insert(metric.name.clone(), points(metric)).is_none());
            }
        }
        all
    }

    #[test]
    fn what_is_too_large_for_one_request_is_several() {
        let settings = whole::settings(vec![]);
        let own = Metrics::new(&settings, whole::sources(), vec![], None, vec![]);
        let mut recorder = own.recorder();
        literals::all().iter().for_each(|it| recorder.record(it, &outcome::of(it)));
        let collected = own.collect();
        let one = of(&collected, Histograms::Explicit, usize::MAX);
        let [(body, points)] = &one[..] else { panic!("one piece") };
        let all = metrics(&one);
        assert_eq!(*points, all.values().sum::<usize>());
        let pieces = of(&collected, Histograms::Explicit, body.len() / 4);
        assert!((4..all.len()).contains(&pieces.len()), "{}", pieces.len());
        assert_eq!(metrics(&pieces), all);
        assert_eq!(pieces.iter().map(|(_, points)| points).sum::<usize>(), *points);
        assert_eq!(of(&collected, Histograms::Explicit, 0).len(), all.len(), "each alone");
    }
}
