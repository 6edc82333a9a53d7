//! Logs in and out over and over: what does a login cost the server?

use godwit_testclient::Pool;
use serde_json::json;

use crate::Outcome;
use crate::options::{Common, Login};
use crate::procstat::{Sample, cost};
use crate::ramp::{Then, ramp};
use crate::report::{Report, human_latency, json_latency};

pub(crate) fn run(pool: &mut Pool, common: &Common, options: &Login, report: &mut Report) -> Outcome<()> {
    let before = Sample::of(common.server_pid);
    let ramp = ramp(pool, common, 0..options.logins, false, Then::Leave, |_, _| {})?;
    let after = Sample::of(common.server_pid);
    let cost = cost(before, after, ramp.online as u64, "login");
    let human = format!(
        "{} logins at {:.0}/s, {}; {}; {}",
        ramp.online,
        ramp.per_second(),
        human_latency(&ramp.latency),
        cost.human,
        ramp.trouble()
    );
    let value = json!({
        "logins": ramp.online, "per_second": ramp.per_second(), "latency": json_latency(&ramp.latency),
        "failed": ramp.failed, "retried": ramp.retried, "server": cost.json,
    });
    report.phase("login", &human, value)?;
    if ramp.failed == 0 { Ok(()) } else { Err("not all logins succeeded".into()) }
}
