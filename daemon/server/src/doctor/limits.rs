//! Limits in force against the derived ones (`limits::verify`): those of unit and daemon, and the kernel's.
use super::daemon::AS_ROOT;
use super::finding::{Finding, Notes};
use super::site::Site;
use crate::limits::{Ceiling, Found, Need, Place, Sources, State, Value, Verdict, verify};

/// A number below this part of the derived one is red.
const FAR: u64 = 8;
/// Limits named; the others are counted.
const SHOWN_MAX: usize = 4;
const REMEDY: &str = "godwitctl limits --verify shows all; write what godwitctl limits --format sysctl, \
                      systemd and tmpfiles print to the files named there";

fn verdicts(site: &Site) -> &[Verdict] {
    site.limits.get_or_init(|| {
        let sources = site.status().map_or_else(Sources::here, Sources::of_daemon);
        verify(site.derived.rows(), &sources)
    })
}

pub(super) fn own(site: &Site) -> Finding {
    let configured = site.config.as_ref().map_or(0, |config| config.raw.limits.connections_max);
    judge_own(verdicts(site), site.status().map(|status| &status.ceiling), configured)
}

fn judge_own(verdicts: &[Verdict], ceiling: Option<&Ceiling>, configured: u64) -> Finding {
    let of_kernel = |one: &&Verdict| matches!(one.row.place, Place::Sysctl | Place::OptionalSysctl);
    let own: Vec<&Verdict> = verdicts.iter().filter(|one| !of_kernel(one)).collect();
    let mut notes = Notes::default();
    if let Some(ceiling) = ceiling.filter(|ceiling| ceiling.connections_max < configured) {
        let text = format!("limits.connections_max is {configured}, and there is {}", ceiling.line());
        notes.red("promise", text, ceiling.remedy.clone());
    }
    if let Some(text) = differing(&own) {
        notes.yellow("differs", text, REMEDY);
    }
    if ceiling.is_none() {
        notes.unseen("those of the unit and the daemon need it running", "see the check daemon");
    }
    notes.finish(ceiling.map_or_else(String::new, Ceiling::line))
}

pub(super) fn sysctls(site: &Site) -> Finding {
    judge_sysctls(verdicts(site))
}

fn judge_sysctls(verdicts: &[Verdict]) -> Finding {
    let all: Vec<&Verdict> = verdicts.iter().filter(|one| one.row.place == Place::Sysctl).collect();
    let (far, rest): (Vec<&Verdict>, _) = all.iter().partition(|one| is_far(one));
    let mut notes = Notes::default();
    if let Some(text) = differing(&far) {
        notes.red("far", format!("less than an eighth of what was derived: {text}"), REMEDY);
    }
    if let Some(text) = differing(&rest) {
        notes.yellow("differs", text, REMEDY);
    }
    let unread: Vec<_> =
        all.iter().filter(|one| one.state == State::Unknown).map(|one| one.row.name).collect();
    if !unread.is_empty() {
        notes.unseen(format!("cannot be read: {}", unread.join(", ")), AS_ROOT);
    }
    notes.finish(format!("all {} as derived, or better", all.len()))
}

/// A number that is far too low.
fn is_far(verdict: &Verdict) -> bool {
    let (Value::Numbers(wanted), Found::InForce(text)) = (&verdict.row.value, &verdict.found) else {
        return false;
    };
    let found = text.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
    verdict.row.need == Need::AtLeast
        && found.zip(wanted).any(|(found, wanted)| found.saturating_mul(FAR) < *wanted)
}

fn differing(verdicts: &[&Verdict]) -> Option<String> {
    let differing: Vec<_> = verdicts.iter().filter(|one| one.state == State::Differs).collect();
    let shown = differing.iter().take(SHOWN_MAX).map(|one| {
        let found = match &one.found {
            Found::InForce(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
            Found::Unlimited | Found::Absent(_) => "?".into(),
        };
        format!("{} is {found}, derived {}", one.row.name, one.row.value)
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if differing.len() > SHOWN_MAX {
        text += &format!(", and {} more", differing.len() - SHOWN_MAX);
    }
    (!differing.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::limits::{Machine, derive};

    /// What is derived, with some values in force instead.
    fn found(other: &[(&str, &str)]) -> Vec<Verdict> {
        let derived = derive(Machine { ram_bytes: 4 << 30, cores: 2 });
        let judge = |row: crate::limits::Row| {
            let other = other.iter().find(|(name, _)| *name == row.name);
            let text = other.map_or_else(|| row.value.to_string(), |(_, text)| (*text).to_owned());
            let state = if other.is_some() { State::Differs } else { State::Good };
            Verdict { row, found: Found::InForce(text), state }
        };
        derived.rows().into_iter().map(judge).collect()
    }

    #[test]
    fn a_sysctl_that_differs_is_yellow_and_one_that_is_far_off_red() {
        assert_eq!(judge_sysctls(&found(&[])).level, Level::Green);
        let off = judge_sysctls(&found(&[("vm.swappiness", "60")]));
        assert!(
            off.level == Level::Yellow && off.found.contains("vm.swappiness is 60, derived 1"),
            "{off:?}"
        );
        let far = judge_sysctls(&found(&[("net.core.somaxconn", "128"), ("vm.swappiness", "60")]));
        assert!(far.level == Level::Red && far.causes == ["differs", "far"], "{far:?}");
        let many: Vec<_> = found(&[]).iter().map(|one| (one.row.name, "3")).collect();
        assert!(judge_sysctls(&found(&many)).found.contains("more"));
    }

    #[test]
    fn a_promise_that_is_not_kept_is_red() {
        let derived = derive(Machine { ram_bytes: 4 << 30, cores: 2 });
        let enough = Ceiling::new(&derived, 500, 20_000);
        assert_eq!(judge_own(&found(&[]), Some(&enough), 500).level, Level::Green);
        let few = Ceiling::new(&derived, 5_000, 1_024);
        let broken = judge_own(&found(&[]), Some(&few), 5_000);
        assert!(broken.level == Level::Red, "{broken:?}");
        assert!(broken.remedy.is_some_and(|remedy| remedy.contains("LimitNOFILE=")));
        let differs = judge_own(&found(&[("LimitNOFILE", "1024")]), Some(&enough), 0);
        assert!(
            differs.level == Level::Yellow && differs.found.contains("LimitNOFILE is 1024"),
            "{differs:?}"
        );
        assert_eq!(judge_own(&found(&[]), None, 0).level, Level::Yellow, "no daemon");
    }
}
