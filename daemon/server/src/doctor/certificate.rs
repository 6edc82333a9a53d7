//! The certificates on the disk: readable, trusted, for every domain, valid long enough. (Which one is served
//! is the check `ports`.)
use super::finding::{Finding, Level, Notes};
use super::site::Site;
use godwit_edge::tls::{CertificateError, CertificateStatus, Certificates, Roots, Trust, trust};
use std::io::ErrorKind;
use std::slice::from_ref;

const DAY: i64 = 86_400;
/// As at the alert GodwitCertificateExpiresSoon.
const DAYS_FEW: i64 = 14;
/// Who has not renewed by then will not by itself.
const DAYS_LAST: i64 = 3;
const RENEW: &str = "renew it (certbot renew), then: systemctl reload godwit";

/// One pair of files.
#[derive(Debug)]
enum Pair {
    /// What it is.
    Good(CertificateStatus),
    /// What is wrong.
    Wrong(Vec<String>),
    /// It may not be read by this user.
    Hidden(String),
}

fn pairs(site: &Site) -> Vec<Pair> {
    let one = |files| match Certificates::load(&crate::certificates::files(from_ref(files))) {
        Ok(loaded) => loaded.status().into_iter().next().map_or_else(|| Pair::Wrong(Vec::new()), Pair::Good),
        Err(errors) if errors.iter().any(is_hidden) => {
            Pair::Hidden(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        Err(errors) => Pair::Wrong(errors.iter().map(ToString::to_string).collect()),
    };
    site.certificates().iter().map(one).collect()
}

fn is_hidden(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Unreadable { error, .. } if error.kind() == ErrorKind::PermissionDenied)
}

/// Those that can be read; notes the others as not seen.
fn good<'a>(pairs: &'a [Pair], notes: &mut Notes) -> Vec<&'a CertificateStatus> {
    let mut good = Vec::new();
    for pair in pairs {
        match pair {
            Pair::Good(status) => good.push(status),
            Pair::Wrong(_) => notes.unseen("a certificate cannot be read", "see the check certificate"),
            Pair::Hidden(why) => notes.unseen(why.clone(), super::daemon::AS_ROOT),
        }
    }
    if pairs.is_empty() {
        notes.unseen("which there are says the configuration, which cannot be read", super::daemon::AS_ROOT);
    }
    good
}

pub(super) fn files(site: &Site) -> Finding {
    judge_files(&pairs(site))
}

fn judge_files(pairs: &[Pair]) -> Finding {
    let mut notes = Notes::default();
    for pair in pairs {
        match pair {
            Pair::Wrong(errors) => {
                let remedy = "mend what it says, then: systemctl reload godwit";
                notes.red("wrong", errors.join("; "), remedy);
            }
            Pair::Hidden(why) => notes.unseen(why.clone(), super::daemon::AS_ROOT),
            Pair::Good(_) => {}
        }
    }
    if pairs.is_empty() {
        notes.unseen("which there are says the configuration, which cannot be read", super::daemon::AS_ROOT);
    }
    let shown = pairs.iter().filter_map(|pair| match pair {
        Pair::Good(status) => Some(status.chain.display().to_string()),
        Pair::Wrong(_) | Pair::Hidden(_) => None,
    });
    notes.finish(shown.collect::<Vec<_>>().join(", "))
}

pub(super) fn chains(site: &Site) -> Finding {
    let mut notes = Notes::default();
    let pairs = pairs(site);
    let good = good(&pairs, &mut notes);
    let roots = match Roots::system() {
        Ok(roots) => roots,
        Err(why) => {
            notes.unseen(why, "apt-get install ca-certificates");
            return notes.finish("");
        }
    };
    let now = i64::try_from(site.now_ms / 1_000).unwrap_or(i64::MAX);
    let judged = |status: &&CertificateStatus| {
        let trust = trust(status, &roots, now).unwrap_or_else(|error| Trust::Bad(error.to_string()));
        (status.chain.display().to_string(), trust)
    };
    judge_chains(notes, &good.iter().map(judged).collect::<Vec<_>>())
}

fn judge_chains(mut notes: Notes, chains: &[(String, Trust)]) -> Finding {
    let issue = "have it issued by an authority that clients know, such as Let's Encrypt";
    for (file, trust) in chains {
        match trust {
            Trust::Trusted => {}
            Trust::SelfSigned => {
                notes.yellow(
                    "self-signed",
                    format!("{file} is its own issuer: clients ask or refuse"),
                    issue,
                );
            }
            Trust::Private(root) => {
                let text = format!("{file} leads to {root}, which this system does not trust");
                notes.yellow("private", text, format!("{issue}; or give that root to every client"));
            }
            Trust::Incomplete(lacks) => {
                let text = format!("{file} ends at a certificate by {lacks}, which lacks");
                let remedy =
                    "use the file with the full chain (fullchain.pem), then: systemctl reload godwit";
                notes.red("incomplete", text, remedy);
            }
            Trust::Bad(why) => notes.red("bad", format!("{file}: {why}"), issue),
        }
    }
    notes.finish("each leads to a trusted root")
}

