//! Facts as OpenMetrics text.
use super::facts::Facts;
use super::metric::{Kind, Samples, Unit};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{self, Registry};
use std::fmt;

/// Of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Room for the whole text, so that it grows in one piece.
const TEXT_BYTES: usize = 32 << 10;

/// All metrics. An error is a mistake in the list of metrics, which the tests rule out.
pub fn encode(facts: Facts) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(facts));
    let mut out = String::with_capacity(TEXT_BYTES);
    text::encode(&mut out, &registry)?;
    Ok(out)
}

impl Collector for Facts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in super::all() {
            let unit = match metric.unit {
                Unit::None => None,
                Unit::Seconds => Some((registry::Unit::Seconds, "_seconds")),
                Unit::Bytes => Some((registry::Unit::Bytes, "_bytes")),
            };
            // The encoder appends the unit itself.
            let name = match &unit {
                Some((_, suffix)) => metric.name.strip_suffix(suffix).ok_or(fmt::Error)?,
                None => metric.name,
            };
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Info => MetricType::Info,
                Kind::Histogram => MetricType::Histogram,
            };
            let unit = unit.map(|(unit, _)| unit);
            let encoder = encoder.encode_descriptor(name, metric.help, unit.as_ref(), kind)?;
            (metric.read)(
                self,
                &mut Samples { encoder, kind: metric.kind, label: metric.label, and: metric.and },
            )?;
        }
        Ok(())
    }
}
