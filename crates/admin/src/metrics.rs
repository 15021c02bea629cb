//! Metrics as Prometheus reads them: families made of a snapshot at each scrape.

mod families;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::snapshot::Snapshot;

/// The text's media type.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label names and values.
type Labels = Vec<(&'static str, String)>;

/// One metric, under `pgweir_`.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    samples: Samples,
}

#[derive(Debug)]
enum Samples {
    /// They go up and down.
    Gauges(Vec<(Labels, f64)>),
    /// They only go up; `_total` is put behind the name.
    Counters(Vec<(Labels, f64)>),
}

#[derive(Debug)]
struct Scrape(Vec<Family>);

/// The text of a scrape.
///
/// # Errors
/// None in practice: the text is written to memory.
pub(crate) fn render(snapshot: &Snapshot) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("pgweir");
    registry.register_collector(Box::new(Scrape(families::all(snapshot))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for Family { name, help, samples } in &self.0 {
            match samples {
                Samples::Gauges(samples) => {
                    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                    for (labels, value) in samples {
                        if labels.is_empty() {
                            metric.encode_gauge(value)?;
                        } else {
                            metric.encode_family(labels)?.encode_gauge(value)?;
                        }
                    }
                }
                Samples::Counters(samples) => {
                    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                    for (labels, value) in samples {
                        metric.encode_family(labels)?.encode_counter::<NoLabelSet, f64, f64>(value, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}