pub(super) fn names(site: &Site) -> Finding {
    let mut notes = Notes::default();
    let pairs = pairs(site);
    let good = good(&pairs, &mut notes);
    judge_names(notes, &good, &site.domains())
}

fn judge_names(mut notes: Notes, certificates: &[&CertificateStatus], domains: &[String]) -> Finding {
    let bare: Vec<_> =
        domains.iter().filter(|domain| !certificates.iter().any(|one| one.is_for(domain))).cloned().collect();
    if !bare.is_empty() && !certificates.is_empty() {
        let names: Vec<_> = certificates.iter().flat_map(|one| one.names.clone()).collect();
        let (text, names) = (bare.join(", "), names.join(", "));
        let remedy = "have one issued for it, name it in [tls] or [[tls.sni]], then: systemctl reload godwit";
        notes.red("uncovered", format!("none is for {text}; there are {names}"), remedy);
    }
    notes.finish(domains.join(", "))
}

pub(super) fn days(site: &Site) -> Finding {
    let mut notes = Notes::default();
    let pairs = pairs(site);
    let good = good(&pairs, &mut notes);
    judge_days(notes, &good, i64::try_from(site.now_ms / 1_000).unwrap_or(i64::MAX))
}

fn judge_days(mut notes: Notes, certificates: &[&CertificateStatus], now: i64) -> Finding {
    let mut least: Option<i64> = None;
    for one in certificates {
        let (file, left) = (one.chain.display(), one.not_after.saturating_sub(now));
        let days = left.div_euclid(DAY);
        least = Some(least.map_or(days, |least| least.min(days)));
        if left < 0 {
            notes.red("expired", format!("{file} expired {} days ago", -left / DAY), RENEW);
        } else if now < one.not_before {
            let text = format!("{file} is not valid for another {} days", (one.not_before - now) / DAY);
            notes.red("early", text, "set the clock right");
        } else if days < DAYS_FEW {
            let level = if days < DAYS_LAST { Level::Red } else { Level::Yellow };
            notes.graded(level, "soon", format!("{file} expires in {days} days"), RENEW);
        }
    }
    notes.finish(format!("{} days are left", least.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(names: &[&str], from: i64, until: i64) -> CertificateStatus {
        CertificateStatus {
            chain: "c.pem".into(),
            names: names.iter().map(ToString::to_string).collect(),
            not_before: from * DAY,
            not_after: until * DAY,
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_red() {
        let good = || Pair::Good(status(&["example.org"], 0, 100));
        assert_eq!(judge_files(&[good()]).level, Level::Green);
        assert_eq!(judge_files(&[good(), Pair::Wrong(vec!["no key".into()])]).level, Level::Red);
        assert_eq!(judge_files(&[Pair::Hidden("denied".into())]).causes, ["unseen"]);
        assert_eq!(judge_files(&[]).causes, ["unseen"]);
    }

    #[test]
    fn a_chain_that_leads_nowhere_is_red() {
        let judge = |trust| judge_chains(Notes::default(), &[("c.pem".into(), trust)]).level;
        assert_eq!(judge(Trust::Trusted), Level::Green);
        assert_eq!(judge(Trust::SelfSigned), Level::Yellow);
        assert_eq!(judge(Trust::Private("CN=Root".into())), Level::Yellow);
        assert_eq!(judge(Trust::Incomplete("CN=Between".into())), Level::Red);
        assert_eq!(judge(Trust::Bad("a signature is wrong".into())), Level::Red);
    }

    #[test]
    fn a_domain_without_certificate_is_red() {
        let (one, two) = (status(&["example.org"], 0, 1), status(&["*.example.net"], 0, 1));
        let judge = |domains: &[&str]| {
            let domains: Vec<String> = domains.iter().map(ToString::to_string).collect();
            judge_names(Notes::default(), &[&one, &two], &domains).level
        };
        assert_eq!(judge(&["example.org", "chat.example.net"]), Level::Green);
        assert_eq!(judge(&["example.org", "example.com"]), Level::Red);
    }

    #[test]
    fn an_expired_certificate_is_red_and_one_that_soon_will_be_yellow() {
        let one = status(&["example.org"], 10, 100);
        let judge = |day: i64| {
            let found = judge_days(Notes::default(), &[&one], day * DAY);
            (found.level, found.found)
        };
        assert_eq!(judge(50), (Level::Green, "50 days are left".into()));
        assert_eq!(judge(90).0, Level::Yellow);
        assert_eq!(judge(98).0, Level::Red);
        assert_eq!(judge(105), (Level::Red, "c.pem expired 5 days ago".into()));
        assert_eq!(judge(8).0, Level::Red);
    }
}
