//! How often one source address may fail to log in, or register.
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;

/// Addresses remembered at once; when they are more, the oldest windows go first.
const ADDRESSES_MAX: usize = 65_536;

/// Counts events per source in windows of fixed length. IPv6 counts by /64, which is what one customer has.
#[derive(Debug)]
pub struct Throttle {
    window_ms: u64,
    seen: Mutex<HashMap<IpAddr, (u64, u32)>>,
}

impl Throttle {
    /// With windows of so many ms.
    pub fn new(window_ms: u64) -> Throttle {
        Throttle { window_ms, seen: Mutex::default() }
    }

    /// Sources with the start of their window and the count in it.
    pub(crate) fn image(&self) -> Vec<(IpAddr, u64, u32)> {
        let seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.iter().map(|(source, &(start, count))| (*source, start, count)).collect()
    }

    /// From that.
    pub(crate) fn taken_over(window_ms: u64, seen: Vec<(IpAddr, u64, u32)>) -> Throttle {
        let seen =
            seen.into_iter().take(ADDRESSES_MAX).map(|(source, start, count)| (source, (start, count)));
        Throttle { window_ms, seen: Mutex::new(seen.collect()) }
    }

    /// True if this source has used up its `max` in the present window (0: no limit).
    pub fn is_over(&self, source: Option<IpAddr>, max: u32, now: u64) -> bool {
        let Some(key) = key(source).filter(|_| max > 0) else { return false };
        let seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.get(&key)
            .is_some_and(|&(start, count)| now.saturating_sub(start) < self.window_ms && count >= max)
    }

    /// Counts one event.
    pub fn count(&self, source: Option<IpAddr>, now: u64) {
        let Some(key) = key(source) else { return };
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if seen.len() >= ADDRESSES_MAX && !seen.contains_key(&key) {
            seen.retain(|_, &mut (start, _)| now.saturating_sub(start) < self.window_ms);
            if seen.len() >= ADDRESSES_MAX {
                // All in one window: an attack from more addresses than we count cannot be told apart.
                seen.clear();
            }
        }
        let entry = seen.entry(key).or_insert((now, 0));
        if now.saturating_sub(entry.0) >= self.window_ms {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }
}

/// The source as it counts: `None`, which is never over a limit, for an exempt loopback address.
pub fn counted(source: Option<IpAddr>, loopback_exempt: bool) -> Option<IpAddr> {
    source.filter(|source| !(loopback_exempt && source.to_canonical().is_loopback()))
}

fn key(source: Option<IpAddr>) -> Option<IpAddr> {
    match source?.to_canonical() {
        IpAddr::V4(source) => Some(IpAddr::V4(source)),
        IpAddr::V6(source) => {
            let [a, b, c, d, ..] = source.segments();
            Some(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn counts_per_source_and_window() {
        let throttle = Throttle::new(1000);
        for _ in 0..3 {
            throttle.count(source("2001:db8::1"), 100);
        }
        assert!(throttle.is_over(source("2001:db8::ffff"), 3, 200), "one /64 is one source");
        assert!(!throttle.is_over(source("2001:db8:0:1::1"), 3, 200));
        assert!(!throttle.is_over(source("2001:db8::1"), 3, 1100), "the window is over");
        assert!(!throttle.is_over(source("2001:db8::1"), 0, 200), "0 is no limit");
    }

    #[test]
    fn loopback_is_exempt_if_so_configured() {
        let throttle = Throttle::new(1000);
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let exempt = counted(source(address), true);
            throttle.count(exempt, 0);
            assert!(!throttle.is_over(exempt, 1, 0), "{address}");
            let limited = counted(source(address), false);
            throttle.count(limited, 0);
            assert!(throttle.is_over(limited, 1, 0), "{address}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::new(1000);
        for n in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 10 {
            throttle.count(Some(IpAddr::from(n.to_be_bytes())), 0);
        }
        assert!(throttle.seen.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}
