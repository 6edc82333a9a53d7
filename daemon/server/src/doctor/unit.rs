//! The unit in force: as `systemd-analyze security` sees it, drop-ins included.
use super::command::output;
use super::finding::{Finding, Notes};
use super::site::Site;
use std::path::Path;

const UNIT: &str = "godwit.service";
/// Exposure in tenths. The package's unit has 11.
const SOFT: u32 = 20;
const OPEN: u32 = 50;

/// What is known of it.
#[derive(Debug, Clone)]
struct Unit {
    /// Exposure in tenths, or why it is not known.
    exposure: Result<u32, String>,
    /// The daemon runs in the unit's control group; nothing while none runs.
    inside: Option<bool>,
}

pub(super) fn check(site: &Site) -> Finding {
    let exposure = match Path::new("/run/systemd/system").exists() {
        true => output("systemd-analyze", &["security", "--no-pager", UNIT]).and_then(|text| exposure(&text)),
        false => Err("systemd does not run here".into()),
    };
    let group = site.of_process("cgroup").and_then(Result::ok);
    judge(&Unit { exposure, inside: group.map(|text| text.contains(UNIT)) })
}

/// The figure in the last line.
fn exposure(text: &str) -> Result<u32, String> {
    let line = text.lines().find(|line| line.contains("Overall exposure level"));
    let words = line.and_then(|line| line.split_once(": ")).map_or("", |(_, words)| words);
    let figure = words.split_whitespace().find_map(|word| {
        let (whole, tenth) = word.split_once('.')?;
        Some(whole.parse::<u32>().ok()? * 10 + tenth.parse::<u32>().ok()?)
    });
    figure.ok_or_else(|| format!("systemd-analyze knows no {UNIT}"))
}

fn judge(facts: &Unit) -> Finding {
    let mut notes = Notes::default();
    let mut good = String::new();
    match &facts.exposure {
        Ok(tenths) => {
            let text = format!("exposure {}.{} of 10", tenths / 10, tenths % 10);
            let remedy =
                format!("systemctl cat {UNIT} shows the drop-ins; systemd-analyze security {UNIT} each line");
            match *tenths {
                OPEN.. => notes.red("open", text.clone(), remedy),
                SOFT.. => notes.yellow("soft", text.clone(), remedy),
                _ => {}
            }
            good = text;
        }
        Err(why) => notes.unseen(why.clone(), "where systemd runs, install the package's unit"),
    }
    if facts.exposure.is_ok() && facts.inside == Some(false) {
        notes.yellow(
            "outside",
            "the daemon was not started by the unit",
            "stop it, then: systemctl start godwit",
        );
    }
    notes.finish(good)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_unit_that_was_opened_is_red() {
        let judge = |exposure, inside| judge(&Unit { exposure, inside });
        assert_eq!(judge(Ok(11), Some(true)).level, Level::Green);
        assert_eq!(judge(Ok(30), Some(true)).level, Level::Yellow);
        assert_eq!(judge(Ok(92), None).level, Level::Red);
        assert_eq!(judge(Ok(11), Some(false)).causes, ["outside"]);
        assert_eq!(judge(Err("systemd does not run here".into()), Some(false)).causes, ["unseen"]);
    }

    #[test]
    fn the_figure_is_read() {
        let text = "  NAME\n\n→ Overall exposure level for godwit.service: 1.1 OK 🙂\n";
        assert_eq!(exposure(text), Ok(11));
        assert!(exposure("nothing").is_err());
    }
}
