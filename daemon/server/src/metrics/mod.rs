//! Metrics and health over HTTP, for Prometheus and load balancers.
//!
//! `list*.rs` name every metric and how it is read from [`Facts`], which are gathered anew for each answer;
//! `encode.rs` makes OpenMetrics text of them, `health.rs` a verdict, `serve.rs` answers. What is counted is
//! counted where it happens; here nothing is.

mod encode;
pub mod facts;
pub mod health;
mod list;
mod list_service;
mod list_store;
mod metric;
pub mod process;
pub mod serve;
mod table;
#[cfg(test)]
mod tests;

pub use encode::{CONTENT_TYPE, encode};
pub use facts::Facts;
pub use health::Readiness;
pub use metric::{Kind, Metric, Unit};
pub use table::table;

/// Every metric there is, in the order in which they are told.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    list::PROCESS.iter().chain(list_service::SERVICE).chain(list_store::STORE)
}
