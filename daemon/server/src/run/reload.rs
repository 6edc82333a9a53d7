//! SIGHUP: reads configuration and certificates again and applies what can be applied to a running daemon.
//!
//! All or nothing: with any problem everything stays as it is, and log, `systemctl status` and `godwitctl
//! status` say why.
use super::daemon::{Daemon, hub_settings, lines, locked};
use crate::admin::protocol::ReloadStatus;
use crate::certificates;
use crate::config::Config;
use godwit_edge::Control;
use std::sync::Arc;

/// Sessions stay in their shards, and the store where it is, when another binary takes over.
const KEPT_BY_UPGRADES: [&str; 2] = ["server.shards", "server.data_dir"];

impl Daemon {
    /// What SIGHUP asks for: if another binary was installed it takes over, otherwise, and if it cannot, the
    /// configuration is read again.
    pub(super) fn hang_up(&self) {
        let stays = !self.has_new_binary() || self.upgrade(None, false).is_err();
        if stays && !self.up.signals.told_to_stop() {
            self.reload();
        }
    }

    /// Reloads, tells everybody how it went, and returns whether it was applied.
    pub(super) fn reload(&self) -> bool {
        crate::systemd::reloading();
        let (ok, lines) = match self.try_reload() {
            Ok(restart) => (true, restart),
            Err(problems) => (false, problems),
        };
        let status = match (ok, lines.first()) {
            (true, None) => "reloaded".to_owned(),
            (true, Some(first)) => format!("reloaded; {first}"),
            (false, first) => {
                format!("reload refused, all is as before: {}", first.map_or("?", String::as_str))
            }
        };
        if ok {
            tracing::info!("configuration and certificates reloaded");
            lines.iter().for_each(|line| tracing::warn!("{line}"));
        } else {
            lines.iter().for_each(|line| tracing::error!("reload refused, all is as before: {line}"));
        }
        *locked(&self.reload) = Some(ReloadStatus { at_ms: (self.clock)(), ok, lines });
        crate::systemd::ready(&status);
        ok
    }

    /// What waits for a restart; or what is wrong.
    fn try_reload(&self) -> Result<Vec<String>, Vec<String>> {
        let file = self.config_file.display();
        let named = |problem: &crate::config::Problem| format!("{file}: {problem}");
        let written = Config::load(&self.config_file).map_err(|p| p.iter().map(named).collect::<Vec<_>>())?;
        let old = self.config();
        let (config, restart) =
            written.on_top_of(&old).map_err(|p| p.iter().map(named).collect::<Vec<_>>())?;
        let files = certificates::files(&config.certificates);
        // The certificates last of what can fail: they change at once.
        let filter = crate::logging::filter(&config.raw.log.level);
        filter.map_err(|e| vec![format!("log.level: {e}")])?;
        self.certificates.reload(&files).map_err(|errors| vec![lines(&errors)])?;
        if let Err(e) = self.logging.configure(&config.raw.log.level) {
            tracing::warn!("log.level stays as it was: {e}");
        }
        self.hub.slow.set(config.raw.log.slow_stanza.ms());
        self.hub.reload(hub_settings(&config, self.secret));
        *locked(&self.config) = Arc::new(config);
        let settings = Arc::new(self.session_settings());
        self.mailboxes.each().for_each(|shard| shard.control(Control::Settings(Arc::clone(&settings))));
        Ok(restart
            .into_iter()
            .map(|key| match KEPT_BY_UPGRADES.iter().any(|kept| key == *kept) {
                true => format!("{key} takes effect at the next restart"),
                false => format!("{key} takes effect at the next restart, or with: godwitctl upgrade"),
            })
            .collect())
    }
}
