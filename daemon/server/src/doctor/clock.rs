//! The clock: whether somebody keeps it, how far it is off, and whether it went back.
use super::command::output;
use super::finding::{Finding, Level, Notes};
use super::site::Site;
use godwit_edge::sys::{KernelClock, kernel_clock};

/// Off by so much, in seconds.
const OFF: f64 = 0.1;
const FAR_OFF: f64 = 1.0;
/// A newest message that lies so far ahead was stored by a clock that went back since.
const BACK_MS: u64 = 60_000;

/// What is known of it.
#[derive(Debug, Clone)]
struct Clock {
    kernel: Result<KernelClock, String>,
    /// chrony's estimate in seconds; an error says why there is none.
    offset: Result<f64, String>,
    now_ms: u64,
    /// The store's newest message.
    newest_ms: Option<u64>,
}

pub(super) fn check(site: &Site) -> Finding {
    judge(&Clock {
        kernel: kernel_clock().map_err(|error| format!("the kernel does not say: {error}")),
        offset: output("chronyc", &["-c", "tracking"]).and_then(|text| offset(&text)),
        now_ms: site.now_ms,
        newest_ms: site.health().map(|health| health.newest_ms),
    })
}

/// The fifth of chrony's values is how far the system's time is off.
fn offset(csv: &str) -> Result<f64, String> {
    let value = csv.trim().split(',').nth(4).and_then(|text| text.parse::<f64>().ok());
    value.ok_or_else(|| "chronyc does not say".into())
}

fn judge(facts: &Clock) -> Finding {
    let mut notes = Notes::default();
    let keep = "systemctl enable --now chrony (or systemd-timesyncd)";
    match &facts.kernel {
        Ok(clock) if !clock.synchronised => notes.yellow("unsynchronised", "nobody keeps it", keep),
        Ok(_) => {}
        Err(why) => notes.unseen(why.clone(), "run it outside of a container"),
    }
    if let Ok(off) = facts.offset {
        let text = format!("{:.3} s off by chrony's estimate", off.abs());
        if off.abs() >= OFF {
            let level = if off.abs() >= FAR_OFF { Level::Red } else { Level::Yellow };
            notes.graded(level, "off", text, "chronyc makestep; chronyc sources -v says whom it follows");
        }
    }
    if let Some(newest) = facts.newest_ms.filter(|newest| *newest > facts.now_ms + BACK_MS) {
        let ahead = (newest - facts.now_ms) / 1_000;
        let text = format!("{ahead} s behind the newest message: it went back, or was wrong before");
        notes.red("back", text, "set the clock right; new messages keep the order all the same");
    }
    let bound = facts.kernel.as_ref().map(|clock| clock.error_us / 1_000).unwrap_or(0);
    let by = match &facts.offset {
        Ok(off) => format!("{:.3} ms off by chrony's estimate", off * 1_000.0),
        Err(why) => format!("the offset is not known: {why}"),
    };
    notes.finish(format!("synchronised, {bound} ms off at most by the kernel's count; {by}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Clock {
        Clock {
            kernel: Ok(KernelClock { synchronised: true, error_us: 2_000 }),
            offset: Err("chronyc is not installed".into()),
            now_ms: 1_000_000,
            newest_ms: Some(999_000),
        }
    }

    #[test]
    fn a_clock_that_is_off_or_went_back_is_red() {
        assert_eq!(judge(&facts()).level, Level::Green);
        let free = Clock { kernel: Ok(KernelClock { synchronised: false, error_us: 0 }), ..facts() };
        assert_eq!(judge(&free).level, Level::Yellow);
        let mute = Clock { kernel: Err("EPERM".into()), ..facts() };
        assert_eq!(judge(&mute).causes, ["unseen"]);
        for (off, level) in [(0.01, Level::Green), (-0.2, Level::Yellow), (1.5, Level::Red)] {
            assert_eq!(judge(&Clock { offset: Ok(off), ..facts() }).level, level, "{off}");
        }
        assert_eq!(judge(&Clock { newest_ms: Some(1_100_000), ..facts() }).causes, ["back"]);
    }

    #[test]
    fn chronys_estimate_is_read() {
        let csv = "A9FEA97B,169.254.169.123,4,1700000000.1,-0.000012,0.000001,0.00002,1.2,0.0,0.1,Normal\n";
        assert_eq!(offset(csv), Ok(-0.000_012));
        assert!(offset("506 Cannot talk to daemon").is_err());
    }
}
