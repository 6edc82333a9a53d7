//! What a metric is: its name as Prometheus has it, what it means, and how it is read.
use super::facts::Facts;
use godwit_store::Histogram;
use prometheus_client::encoding::{
    CounterValueEncoder, EncodeCounterValue, EncodeGaugeValue, GaugeValueEncoder, MetricEncoder, NoLabelSet,
};
use std::fmt;

/// Kinds of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its samples end in `_total`.
    Counter,
    /// Comes and goes.
    Gauge,
    /// Facts in a label; its sample ends in `_info` and is 1.
    Info,
    /// Values in buckets, their sum and their number.
    Histogram,
}

/// Units, which end the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of what the name says.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name, unit included, without `_total` and `_info`.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Unit.
    pub unit: Unit,
    /// The label that tells its samples apart, if there are several; its values are few and known.
    pub label: Option<&'static str>,
    /// A second one.
    pub and: Option<&'static str>,
    /// One sentence.
    pub help: &'static str,
    /// Gives its samples.
    pub(super) read: Read,
}

pub(super) type Read = fn(&Facts, &mut Samples<'_>) -> fmt::Result;

pub(super) const fn counter(name: &'static str, help: &'static str, read: Read) -> Metric {
    Metric { name, kind: Kind::Counter, unit: Unit::None, label: None, and: None, help, read }
}

pub(super) const fn gauge(name: &'static str, help: &'static str, read: Read) -> Metric {
    Metric { kind: Kind::Gauge, ..counter(name, help, read) }
}

pub(super) const fn info(name: &'static str, help: &'static str, read: Read) -> Metric {
    Metric { kind: Kind::Info, ..counter(name, help, read) }
}

pub(super) const fn histogram(name: &'static str, help: &'static str, read: Read) -> Metric {
    Metric { kind: Kind::Histogram, ..counter(name, help, read) }
}

impl Metric {
    pub(super) const fn seconds(self) -> Metric {
        Metric { unit: Unit::Seconds, ..self }
    }

    pub(super) const fn bytes(self) -> Metric {
        Metric { unit: Unit::Bytes, ..self }
    }

    pub(super) const fn by(self, label: &'static str) -> Metric {
        Metric { label: Some(label), ..self }
    }

    pub(super) const fn and(self, label: &'static str) -> Metric {
        Metric { and: Some(label), ..self }
    }

    /// As it is in queries: with `_total` if it is a counter, with `_info` if it is one.
    pub fn full_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Info => format!("{}_info", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }
}

/// A sample's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(n: u64) -> Number {
        Number::Whole(n)
    }
}
impl From<bool> for Number {
    fn from(yes: bool) -> Number {
        Number::Whole(u64::from(yes))
    }
}
impl From<f64> for Number {
    fn from(n: f64) -> Number {
        Number::Real(n)
    }
}
impl EncodeCounterValue for Number {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> fmt::Result {
        match self {
            Number::Whole(n) => EncodeCounterValue::encode(n, encoder),
            Number::Real(n) => EncodeCounterValue::encode(n, encoder),
        }
    }
}
impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Number::Whole(n) => EncodeGaugeValue::encode(n, encoder),
            Number::Real(n) => EncodeGaugeValue::encode(n, encoder),
        }
    }
}

/// Takes a metric's samples.
pub(super) struct Samples<'e> {
    pub(super) encoder: MetricEncoder<'e>,
    pub(super) kind: Kind,
    pub(super) label: Option<&'static str>,
    pub(super) and: Option<&'static str>,
}

impl Samples<'_> {
    /// The only sample.
    pub(super) fn one(&mut self, value: impl Into<Number>) -> fmt::Result {
        put(&mut self.encoder, self.kind, value.into())
    }

    /// A sample for each value of the metric's label.
    pub(super) fn each<N: Into<Number>, V: AsRef<str>>(
        &mut self,
        samples: impl IntoIterator<Item = (V, N)>,
    ) -> fmt::Result {
        let label = self.label.ok_or(fmt::Error)?;
        for (value, number) in samples {
            let labels = [(label, value.as_ref())];
            if self.kind == Kind::Info {
                self.encoder.encode_info(&labels)?;
                continue;
            }
            put(&mut self.encoder.encode_family(&labels)?, self.kind, number.into())?;
        }
        Ok(())
    }

    /// A sample for each pair of values of the metric's two labels.
    pub(super) fn pairs(
        &mut self,
        samples: impl IntoIterator<Item = (&'static str, &'static str, u64)>,
    ) -> fmt::Result {
        let (Some(first), Some(second)) = (self.label, self.and) else { return Err(fmt::Error) };
        for (one, two, number) in samples {
            let labels = [(first, one), (second, two)];
            put(&mut self.encoder.encode_family(&labels)?, self.kind, number.into())?;
        }
        Ok(())
    }

    /// A histogram whose values are `per` to the metric's unit.
    pub(super) fn buckets<const N: usize>(&mut self, histogram: &Histogram<N>, per: f64) -> fmt::Result {
        let bounds = histogram.bounds.iter().map(|bound| *bound as f64 / per);
        let mut buckets: Vec<(f64, u64)> = bounds.zip(histogram.counts).collect();
        buckets.push((f64::INFINITY, histogram.above));
        let sum = histogram.sum as f64 / per;
        self.encoder.encode_histogram::<NoLabelSet>(sum, histogram.count(), &buckets, None)
    }
}

fn put(encoder: &mut MetricEncoder<'_>, kind: Kind, value: Number) -> fmt::Result {
    match kind {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        Kind::Gauge => encoder.encode_gauge(&value),
        // Histograms come whole, facts have no value.
        Kind::Histogram | Kind::Info => Err(fmt::Error),
    }
}
